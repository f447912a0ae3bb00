"""MobileFSGAN: the generator as a student. Its tensors have the published names."""

from collections.abc import Mapping
from types import MappingProxyType

from torch import Tensor, nn

from idn.errors import OptionError, UserError
from idn.files.option_checks import require_int
from idn.images import to_01, to_pm1
from idn.students.mobilefsgan.deployment import FSGANDeployment
from idn.students.mobilefsgan.layers import DecoderBlock, IdentityBlock
from idn.students.mobilefsgan.network import AttributeEncoder, Decoder, EncoderHead, IdentityEncoder
from idn.students.protocol import SwapStudent
from idn.types import EncoderDescription, IdentityFeatures, SwapOutput

STRIDE, SMALLEST = 32, 64
RATES: Mapping[str, float] = MappingProxyType({"modulation": 1.0, "attention": 0.1})
"""Learning rates of its parameter groups, relative to that of the optimizer."""


class Student(SwapStudent, architecture="mobilefsgan"):
    """Generates the whole crop, without a mask, at three sizes (MobileFSGAN, arXiv:2204.08339).

    encoder: of the identities, of which only the embedding is read; the published network reads 512 numbers.
    width: channels of every layer, 4 to 256; the published network has 64, and 2,517,781 parameters.
    rates: learning rates of its `parameter_groups`, relative to that of the optimizer; None for 1 everywhere, as
        published with rates of 1e-4.
    Raises OptionError for another width.
    """

    stride = STRIDE
    reads = ("embedding",)

    def __init__(self, encoder: EncoderDescription, width: int = 64, rates: Mapping[str, float] | None = RATES) -> None:
        super().__init__(encoder, {"width": width}, rates)
        require_int("width", width, 4)
        if width > 256:
            raise OptionError("width", width, "must be at most 256: channels of every layer, 64 as published")
        self.encoder_head = EncoderHead(width)
        self.identity_encoder = IdentityEncoder(width, encoder.embedding_dim)
        self.attribute_encoder = AttributeEncoder(width)
        self.decoder = Decoder(width)

    def forward(self, target: Tensor, identity: IdentityFeatures) -> SwapOutput:
        """Put one identity into each target, (N, 3, S, S) RGB in [0, 1], S a multiple of 32 and at least 64.

        `scales` of the output are the pictures of S / 2 and S / 4 pixels. Raises UserError for other sizes, ValueError
        unless the number of identities divides N.
        """
        height, width = target.shape[-2:]
        if min(height, width) < SMALLEST or height % STRIDE or width % STRIDE:
            raise UserError(
                f"pictures of {height} x {width} px do not fit this student: take sides divisible by {STRIDE}, "
                f"{SMALLEST} or more"
            )
        return self.swap(target, identity.for_targets(target).embedding)

    def swap(self, target: Tensor, embedding: Tensor | None) -> SwapOutput:
        """As `forward`, without a look at the size. embedding: (N, D); None where the person is folded in."""
        attributes, identity = self.encoder_head(to_pm1(target))
        identity = self.identity_encoder(identity, embedding)
        image, *smaller = (to_01(picture) for picture in self.decoder(identity, self.attribute_encoder(attributes)))
        return SwapOutput(image, scales=tuple(smaller))

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """All parameters, in groups of different sensitivity.

        "modulation": the linear layers that read the embedding, whose numbers are small because its length is 1.
        "attention": what mixes attributes into the identity, and makes maps explode where it is large. "network":
        everything else.
        """
        blocks = [module for module in self.modules() if isinstance(module, IdentityBlock)]
        mixers = [module for module in self.modules() if isinstance(module, DecoderBlock)]
        modulation = [p for block in blocks for linear in (block.fc_mean, block.fc_var) for p in linear.parameters()]
        attention = [parameter for mixer in mixers for parameter in mixer.conv_attention.parameters()]
        known = {id(parameter) for parameter in (*modulation, *attention)}
        network = [parameter for parameter in self.parameters() if id(parameter) not in known]
        return {"modulation": modulation, "attention": attention, "network": network}

    def deployment(self) -> FSGANDeployment:
        """Its own graphs: BatchNorms folded away, and one person's scales and shifts as constants."""
        return FSGANDeployment(self)
