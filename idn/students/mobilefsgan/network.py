"""The MobileFSGAN generator's parts: head, encoder of attributes, encoder of identity, decoder.

Names of modules are the published ones: their numbers are sizes in pixels where the target has 256.
"""

from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from idn.students.mobilefsgan.layers import (
    AttributeBlock,
    DecoderBlock,
    Downsample,
    IdentityBlock,
    ImageOutput,
    Upsample,
)

BLOCKS = {256: 2, 128: 3, 64: 4}
"""Blocks of the encoder of attributes at every size. With what enters the first one, there is one map more."""
DEEP = (256, 128, 64, 32, 16, 8)
"""Sizes of the encoder of identity, on its way down."""

Attributes = dict[int, list[Tensor]]
"""Maps of the encoder of attributes by size, in order: what enters the first block, then what each block gives."""


class EncoderHead(nn.Module):
    """3x3 and LeakyReLU give what the attributes start from; 1x1, LeakyReLU and 3x3 on that, the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_image = nn.Conv2d(3, width, 3, padding=1)
        self.conv1x1 = nn.Conv2d(width, width, 1)
        self.conv3x3 = nn.Conv2d(width, width, 3, padding=1, bias=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, S, S) in [-1, 1] -> starts of attributes and of identity, (N, C, S, S) each."""
        attributes = leaky_relu(self.conv_image(images))
        return attributes, self.conv3x3(leaky_relu(self.conv1x1(attributes)))


class AttributeEncoder(nn.Module):
    """Residual blocks at three sizes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        for size, count in BLOCKS.items():
            if size != 256:
                self.add_module(f"downsample{size}", Downsample(width))
            for number in range(1, count + 1):
                self.add_module(f"b{size}_{number}", AttributeBlock(width))

    def forward(self, x: Tensor) -> Attributes:
        """(N, C, S, S) -> 12 maps, (N, C, s, s) with s = S, S / 2 and S / 4."""
        maps: Attributes = {}
        for size, count in BLOCKS.items():
            if size != 256:
                x = self.get_submodule(f"downsample{size}")(x)
            maps[size] = [x]
            for number in range(1, count + 1):
                x = x + self.get_submodule(f"b{size}_{number}")(x)
                maps[size].append(x)
        return maps


class IdentityEncoder(nn.Module):
    """A U-Net down to a 32nd of the size and up to a quarter, one residual block of the identity at each."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        for size in DEEP:
            if size != 256:
                self.add_module(f"down{size}", Downsample(width))
            self.add_module(f"b{size}_down", IdentityBlock(width, embedding))
        for size in (16, 32, 64):
            self.add_module(f"up{size}", Upsample(width))
            self.add_module(f"b{size}_up", IdentityBlock(width, embedding))

    def forward(self, x: Tensor, embedding: Tensor | None) -> Tensor:
        """x: (N, C, S, S); embedding: (N, D), None for one person's constants. Returns (N, C, S / 4, S / 4)."""
        skips: dict[int, Tensor] = {}
        for size in DEEP:
            if size != 256:
                x = self.get_submodule(f"down{size}")(x)
            x = skips[size] = x + self.get_submodule(f"b{size}_down")(x, embedding)
        for size in (16, 32, 64):
            x = self.get_submodule(f"up{size}")(x) + skips[size]
            x = x + self.get_submodule(f"b{size}_up")(x, embedding)
        return x


class Decoder(nn.Module):
    """Mixes the attribute maps into the identity, from the last one to the first, and shows a picture at each size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        for size, count in reversed(BLOCKS.items()):
            if size != 64:
                self.add_module(f"up{size}", Upsample(width))
            for number in range(count, -1, -1):
                self.add_module(f"b{size}_{number}", DecoderBlock(width))
            self.add_module(f"image{size}_output", ImageOutput(width))

    def forward(self, x: Tensor, attributes: Attributes) -> tuple[Tensor, Tensor, Tensor]:
        """x: (N, C, S / 4, S / 4). Returns pictures of S, S / 2 and S / 4 pixels, in [-1, 1]."""
        pictures = []
        for size, count in reversed(BLOCKS.items()):
            if size != 64:
                x = self.get_submodule(f"up{size}")(x)
            for number in range(count, -1, -1):
                x = x + self.get_submodule(f"b{size}_{number}")(x, attributes[size][number])
            pictures.append(self.get_submodule(f"image{size}_output")(x))
        quarter, half, whole = pictures
        return whole, half, quarter
