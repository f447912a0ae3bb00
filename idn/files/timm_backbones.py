"""Image models of timm: one way to build them, to say why one cannot be had, and to read what it was published for.

timm is imported when a model is built: it takes a second, and many runs have none.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import nn

from idn.errors import OptionError

_LONGEST = 200
"""Characters of a foreign error message that are repeated."""


class Published(NamedTuple):
    """What a model wants to be shown."""

    size: int
    """Side of the picture in pixels."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """It reads (x - mean) / std of RGB in [0, 1]."""


def build_model(
    model: str, pretrained: bool, refusal: OptionError, options: Mapping[str, Any] | None = None
) -> nn.Module:
    """A model of timm or of the hub, with its published weights or, without `pretrained`, random ones.

    model: timm name, `hf_hub:owner/model` included.
    refusal: the argument that asked for it, its value, and what else can be done, such as "choose another".
    options: further arguments of timm's `create_model`.
    Raises OptionError, made of `refusal` and the reason, whatever goes wrong.
    """
    import timm

    try:
        return timm.create_model(model, pretrained=pretrained, **(options or {}))
    except Exception as error:  # timm and the hub's client raise classes of their own, which change between versions
        said = " ".join(str(error).split())[:_LONGEST].rstrip(". ")
        why = f"{type(error).__name__}: {said}" if said else type(error).__name__
        sentence = f"cannot be had from timm or the hub ({why}): {refusal.wanted}"
        raise OptionError(refusal.argument, refusal.value, sentence, refusal.owner) from error


def published(net: nn.Module) -> Published:
    """What the configuration that timm attached to `net` says; ImageNet's numbers where it says nothing."""
    from timm.data import resolve_model_data_config

    config = resolve_model_data_config(net)
    return Published(config["input_size"][-1], tuple(config["mean"]), tuple(config["std"]))
