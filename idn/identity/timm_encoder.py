"""Any face recogniser that timm can build, from a local file or from the Hugging Face hub."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from idn.errors import UserError
from idn.frozen import Frozen
from idn.identity.crop import check_template, face_crop
from idn.images import normalize
from idn.types import IdentityFeatures
from idn.weights import load_strict, read_tensors


class TimmEncoder(Frozen):
    """Frozen timm model as identity encoder, such as `hf_hub:gaunernst/vit_tiny_patch8_112.arcface_ms1mv3`.

    The embedding is the model's own output when it has a head, its pooled features when it has none (or when
    `pooled` says so). Its last map is brought to `feature_size` by adaptive averaging, or bilinearly if it is smaller;
    tokens are first laid out as a grid, without class and register tokens.
    model: timm name. weights: a file of that model; None takes the published weights.
    frame, template: alignment of the pictures it will be given, and of the crop it was trained on.
    input_size, mean, std: None takes what the model's published configuration, or `options.img_size`, says.
    stages: which of the model's feature levels (blocks of a transformer) are returned as shallow maps, fine to coarse.
    options: what timm's `create_model` needs for a model built from a local file, such as {num_classes: 512}.
    licence: of the weights, for the record.
    Raises UserError if the model cannot be built or downloaded, or does not tell its intermediate maps.
    """

    def __init__(
        self,
        model: str,
        weights: str | Path | None,
        frame: str,
        template: str = "arcface_112_v2",
        licence: str = "unknown",
        pooled: bool = False,
        input_size: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        stages: Sequence[int] = (0, 1, 2),
        feature_size: int = 7,
        options: Mapping[str, int | float | str | bool] | None = None,
    ) -> None:
        super().__init__()
        self.frame, self.template = check_template("frame", frame), check_template("template", template)
        options = dict(options or {})
        self.net = _build(model, weights, options)
        published = resolve_model_data_config(self.net)
        self.input_size = int(input_size or options.get("img_size") or published["input_size"][-1])
        self.mean, self.std = tuple(mean or published["mean"]), tuple(std or published["std"])
        self.pooled, self.stages, self.feature_size = pooled, list(stages), feature_size
        self.name, self.licence = model, licence
        self.freeze()
        try:
            with torch.no_grad():
                seen = self._seen(torch.zeros(1, 3, self.input_size, self.input_size))
        except (AssertionError, RuntimeError, IndexError) as error:
            raise UserError(
                f"identity.model={model} does not run on {self.input_size} px with identity.stages={self.stages} "
                f"({error}): set identity.input_size or identity.stages"
            ) from error
        self.embedding_dim, self.feature_channels = seen.embedding.shape[1], seen.features.shape[1]

    def forward(self, images: Tensor) -> IdentityFeatures:
        """images: (N, 3, S, S) RGB in [0, 1], framed as `frame`. Features: (N, C, feature_size, feature_size)."""
        return self._seen(normalize(face_crop(images, self.frame, self.template, self.input_size), self.mean, self.std))

    def _seen(self, crops: Tensor) -> IdentityFeatures:
        final, shallow = self.net.forward_intermediates(crops, indices=[*self.stages, self._last])
        grid = shallow.pop().shape[-2:]
        embedding = self.net.forward_head(final, pre_logits=self.pooled)
        features = _fit(_spatial(final, grid, self.net.num_features), self.feature_size)
        return IdentityFeatures(F.normalize(embedding.float(), dim=1), features, tuple(shallow))

    @property
    def _last(self) -> int:
        return len(self.net.feature_info) - 1


def _build(model: str, weights: str | Path | None, options: dict[str, int | float | str | bool]) -> nn.Module:
    try:
        net = timm.create_model(model, pretrained=weights is None, **options)
    except Exception as error:  # timm and the hub's client raise classes of their own, which change between versions
        raise UserError(
            f"identity.model={model} cannot be had from timm or the hub ({type(error).__name__}): check the name and "
            "the connection, or give a timm architecture, identity.options and identity.weights=FILE"
        ) from error
    if not hasattr(net, "forward_intermediates"):
        raise UserError(f"identity.model={model} does not give its intermediate maps: choose another timm model")
    if weights is not None:
        load_strict(net, read_tensors(Path(weights)), f"{model} {weights}")
    return net


def _spatial(final: Tensor, grid: torch.Size, channels: int) -> Tensor:
    """Tokens (N, prefix + h * w, C), maps (N, h, w, C) or maps (N, C, h, w) -> (N, C, h, w)."""
    if final.ndim == 3:
        return final[:, -grid.numel() :].mT.unflatten(2, grid)
    if final.shape[1] != channels and final.shape[-1] == channels:
        return final.permute(0, 3, 1, 2)
    return final


def _fit(features: Tensor, size: int) -> Tensor:
    if min(features.shape[-2:]) >= size:
        return F.adaptive_avg_pool2d(features, size)
    return F.interpolate(features, (size, size), mode="bilinear", align_corners=False)
