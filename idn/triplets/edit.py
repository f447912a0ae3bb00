"""What an edit of a photograph is: which triplets it makes, which faces it can be made of, and what it answers."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from idn.images import to_uint8
from idn.triplets.face import Face

IDENTITY = ("source_as_gt", "edited_target")
"""Kinds of triplets of an edit that changes who it is: the photograph is the result."""
ATTRIBUTE = ("target_as_gt",)
"""Kinds of triplets of an edit that changes all but who it is: the target is the result, in either version."""


class Unsuitable(Exception):
    """An edit cannot be made of this face; the message says why."""


class Edited(NamedTuple):
    """An edited crop."""

    pixels: Tensor
    """(3, S, S) uint8."""
    region: Tensor | None
    """(S, S) in [0, 1]: above 0 where it may differ from the photograph, by how much the edit covers that; None: it may
    differ everywhere."""
    parameters: dict[str, Any]
    """What was drawn from the generator, as plain values."""


class Edit(ABC):
    """Changes one thing of a face and keeps everything else."""

    makes: ClassVar[tuple[str, ...]]
    """IDENTITY or ATTRIBUTE."""
    covers: ClassVar[bool] = False
    """Whether it lies in front of the face, so that a swap must keep it."""
    dense: ClassVar[bool] = False
    """Whether it takes 68 landmarks."""
    largest_yaw: ClassVar[float] = 90.0
    """Degrees by which a head may be turned."""

    def __call__(self, face: Face, draw: torch.Generator) -> Edited:
        """Edit a face. All that is random is drawn from the generator. Raises Unsuitable."""
        if self.dense and face.dense is None:
            raise Unsuitable("its 68 landmarks are not known")
        if abs(face.yaw) > self.largest_yaw:
            raise Unsuitable(f"the head is turned by {abs(face.yaw):.0f} degrees, at most {self.largest_yaw:g}")
        return self.edit(face, draw)

    def settings(self) -> dict[str, Any]:
        """What its pictures depend on beside face and generator, as plain values."""
        plain = {name: str(value) if isinstance(value, Path) else value for name, value in vars(self).items()}
        return {"kind": type(self).__name__} | {k: v for k, v in plain.items() if isinstance(v, int | float | str)}

    @abstractmethod
    def edit(self, face: Face, draw: torch.Generator) -> Edited:
        """The same for a face that fits."""


def finished(face: Face, image: Tensor, region: Tensor | None, parameters: dict[str, Any]) -> Edited:
    """Round a painted crop to bytes; outside of its region the photograph's own bytes stay.

    image: (3, S, S) in [0, 1]. region: as in Edited.
    """
    pixels = to_uint8(image)
    if region is not None:
        pixels = torch.where(region > 0, pixels, face.pixels)
    return Edited(pixels, region, {name: _plain(value) for name, value in parameters.items()})


def _plain(value: Any) -> Any:
    """A value as JSON has it, numbers with four digits."""
    if isinstance(value, Tensor):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def between(low: float, high: float, draw: torch.Generator) -> float:
    """A random number from low to high."""
    return low + (high - low) * float(torch.rand((), generator=draw))


def chance(probability: float, draw: torch.Generator) -> bool:
    """True with this probability."""
    return float(torch.rand((), generator=draw)) < probability


def colour(choices: tuple[tuple[int, int, int], ...], draw: torch.Generator, spread: float = 0.08) -> Tensor:
    """One of several sRGB byte colours, each channel changed by about this share: (3,) in [0, 1]."""
    picked = choices[int(torch.randint(len(choices), (), generator=draw))]
    return (torch.tensor(picked) / 255 * (1 + spread * torch.randn(3, generator=draw))).clamp(0.01, 0.99)
