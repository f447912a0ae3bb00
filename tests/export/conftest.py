"""Students small enough to be converted in seconds."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from idn.export.contract import Arrays
from idn.students.mobilefaceswap.static_graph import baked
from idn.students.mobilefaceswap.student import Student
from idn.types import EncoderDescription, IdentityFeatures, Network


def student(width: float = 0.25, seed: int = 0, encoder: EncoderDescription | None = None) -> Student:
    """Of random weights, always the same, about as sensitive to rounding as a trained one.

    It has the statistics of one batch, and closing layers that do not saturate: those of a new student answer noise
    with black and white.
    """
    torch.manual_seed(seed)
    encoder = EncoderDescription(16, 32) if encoder is None else encoder
    made = Student(encoder, width).train()
    norms = [module for module in made.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        dim, channels, side = encoder[:3]
        who = IdentityFeatures(F.normalize(torch.randn(8, dim)), torch.rand(8, channels, side, side))
        made(torch.rand(8, 3, 64, 64), who)
        for last in (made.idn.head.conv2, made.idn.fusion.last):
            last.weight.mul_(0.02)
    for norm in norms:
        norm.momentum = 0.1
    return made.eval()


def lively_student(width: float = 0.25, seed: int = 0) -> Student:
    """Of random weights that all matter: no bias is zero, no statistics are those of a new network."""
    lively = student(width, seed)
    for module in lively.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2)
        if isinstance(module, nn.BatchNorm2d | nn.Conv2d):
            nn.init.normal_(module.bias)
    return lively


def restless_student(width: float = 0.25) -> Student:
    """As `lively_student`, with means and an embedding that matter, too: rounding shows in it more than in a trained
    one."""
    restless = lively_student(width, seed=4)
    for module in restless.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.5)
    return restless


@pytest.fixture(scope="module")
def network() -> Network:
    """`student` with an identity baked in, for targets of 64 px."""
    return baked(student().bake(torch.randn(1, 16), torch.rand(1, 32, 7, 7)), 64)


@pytest.fixture(scope="module")
def lively() -> Network:
    """`lively_student` in the same way."""
    return baked(lively_student().bake(torch.randn(1, 16), torch.rand(1, 32, 7, 7)), 64)


@pytest.fixture(scope="module")
def crops() -> list[Arrays]:
    """Three targets for `network`."""
    return [(np.random.default_rng(seed).random((1, 3, 64, 64), dtype=np.float32),) for seed in range(3)]
