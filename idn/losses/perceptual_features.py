"""Perceptual features: frozen networks whose feature maps perceptual losses compare (encoder, timm models, VGG-19)."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from idn.errors import OptionError, UserError
from idn.files.tensors import load_strict, read_tensors, strip_prefix
from idn.files.timm_backbones import build_model, published
from idn.frozen import Frozen
from idn.images import normalize, resize
from idn.types import IdentityFeatures


class IdentityShallow(Frozen):
    """The early maps that the identity encoder computes anyway: no further network, nothing to download.

    They see the encoder's crop only, and were trained to tell people apart, not to judge texture.
    """

    reads_encoder = True
    """Whether `forward` needs what the identity encoder saw."""

    def forward(self, images: Tensor, seen: IdentityFeatures) -> tuple[Tensor, ...]:
        """seen: the encoder's pass over `images`. Returns its shallow maps; UserError if the encoder has none."""
        if not seen.shallow:
            raise UserError(
                "this identity encoder returns no shallow maps: choose other perceptual maps, such as timm, or "
                "give the perceptual loss a weight of 0"
            )
        return seen.shallow


class TimmFeatures(Frozen):
    """Early stages of a frozen timm backbone, such as VGG-16 or a ResNet.

    model: timm name, `hf_hub:` names included.
    stages: indices into its feature levels, fine to coarse.
    weights: a checkpoint file of that model; None takes the published ones from the hub.
    size: pictures are resized to this many pixels first; None keeps the student's size.

    Raises OptionError when the model cannot be had or the stages do not exist, UserError for a file of another model.
    """

    reads_encoder = False
    """It looks at the pictures itself."""

    def __init__(self, model: str, stages: Sequence[int], weights: str | Path | None, size: int | None = None) -> None:
        super().__init__()
        self.net = build_model(
            model,
            weights is None,
            OptionError("model", model, "give a file of weights, another model, or the maps of the encoder"),
            {"features_only": True, "out_indices": list(stages)},
        )
        if weights is not None:
            wanted = self.net.state_dict()
            found = strip_prefix(read_tensors(Path(weights)), wanted)
            have = {key: value for key, value in found.items() if key in wanted}
            load_strict(self.net, have, f"perceptual weights {weights}")
        _, self.mean, self.std = published(self.net)
        self.size = size
        self.freeze()

    def forward(self, images: Tensor, seen: IdentityFeatures | None) -> tuple[Tensor, ...]:
        """images: (N, 3, S, S) RGB in [0, 1]. Returns one map per stage."""
        sized = images if self.size is None else resize(images, self.size)
        return tuple(self.net(normalize(sized, self.mean, self.std)))


class VGG19Maps(Frozen):
    """The first map of each of the five sizes of VGG-19, behind its ReLU (arXiv:1603.08155), as MobileFSGAN has them.

    The network sees RGB, normalised by the numbers of RGB that it was trained with; the published code swaps the
    colours and keeps the numbers.

    weights: a file of torchvision's or timm's VGG-19; None takes the published ones from the hub. What follows the last
        of these maps is left out.

    Raises OptionError when the model cannot be had, UserError for a file of another one.
    """

    reads_encoder = False
    """It looks at the pictures itself."""

    WIDTHS = (64, 64, None, 128, 128, None, 256, 256, 256, 256, None, 512, 512, 512, 512, None, 512)
    """Channels of the convolutions, each followed by a ReLU; None halves the map. Up to the fifth size's first one."""

    def __init__(self, weights: str | Path | None) -> None:
        super().__init__()
        layers, c_in = [], 3
        for width in self.WIDTHS:
            layers += [nn.MaxPool2d(2)] if width is None else [nn.Conv2d(c_in, width, 3, padding=1), nn.ReLU()]
            c_in = width or c_in
        self.features = nn.Sequential(*layers)
        pools = [index for index, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
        self.kept = frozenset({1, *(index + 2 for index in pools)})
        if weights is None:
            refusal = OptionError("weights", weights, "give a file of VGG-19, or the maps of the encoder")
            found = build_model("vgg19.tv_in1k", True, refusal, {"num_classes": 0}).state_dict()
        else:
            found = strip_prefix(read_tensors(Path(weights)), ("features.0.weight",))
        wanted = self.state_dict()
        load_strict(self, {key: value for key, value in found.items() if key in wanted}, f"VGG-19 {weights}")
        self.freeze()

    def forward(self, images: Tensor, seen: IdentityFeatures | None) -> tuple[Tensor, ...]:
        """images: (N, 3, S, S) RGB in [0, 1], S at least 16. Returns maps of 64, 128, 256, 512 and 512 channels."""
        x, maps = normalize(images), []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.kept:
                maps.append(x)
        return tuple(maps)
