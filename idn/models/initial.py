"""The weights that training starts from, in one place."""

from torch import nn

from idn.models.injection import WeightModulation, WeightPrediction
from idn.models.network import FusionModule

IDENTITY_SHARE = 0.5
"""Scale of the BatchNorms in the prediction chains: how much of a first kernel depends on the identity."""

KERNEL_SHARE = 0.35
"""Factor on the convolutions that read kernels out: predicted kernels start with a norm near 1."""

MASK_BIAS = 2.0
"""Of the last convolution of the fusion module: the mask starts at 0.88."""


def initialise(student: nn.Module) -> None:
    """Draw every parameter of a student from the global generator, in place.

    The published code leaves its framework's defaults: convolutions normal with variance 2 / (C_in k k), pointwise
    kernels uniform as Glorot and Bengio (2010), biases zero, BatchNorm neutral. Three choices are our own. The gains
    of the modulation start at zero, so that the pointwise kernels depend on no identity yet. The prediction chains
    start with kernels of unit norm that are mostly the same for everybody: with the defaults every identity has its
    own random network, whose maps grow by a factor of 3 per pair. And the fusion mask starts open, so that the
    generated face is seen and learns before the mask can settle for the target.
    """
    for module in student.modules():
        if isinstance(module, nn.Conv2d):
            area = module.kernel_size[0] * module.kernel_size[1]
            nn.init.normal_(module.weight, std=(2 / (module.in_channels * area)) ** 0.5)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, WeightModulation):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.gain.weight)
            nn.init.zeros_(module.gain.bias)
    for module in student.modules():
        if isinstance(module, WeightPrediction):
            for block in (*module.encoder, *module.decoder):
                nn.init.constant_(block.norm.weight, IDENTITY_SHARE)
                nn.init.normal_(block.norm.bias)
                block.readout.weight.data.mul_(KERNEL_SHARE)
        elif isinstance(module, FusionModule):
            nn.init.constant_(module.last.bias, MASK_BIAS)
