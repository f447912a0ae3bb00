"""Channel counts of the student, from its width."""

from typing import NamedTuple, Self

from idn.files.option_checks import require_number

ENCODER = (32, 64, 128, 256, 512)
DECODER = (256, 128, 64, 32)
FUSION = (128, 64, 32, 8)
HEAD = 8


class Layout(NamedTuple):
    """How many channels each stage of the IDN has; the injection network predicts what these need."""

    encoder: tuple[int, ...]
    """RGB, then the output of each encoder pair."""
    decoder: tuple[int, ...]
    """Output of each decoder pair."""
    fusion: tuple[int, ...]
    """Input of the fusion module, then the output of each of its stages."""
    head: int
    """Hidden channels of the head."""

    @classmethod
    def of(cls, width: float) -> Self:
        """The published counts times `width`, rounded to multiples of 8; RGB and the last two mask channels stay.

        Raises OptionError unless 0.25 <= width <= 2.
        """
        require_number("width", width, 0.25, 2)
        encoder, decoder, fusion = (tuple(_eight(c * width) for c in base) for base in (ENCODER, DECODER, FUSION))
        return cls((3, *encoder), decoder, (encoder[-1], *fusion, 2), _eight(HEAD * width))

    @property
    def decoder_in(self) -> tuple[int, ...]:
        """Input of each decoder pair: all but the first read the pair before and the encoder map of that size."""
        skips = self.encoder[-2:1:-1]
        return self.encoder[-1], *(a + b for a, b in zip(self.decoder[:-1], skips, strict=True))

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """(C_in, C_out) of the nine depthwise-pointwise pairs, in the order of DynamicWeights."""
        inputs, outputs = (*self.encoder[:-1], *self.decoder_in), (*self.encoder[1:], *self.decoder)
        return tuple(zip(inputs, outputs, strict=True))


def _eight(channels: float) -> int:
    return max(8, int(channels / 8 + 0.5) * 8)
