"""LPIPS in a part of a picture, and features of torchvision's Inception v3 for FID and KID; both of given files."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from idn.errors import ForeignFile
from idn.files.digests import file_sha256
from idn.files.tensors import load_strict, read_tensors
from idn.frozen import Frozen, build_uninitialised
from idn.images import resize, to_pm1

_BACKBONES = {
    "vgg": ("features.28.weight", (512, 512, 3, 3)),
    "alex": ("features.0.weight", (64, 3, 11, 11)),
    "squeeze": ("features.12.expand3x3.weight", (256, 64, 3, 3)),
}
"""LPIPS' name of a backbone -> a tensor of torchvision's file that no other has, and its shape."""
_PUBLISHED = {"vgg": "397923af", "alex": "7be5be79", "squeeze": "b8a52dc0", "inception": "0cc3c7bd"}
"""How the checksums of torchvision's files begin, as their names repeat it."""
_INCEPTION = 299
"""Pixels that Inception v3 looks at."""


class Lpips(Frozen):
    """LPIPS (arXiv:1801.03924): distance of deep features, weighted by how people judged; 0 for equal pictures.

    weights: torchvision's file of VGG16, AlexNet or SqueezeNet 1.1, such as vgg16-397923af.pth; what it holds says
        which LPIPS this is. The linear layers on top come with torchmetrics.
    Raises UserError for a file that is missing or holds another network, naming the tensors.
    """

    def __init__(self, weights: str | Path) -> None:
        super().__init__()
        from torchmetrics.functional.image import lpips

        tensors = {k: v for k, v in read_tensors(weights).items() if k.startswith("features.")}
        self.backbone = _backbone(tensors, weights)
        self.net = lpips._LPIPS(pretrained=False, net=self.backbone, pnet_rand=True, spatial=True, use_dropout=True)
        self._load_lines(Path(lpips.__file__).parent / "lpips_models" / f"{self.backbone}.pth")
        load_strict(self.net.net, _renamed(tensors, self.net.net), f"{weights}")
        self.facts = _facts(f"LPIPS {self.backbone}", self.backbone, weights)
        self.freeze()

    def _load_lines(self, path: Path) -> None:
        """The linear layers on top."""
        lines = read_tensors(path)
        for number in range(self.net.L):
            name = f"lin{number}."
            part = {key.removeprefix(name): value for key, value in lines.items() if key.startswith(name)}
            load_strict(getattr(self.net, name[:-1]), part, f"{path}")

    @torch.no_grad()
    def forward(self, images: Tensor, others: Tensor, where: Tensor) -> Tensor:
        """Distance inside a region, (N,), 0 or more; NaN where that is empty.

        images, others: (N, 3, H, W) RGB in [0, 1], H and W at least 64.
        where: (N, 1, H, W) in [0, 1]. Outside of it both are shown `others`, so that nothing there is felt inside.
        """
        mixed = torch.lerp(others, images, where)
        distance = self.net(to_pm1(mixed), to_pm1(others))
        return (distance * where).flatten(1).sum(1) / where.flatten(1).sum(1)


class Inception(Frozen):
    """torchvision's Inception v3 without its classifier: 2,048 numbers per picture.

    It was trained on ImageNet by others than the network of the published FIDs: its distances are not those.

    weights: inception_v3_google-0cc3c7bd.pth. Raises UserError for a file that is missing or holds another network.
    """

    dim = 2048

    def __init__(self, weights: str | Path) -> None:
        super().__init__()
        from torchvision.models import inception_v3

        tensors = read_tensors(weights)
        self.net = build_uninitialised(
            lambda: inception_v3(weights=None, transform_input=False, aux_logits=True, init_weights=False)
        )
        load_strict(self.net, tensors, f"{weights}")
        self.net.fc = nn.Identity()
        self.net.AuxLogits = None
        self.facts = _facts("torchvision's Inception v3 (not the network of published FIDs)", "inception", weights)
        self.freeze()

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, S, S) RGB in [0, 1] -> (N, 2048). Smaller pictures are enlarged to the 299 px that it looks at."""
        return self.net(to_pm1(resize(images, _INCEPTION)))


def _backbone(tensors: dict[str, Tensor], path: str | Path) -> str:
    """LPIPS' name of the network that a file holds. Raises ForeignFile if it is none of them."""
    for name, (key, shape) in _BACKBONES.items():
        if key in tensors and tensors[key].shape == shape:
            return name
    raise ForeignFile(path, "holds neither VGG16, AlexNet nor SqueezeNet 1.1: give torchvision's file of one of them")


def _renamed(tensors: dict[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """Tensors of torchvision under the names of LPIPS, which cuts the network in slices; others keep theirs."""
    slices = {f"features.{key.split('.', 2 if key.startswith('slices') else 1)[-1]}": key for key in net.state_dict()}
    return {slices.get(key, key): value for key, value in tensors.items()}


def _facts(name: str, published: str, path: str | Path) -> dict[str, Any]:
    """What a protocol says of a model."""
    sha256 = file_sha256(Path(path))
    return {"name": name, "sha256": sha256, "published_weights": sha256.startswith(_PUBLISHED[published])}
