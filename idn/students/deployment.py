"""Deployment: the graphs by which a student leaves PyTorch. These serve every student; a package may have its own."""

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idn.types import IdentityFeatures, Network

if TYPE_CHECKING:
    from idn.students.protocol import SwapStudent

Timed = Callable[[], Callable[[], object]]
"""Makes what is to be timed, in the process that times it."""


def example(*shape: int) -> Tensor:
    """Uniform numbers in [0, 1), always the same for a shape."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


class AnyPersonGraph(nn.Module):
    """A student whose identity is an input, or two: what it reads, in that order."""

    def __init__(self, student: "SwapStudent") -> None:
        super().__init__()
        self.student, self.reads = copy.deepcopy(student), student.reads

    def forward(self, target: Tensor, first: Tensor, second: Tensor | None = None) -> tuple[Tensor, ...]:
        """target: (N, 3, S, S) RGB in [0, 1]. Returns the image (N, 3, S, S) and, if there is one, the mask."""
        return _outputs(self.student, target, dict(zip(self.reads, (first, second), strict=False)))


class OnePersonGraph(nn.Module):
    """A student whose identity is a constant: one face, as (1, ...), for all targets. identity: of that face."""

    def __init__(self, student: "SwapStudent", identity: IdentityFeatures) -> None:
        super().__init__()
        self.student, self.reads = copy.deepcopy(student), student.reads
        for name in self.reads:
            self.register_buffer(name, getattr(identity, name).detach().clone())

    def forward(self, target: Tensor) -> tuple[Tensor, ...]:
        """target: (N, 3, S, S) RGB in [0, 1]. Returns the image (N, 3, S, S) and, if there is one, the mask."""
        return _outputs(self.student, target, {name: getattr(self, name) for name in self.reads})


def _outputs(student: "SwapStudent", target: Tensor, read: Mapping[str, Tensor | None]) -> tuple[Tensor, ...]:
    out = student(target, IdentityFeatures(read.get("embedding"), read.get("features")))
    return (out.image,) if out.mask is None else (out.image, out.mask)


class Deployment:
    """What `idn export` and `idn bench` ask of a student. student: in eval mode, on the CPU; it is not changed.

    `blocks` is for networks that can trade memory order for wide vectors, `runtime_kernels` for those with
    convolutions whose kernels are an input; this class has neither.
    """

    def __init__(self, student: "SwapStudent") -> None:
        self.student = student

    def plain(self, identity: IdentityFeatures) -> nn.Module:
        """The network of one person in the order of operations of its definition: what is counted."""
        return OnePersonGraph(self.student, identity).requires_grad_(False).eval()

    def baked(self, identity: IdentityFeatures, size: int, blocks: bool = True) -> Network:
        """The network "swap" of one person for targets of `size` px: target -> image, and mask if there is one."""
        return self._swap(
            self.plain(identity), {"target": example(1, 3, size, size)}, self.recipe("baked", size, blocks)
        )

    def dynamic(self, size: int, runtime_kernels: bool = True, blocks: bool = True) -> tuple[Network, ...]:
        """The networks of any person, in the order in which they run; the last one, "swap", once per frame.

        Inputs are called "target", as the fields of IdentityFeatures, or as an output of a network before.
        """
        known = self.anybody()
        inputs = {name: getattr(known, name) for name in self.student.reads}
        module = AnyPersonGraph(self.student).requires_grad_(False).eval()
        recipe = self.recipe("dynamic", size, blocks)
        return (self._swap(module, {"target": example(1, 3, size, size), **inputs}, recipe),)

    def timed(self, size: int) -> dict[str, Timed]:
        """What `idn bench` measures of PyTorch itself, by name. size: of the targets in pixels."""
        target = example(1, 3, size, size)

        def published() -> Callable[[], object]:
            module = self.plain(self.anybody())
            return lambda: module(target)

        def rewritten(compiled: bool = False) -> Callable[[], object]:
            module = self.baked(self.anybody(), size).module.to(memory_format=torch.channels_last)
            given = target.contiguous(memory_format=torch.channels_last)
            if compiled:
                module = torch.compile(module)
            return lambda: module(given)

        def baking() -> Callable[[], object]:
            who = self.anybody()
            return lambda: self.baked(who, size)

        return {
            "torch eager": published,
            "torch rewritten": rewritten,
            "torch compiled": lambda: rewritten(compiled=True),
            "inject and bake": baking,
        }

    def anybody(self) -> IdentityFeatures:
        """An identity of nobody, always the same, in the sizes that the student reads."""
        dim, channels, side = self.student.encoder[:3]
        return IdentityFeatures(F.normalize(example(1, dim) - 0.5), example(1, channels, side, side))

    def recipe(self, product: str, size: int, blocks: bool) -> dict[str, Any]:
        """What `build_network` of idn.students.student_file needs to make a network of this student again."""
        sizes = dict(zip(self.student.encoder._fields[:3], self.student.encoder[:3], strict=True))
        known = {"architecture": self.student.architecture, "config": self.student.config, "encoder": sizes}
        return {**known, "product": product, "size": size, "blocks": blocks}

    def _swap(self, module: nn.Module, inputs: dict[str, Tensor], recipe: dict[str, Any]) -> Network:
        with torch.inference_mode():
            outputs = ("image", "mask")[: len(module(*inputs.values()))]
        delicate = tuple(name for name in outputs if name == "mask")
        return Network("swap", module, inputs, outputs, True, self.student.stride, (), delicate, recipe)
