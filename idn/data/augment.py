"""Augmentation: mild random changes, alike for an image and its mask, the same again for the same seed."""

import math

import torch
from torch import Tensor

from idn.files.option_checks import require_number
from idn.geometry.warping import warp
from idn.images import luma


class Augment:
    """Flip and small similarity motion, colour, then with some probability blur, noise and JPEG artefacts.

    Every random number comes from a generator of its own, on the CPU, so the result depends on the seed alone: not on
    the global state, nor on the device of the images.
    """

    def __init__(
        self,
        flip: float = 0.5,
        degrees: float = 3.0,
        shift: float = 0.02,
        scale: float = 0.03,
        brightness: float = 0.1,
        contrast: float = 0.1,
        saturation: float = 0.1,
        tint: float = 0.03,
        blur: float = 0.1,
        noise: float = 0.1,
        jpeg: float = 0.1,
    ) -> None:
        """Choose the strengths; 0 turns a change off.

        flip, blur, noise, jpeg: probabilities.
        degrees: largest rotation.
        shift: largest move, as a share of the side.
        scale, brightness, contrast, saturation: largest relative change.
        tint: largest relative change of one colour channel.
        Raises OptionError for probabilities outside [0, 1] and strengths outside [0, 0.99] (degrees: [0, 180]).
        """
        for argument, value in {"flip": flip, "blur": blur, "noise": noise, "jpeg": jpeg}.items():
            require_number(argument, value, 0, 1)
        strengths = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "tint": tint}
        for argument, value in {"shift": shift, "scale": scale, **strengths}.items():
            require_number(argument, value, 0, 0.99)
        require_number("degrees", degrees, 0, 180)
        self.flip, self.degrees, self.shift, self.scale = flip, degrees, shift, scale
        self.brightness, self.contrast, self.saturation, self.tint = brightness, contrast, saturation, tint
        self.blur, self.noise, self.jpeg = blur, noise, jpeg

    def __call__(
        self, images: Tensor, masks: Tensor | None, seed: int, mirrored: bool | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Change N images, each in its own way, and move their masks along.

        images: (N, 3, S, S) RGB in [0, 1].
        masks: (N, 1, S, S) or None.
        mirrored: flip all of them, or none; None leaves it to chance.
        Returns new ones of the same shapes and ranges.
        """
        draw = torch.Generator().manual_seed(seed)
        joined = images if masks is None else torch.cat([images, masks], 1)
        moved = self._move(joined, draw, mirrored)
        changed = self._damage(self._colour(moved[:, :3], draw), draw)
        return changed.clamp(0, 1), None if masks is None else moved[:, 3:]

    def _move(self, images: Tensor, draw: torch.Generator, mirrored: bool | None) -> Tensor:
        """Flip and one similarity about the centre, in a single resampling; the border is repeated."""
        n = len(images)
        angle = _uniform((n,), self.degrees * math.pi / 180, draw).double()
        zoom = 1 + _uniform((n,), self.scale, draw).double()
        offset = _uniform((n, 2), self.shift, draw).double()
        turned = torch.rand(n, generator=draw) < self.flip
        side = torch.where(turned if mirrored is None else torch.tensor(mirrored), -1.0, 1.0).double().expand(n)
        if not (self.degrees or self.scale or self.shift):
            return torch.where((side < 0).view(n, 1, 1, 1).to(images.device), images.flip(-1), images)
        c, s = angle.cos() * zoom, angle.sin() * zoom
        linear = torch.stack([torch.stack([c * side, -s], -1), torch.stack([s * side, c], -1)], -2)
        centre = linear.new_full((n, 2, 1), 0.5)
        return warp(images, torch.cat([linear, centre - linear @ centre + offset.unsqueeze(-1)], -1), images.shape[-1])

    def _colour(self, images: Tensor, draw: torch.Generator) -> Tensor:
        """Saturation, contrast, brightness and the gains of the channels."""
        saturation, contrast, brightness = (
            1 + _uniform((len(images), 1, 1, 1), largest, draw).to(images)
            for largest in (self.saturation, self.contrast, self.brightness)
        )
        gains = brightness * (1 + _uniform((len(images), 3, 1, 1), self.tint, draw).to(images))
        grey = luma(images)
        images = grey + (images - grey) * saturation
        mean = grey.mean((2, 3), keepdim=True)
        return ((mean + (images - mean) * contrast) * gains).clamp(0, 1)

    def _damage(self, images: Tensor, draw: torch.Generator) -> Tensor:
        """Blur, noise and JPEG on the images that the generator picks."""
        n = len(images)
        chosen = torch.rand(3, n, generator=draw) < torch.tensor([[self.blur], [self.noise], [self.jpeg]])
        sigma = 0.3 + 0.9 * torch.rand(n, 1, generator=draw).expand(n, 2).to(images)
        quality = 50 + 45 * torch.rand(n, generator=draw).to(images)
        level = 0.03 * torch.rand(n, 1, 1, 1, generator=draw).to(images)
        blurred, noisy, packed = chosen.to(images.device)
        images = images.clone()
        if blurred.any():
            from kornia.filters import gaussian_blur2d  # kornia takes seconds to import, and drawn faces do without

            images[blurred] = gaussian_blur2d(images[blurred], (5, 5), sigma[blurred])
        if noisy.any():
            grain = torch.randn(images.shape, generator=draw).to(images)
            images[noisy] = (images + level * grain)[noisy].clamp(0, 1)
        if packed.any():
            from kornia.enhance import jpeg_codec_differentiable

            images[packed] = jpeg_codec_differentiable(images[packed], quality[packed])
        return images


def _uniform(shape: tuple[int, ...], largest: float, draw: torch.Generator) -> Tensor:
    """Numbers in [-largest, largest]."""
    return (2 * torch.rand(shape, generator=draw) - 1) * largest
