"""Deployment of MobileFSGAN: BatchNorms absorbed by the layers after them, one person as constants."""

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from idn.students.deployment import Deployment, example
from idn.students.mobilefsgan.layers import AttributeBlock, ConstantIdentityBlock, IdentityBlock, Upsample
from idn.types import IdentityFeatures, Network

if TYPE_CHECKING:
    from idn.students.mobilefsgan.student import Student


class OnePersonGenerator(nn.Module):
    """The generator of one person: an ordinary convolutional network. student: folded; it becomes a part of this one.

    embedding: (1, D).
    """

    def __init__(self, student: "Student", embedding: Tensor) -> None:
        super().__init__()
        encoder = student.identity_encoder
        for name, block in list(encoder.named_children()):
            if isinstance(block, IdentityBlock):
                setattr(encoder, name, ConstantIdentityBlock(block, embedding))
        self.generator = student

    def forward(self, target: Tensor) -> tuple[Tensor]:
        """target: (N, 3, S, S) RGB in [0, 1], S % 32 == 0. Returns the image, (N, 3, S, S) in [0, 1].

        The size is not checked, so that tracers see no branch.
        """
        return (self.generator.swap(target, None).image,)


class AnyPersonGenerator(nn.Module):
    """The generator with the identity as an input. student: folded."""

    def __init__(self, student: "Student") -> None:
        super().__init__()
        self.generator = student

    def forward(self, target: Tensor, embedding: Tensor) -> tuple[Tensor]:
        """target: (N, 3, S, S) RGB in [0, 1], S % 32 == 0; embedding: (N, D), or (1, D) for all. Returns the image."""
        return (self.generator.swap(target, embedding).image,)


class FSGANDeployment(Deployment):
    """The network "swap" of one person, or of any person with "embedding" as an input."""

    student: "Student"

    def __init__(self, student: "Student") -> None:
        super().__init__(folded(student))

    @torch.no_grad()
    def plain(self, identity: IdentityFeatures) -> OnePersonGenerator:
        """As Deployment."""
        own = copy.deepcopy(self.student)
        return OnePersonGenerator(own, identity.embedding.detach()).requires_grad_(False).eval()

    def dynamic(self, size: int, runtime_kernels: bool = True, blocks: bool = True) -> tuple[Network, ...]:
        """As Deployment."""
        module = AnyPersonGenerator(copy.deepcopy(self.student)).requires_grad_(False).eval()
        inputs = {"target": example(1, 3, size, size), "embedding": self.anybody().embedding}
        return (self._swap(module, inputs, self.recipe("dynamic", size, blocks)),)


@torch.no_grad()
def folded(student: "Student") -> "Student":
    """A copy for inference that answers the same, without the BatchNorms that the layers after them can absorb."""
    own = copy.deepcopy(student).eval().requires_grad_(False)
    for module in list(own.modules()):
        if isinstance(module, AttributeBlock | IdentityBlock | Upsample):
            module.fold()
    return own
