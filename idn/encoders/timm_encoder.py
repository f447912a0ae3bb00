"""Any face recogniser that timm can build, from a local file or from the Hugging Face hub."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idn.encoders.input_crop import check_template, face_crop
from idn.errors import OptionError
from idn.files.option_checks import require_int, require_number
from idn.files.tensors import load_strict, read_tensors
from idn.files.timm_backbones import build_model, published
from idn.frozen import Frozen
from idn.images import normalize
from idn.types import IdentityFeatures

_LEAST_SIDE = 16
"""Of the picture that a model reads, in pixels."""
_LEAST_STD = 1e-3
"""Standard deviation of a colour."""


class TimmEncoder(Frozen):
    """Frozen timm model as identity encoder, such as `hf_hub:gaunernst/vit_tiny_patch8_112.arcface_ms1mv3`.

    The embedding is the model's own output when it has a head, its pooled features when it has none (or when
    `pooled` says so). Its last map is brought to `feature_size` by adaptive averaging, or bilinearly if it is smaller;
    tokens are first laid out as a grid, without class and register tokens.
    model: timm name. weights: a file of that model; None takes the published weights.
    crop_template, template: alignment of the pictures it will be given, and of the crop it was trained on.
    input_size, mean, std: None takes what the model's published configuration, or `options.img_size`, says.
    stages: which of the model's feature levels (blocks of a transformer) are returned as shallow maps, fine to coarse.
    options: what timm's `create_model` needs for a model built from a local file, such as {num_classes: 512}.
    licence: of the weights, for the record.
    Raises UserError if the model cannot be built or downloaded, or does not tell its intermediate maps, and for values
    that no model takes.
    """

    def __init__(
        self,
        model: str,
        weights: str | Path | None,
        crop_template: str,
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
        self.crop_template, self.template = (
            check_template("crop_template", crop_template),
            check_template("template", template),
        )
        _check(input_size, mean, std, stages, feature_size, options)
        options = dict(options or {})
        self.net = _build(model, weights, options)
        size, its_mean, its_std = published(self.net)
        self.input_size = options.get("img_size") or size if input_size is None else input_size
        self.mean, self.std = tuple(its_mean if mean is None else mean), tuple(its_std if std is None else std)
        self.pooled, self.stages, self.feature_size = pooled, list(stages), feature_size
        self.name, self.licence = model, licence
        self.freeze()
        try:
            with torch.no_grad():
                seen = self._seen(torch.zeros(1, 3, self.input_size, self.input_size))
        except (AssertionError, RuntimeError, IndexError) as error:
            wanted = (
                f"does not run on {self.input_size} px with stages={self.stages} ({error}): set input_size or stages"
            )
            raise OptionError("model", model, wanted) from error
        self.embedding_dim, self.feature_channels = seen.embedding.shape[1], seen.features.shape[1]

    def forward(self, images: Tensor) -> IdentityFeatures:
        """images: (N, 3, S, S) RGB in [0, 1], aligned to `crop_template`. Features: `feature_size` pixels a side."""
        return self._seen(
            normalize(face_crop(images, self.crop_template, self.template, self.input_size), self.mean, self.std)
        )

    def _seen(self, crops: Tensor) -> IdentityFeatures:
        final, shallow = self.net.forward_intermediates(crops, indices=[*self.stages, self._last])
        grid = shallow.pop().shape[-2:]
        embedding = self.net.forward_head(final, pre_logits=self.pooled)
        features = _fit(_spatial(final, grid, self.net.num_features), self.feature_size)
        return IdentityFeatures(F.normalize(embedding.float(), dim=1), features, tuple(shallow))

    @property
    def _last(self) -> int:
        return len(self.net.feature_info) - 1


def _check(
    input_size: object, mean: object, std: object, stages: object, feature_size: object, options: object
) -> None:
    """Raise UserError for the first option that no model takes."""
    if input_size is not None:
        require_int("input_size", input_size, _LEAST_SIDE)
    require_int("feature_size", feature_size, 1)
    for option, value, least in (("mean", mean, None), ("std", std, _LEAST_STD)):
        if value is None:
            continue
        if not isinstance(value, list | tuple) or len(value) != 3:
            raise OptionError(option, value, "must be a number for each colour, such as [0.5,0.5,0.5], or null")
        for place, number in enumerate(value):
            require_number(f"{option}[{place}]", number, least)
    if not isinstance(stages, list | tuple):
        raise OptionError("stages", stages, "must be a list of feature levels, such as [0,1,2]")
    for place, stage in enumerate(stages):
        require_int(f"stages[{place}]", stage, 0)
    if not isinstance(options, Mapping | None):
        raise OptionError("options", options, "must be arguments of a timm model, such as {num_classes: 512}")
    if options and options.get("img_size") is not None:
        require_int("options.img_size", options["img_size"], _LEAST_SIDE)


def _build(model: str, weights: str | Path | None, options: dict[str, int | float | str | bool]) -> nn.Module:
    net = build_model(
        model,
        weights is None,
        OptionError(
            "model", model, "check the name and the connection, or give a timm architecture, options and weights=FILE"
        ),
        options,
    )
    if not hasattr(net, "forward_intermediates"):
        raise OptionError("model", model, "does not give its intermediate maps: choose another timm model")
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
