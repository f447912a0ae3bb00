"""Augmentation of triplets: mirroring, grey pictures and colour jitter, where a result may change with its target."""

from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms import functional as jitter

from idn.files.option_checks import require_number
from idn.images import luma

_ROLES = ("source", "target")


class Changed(NamedTuple):
    """A picture and what was done to its places."""

    image: Tensor
    """(1, 3, S, S) in [0, 1]."""
    mirrored: bool


class TripletAugment:
    """Mirrors, takes the colours away or shifts them, each with a probability; sources lose theirs more often."""

    def __init__(
        self,
        flip: float = 0.5,
        grey_source: float = 0.02,
        grey_target: float = 0.01,
        jitter: float = 0.3,
        brightness: float = 0.2,
        contrast: float = 0.2,
        saturation: float = 0.2,
        hue: float = 0.01,
    ) -> None:
        """flip, grey_source, grey_target, jitter: probabilities.

        brightness, contrast, saturation: largest relative change where colours are shifted.
        hue: the same as a share of the colour circle.
        Raises OptionError for probabilities outside [0, 1] and changes that cannot be.
        """
        chances = {"flip": flip, "grey_source": grey_source, "grey_target": grey_target, "jitter": jitter}
        for argument, value in chances.items():
            require_number(argument, value, 0, 1)
        for argument, value in {"brightness": brightness, "contrast": contrast, "saturation": saturation}.items():
            require_number(argument, value, 0, 1)
        require_number("hue", hue, 0, 0.5)
        self.flip, self.jitter = flip, jitter
        self.grey = dict(zip(_ROLES, (grey_source, grey_target), strict=True))
        self.brightness, self.contrast, self.saturation, self.hue = brightness, contrast, saturation, hue

    def __call__(self, image: Tensor, role: str, draw: torch.Generator) -> Changed:
        """image: (1, 3, S, S) in [0, 1]; role: "source" or "target". The result depends on the generator alone."""
        chances = torch.rand(3, generator=draw)
        amounts = 2 * torch.rand(4, generator=draw) - 1
        order = torch.randperm(4, generator=draw).tolist()
        mirrored = bool(chances[0] < self.flip)
        if mirrored:
            image = image.flip(-1)
        if chances[1] < self.grey[role]:
            image = luma(image).expand(-1, 3, -1, -1).clone()
        if chances[2] < self.jitter:
            image = self._shifted(image, amounts.tolist(), order)
        return Changed(image, mirrored)

    def _shifted(self, image: Tensor, amounts: list[float], order: list[int]) -> Tensor:
        """Brightness, contrast, saturation and hue changed in that order."""
        steps = (
            lambda x: jitter.adjust_brightness(x, 1 + self.brightness * amounts[0]),
            lambda x: jitter.adjust_contrast(x, 1 + self.contrast * amounts[1]),
            lambda x: jitter.adjust_saturation(x, 1 + self.saturation * amounts[2]),
            lambda x: jitter.adjust_hue(x, self.hue * amounts[3]),
        )
        for number in order:
            image = steps[number](image)
        return image
