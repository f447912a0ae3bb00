"""Camera model: exposure, white balance, tone curve, blur and sensor noise, from linear light to the picture."""

import torch
import torch.nn.functional as F
from torch import Tensor

from idn.data.procedural.parameters import Traits
from idn.data.procedural.textures import GRAIN, Textures


def develop(image: Tensor, attributes: Traits, textures: Textures) -> Tensor:
    """Linear light, (N, 3, H, W), which is overwritten -> RGB in [0, 1]."""
    balance = attributes["white_balance"]
    gain = attributes["exposure"] * torch.stack([1 + balance, torch.ones_like(balance), 1 - balance], 1).squeeze(-1)
    image = image.mul_(gain.unsqueeze(-1)).clamp_min_(0)
    image = (image * (1.12 + 0.10 * image)).div_(1 + 0.22 * image).sqrt_()
    image = _soften(image, attributes["blur"].clamp_min(0).unsqueeze(1))
    return image.add_(_grain(image.shape[-1], attributes, textures)).clamp_(0, 1)


def _soften(image: Tensor, weight: Tensor) -> Tensor:
    """Mix every pixel with its neighbours in both directions."""
    for pad, near, far in (
        ((1, 1, 0, 0), (..., slice(2, None)), (..., slice(None, -2))),
        ((0, 0, 1, 1), (..., slice(2, None), slice(None)), (..., slice(None, -2), slice(None))),
    ):
        wide = F.pad(image, pad, mode="replicate")
        image = torch.lerp(image, wide[near].add(wide[far]).mul_(0.5), weight)
    return image


def _grain(size: int, attributes: Traits, textures: Textures) -> Tensor:
    """(N, 3, size, size) noise: a window of the grain tile per sample and channel."""
    tile = textures.grain.repeat(1 + size // GRAIN, 1 + size // GRAIN) if size >= GRAIN else textures.grain
    windows = tile.unfold(0, size, 1).unfold(1, size, 1)
    place = attributes["noise_place"].flatten()[:, None] * windows.new_tensor((1.0, 7.31, 13.77))
    rows = (place * 977).remainder(len(windows)).long()
    columns = (place * 1409 + 31).remainder(len(windows)).long()
    return windows[rows, columns] * attributes["noise"].unsqueeze(1)
