"""The weights that training starts from, in one place."""

import torch
from torch import nn

from idn.students.mobilefaceswap.injection import WeightModulation, WeightPrediction
from idn.students.mobilefaceswap.network import FusionModule, Head

IDENTITY_SHARE = 0.5
"""Scale of the BatchNorms in the prediction chains: how much of a first kernel depends on the identity."""

ENCODER_SHARE, DECODER_SHARE = 0.3, 0.05
"""Factors on the convolutions that read kernels out: the maps of the encoder keep their magnitude, those of the decoder
start small beside the encoder maps that they are concatenated with, so that detail is not drowned by the deep path."""

HEAD_NOISE = 0.1
"""Share of the usual random kernels in the 3x3 convolutions of the head, on top of a pass-through."""

MASK_BIAS = 2.0
"""Of the last convolution of the fusion module: the mask starts at 0.88."""


def initialise(student: nn.Module) -> None:
    """Draw every parameter of a student from the global generator, in place.

    The published code leaves its framework's defaults: convolutions normal with variance 2 / (C_in k k), pointwise
    kernels uniform as Glorot and Bengio (2010), biases zero, BatchNorm neutral. From these a student learns slowly:
    every identity has its own random network, whose maps grow by a factor of 3 per pair, and the fusion mask closes
    before the generated face is worth showing. Four choices are our own. The gains of the modulation start at zero. The
    prediction chains start with kernels of even magnitude that are mostly the same for everybody. The head starts by
    passing its channels on instead of blurring them. The mask starts open.
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
            for chain, share in ((module.encoder, ENCODER_SHARE), (module.decoder, DECODER_SHARE)):
                for block in chain:
                    nn.init.constant_(block.norm.weight, IDENTITY_SHARE)
                    nn.init.normal_(block.norm.bias)
                    block.readout.weight.data.mul_(share)
        elif isinstance(module, Head):
            for conv in (module.conv1, module.conv2):
                conv.weight.data.mul_(HEAD_NOISE)
                conv.weight.data[:, :, 1, 1] += nn.init.orthogonal_(torch.empty(conv.weight.shape[:2]))
        elif isinstance(module, FusionModule):
            nn.init.constant_(module.last.bias, MASK_BIAS)
