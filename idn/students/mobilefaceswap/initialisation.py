"""The weights that training starts from, in one place."""

import torch
from torch import nn

from idn.students.mobilefaceswap.injection import InjectionNetwork, WeightModulation
from idn.students.mobilefaceswap.kernel_shapes import read_out, starting_kernels
from idn.students.mobilefaceswap.layout import Layout
from idn.students.mobilefaceswap.network import Head

CHAIN_SCALE = 0.5
"""Scale of the BatchNorms in the prediction chains."""

NARROW = 8
"""The map that kernels are read from is normal with a deviation of 1, and of twice as much with that many channels: the
few channels of a narrow link would not average out what differs between identities."""

IDENTITY_SHARE = 0.25
"""How much of a first kernel depends on the identity."""

HEAD_NOISE = 0.1
"""Share of the usual random kernels in the 3x3 convolutions of the head, on top of a pass-through."""


def initialise(student: nn.Module, layout: Layout) -> None:
    """Draw every parameter of a student from the global generator, in place.

    The published code leaves its framework's defaults: convolutions normal with variance 2 / (C_in k k), pointwise
    kernels uniform as Glorot and Bengio (2010), biases zero, BatchNorm neutral. From these a student learns slowly:
    every identity has its own random network, whose maps grow by a factor of 3 per pair, and all depthwise kernels are
    blurs and stay blurs. Three choices are our own. The gains of the modulation start at zero. Every predicted kernel
    starts with a shape of its own, mostly the same for everybody, and of a magnitude that keeps all maps even. The head
    starts by passing its channels on instead of blurring them.
    """
    for module in student.modules():
        if isinstance(module, nn.Conv2d):
            inputs = module.in_channels // module.groups
            area = module.kernel_size[0] * module.kernel_size[1]
            nn.init.normal_(module.weight, std=(2 / (inputs * area)) ** 0.5)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, WeightModulation):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.gain.weight)
            nn.init.zeros_(module.gain.bias)
    for module in student.modules():
        if isinstance(module, InjectionNetwork):
            _shape_kernels(module, layout)
        elif isinstance(module, Head):
            for conv in (module.conv1, module.conv2):
                conv.weight.data.mul_(HEAD_NOISE)
                conv.weight.data[:, :, 1, 1] += nn.init.orthogonal_(torch.empty(conv.weight.shape[:2]))


def _shape_kernels(injection: InjectionNetwork, layout: Layout) -> None:
    """Start the prediction chains with kernels of even magnitude that are mostly the same for everybody."""
    blocks = [*reversed(injection.prediction.encoder), *injection.prediction.decoder]
    kernels = starting_kernels(layout, [module.weight.data for module in injection.modulation])
    for block, kernel in zip(blocks, kernels, strict=True):
        nn.init.constant_(block.norm.weight, CHAIN_SCALE)
        nn.init.normal_(block.norm.bias, std=1 + NARROW / len(kernel))
        read_out(block, kernel, IDENTITY_SHARE)
