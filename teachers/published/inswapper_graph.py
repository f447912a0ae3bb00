"""The network inside inswapper_128.onnx: its layers and weights, found by their place in the computation.

The names in such files are partly numbers that an exporter gave, so the graph is followed from its output back to its
inputs. Whatever is not as expected on the way is refused; nodes and weights that the output does not need are ignored.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from idn.errors import ForeignFile
from idn.files.onnx_graph import OnnxGraph, read_onnx
from teachers.onnx.layers import Conv, ConvPlan, LayerReader, UnlikeError
from teachers.weight_files import recognise


class StylePlan(NamedTuple):
    """A convolution, an instance norm with `eps`, scale and shift from the identity; `conv.slope` belongs behind."""

    conv: ConvPlan
    eps: float


class InswapperPlan(NamedTuple):
    """Everything but the weights. dim: length of the identity; align_corners: of both bilinear doublings."""

    encoder: tuple[ConvPlan, ...]
    styles: tuple[tuple[StylePlan, StylePlan], ...]
    decoder: tuple[ConvPlan, ...]
    dim: int
    align_corners: bool


class Style(NamedTuple):
    """A styled convolution found in a graph. tensors: weight and bias of its linear layer; origin: name in the file."""

    conv: Conv
    eps: float
    tensors: dict[str, Tensor]
    origin: str


def read_inswapper(path: Path, size: int, dim: int) -> tuple[InswapperPlan, dict[str, Tensor], Tensor]:
    """The plan, its float32 weights as `teachers.published.inswapper.InswapperNet` names them, and the (dim, dim) emap.

    size: pixels of its square target. dim: length of its embedding. Raises UserError if the file is unreadable, holds
    another network, or deviates from the plan in anything that it states; the sentence names what.
    """
    graph = read_onnx(path)
    found = recognise(graph.weights)
    if found not in (None, "inswapper"):
        raise ForeignFile(path, f"holds {found}, not inswapper: choose the file or the teacher that fits", found)
    try:
        return _assemble(_Reader(graph, size), dim)
    except UnlikeError as error:
        raise ForeignFile(path, f"is not built like inswapper_128 ({error}): choose the published file") from error


def _assemble(reader: "_Reader", dim: int) -> tuple[InswapperPlan, dict[str, Tensor], Tensor]:
    """Put together what the reader finds."""
    encoder, styles, decoder, align_corners = reader.read()
    emap = reader.emap(dim)
    styled = {f"styles.{i}.{j}": style for i, pair in enumerate(styles) for j, style in enumerate(pair)}
    layers = {f"encoder.{i}": conv for i, conv in enumerate(encoder)}
    layers |= {f"{name}.conv": style.conv for name, style in styled.items()}
    layers |= {f"decoder.{i}": conv for i, conv in enumerate(decoder)}
    _check_chain(layers)
    for style in styled.values():
        if style.tensors["weight"].shape != (2 * style.conv.plan.c_out, dim):
            shape = list(style.tensors["weight"].shape)
            raise UnlikeError(f"{style.origin} gives and takes {shape} numbers, not {[2 * style.conv.plan.c_out, dim]}")
    layers |= {f"{name}.linear": style for name, style in styled.items()}
    tensors = {f"{name}.{key}": tensor for name, layer in layers.items() for key, tensor in layer.tensors.items()}
    plan = InswapperPlan(
        tuple(conv.plan for conv in encoder),
        tuple((StylePlan(a.conv.plan, a.eps), StylePlan(b.conv.plan, b.eps)) for a, b in styles),
        tuple(conv.plan for conv in decoder),
        dim,
        align_corners,
    )
    return plan, tensors, emap


def _check_chain(layers: Mapping[str, Conv]) -> None:
    """Refuse channels that do not follow one from the other, and strides elsewhere than they belong."""
    given = 3
    for name, (plan, _, origin) in layers.items():
        if plan.c_in != given:
            raise UnlikeError(f"{origin} takes {plan.c_in} channels and is given {given}")
        if plan.stride != (2 if name in ("encoder.2", "encoder.3") else 1):
            raise UnlikeError(f"the convolution of {origin} has stride {plan.stride}")
        given = plan.c_out
    if given != 3:
        raise UnlikeError(f"{origin} gives {given} channels, not 3")


class _Reader(LayerReader):
    """Knows the order of the layers."""

    def __init__(self, graph: OnnxGraph, size: int) -> None:
        super().__init__(graph)
        self.size = size
        inputs = {len(value.shape): value for value in graph.inputs}
        if len(graph.inputs) != 2 or set(inputs) != {2, 4} or len(graph.outputs) != 1:
            raise UnlikeError("it does not take an image and an embedding, and give one image")
        self.target, self.source, self.output = inputs[4].name, inputs[2].name, graph.outputs[0].name
        shape = inputs[4].shape
        if any(known not in (None, wanted) for known, wanted in zip(shape[1:], (3, size, size), strict=True)):
            raise UnlikeError(f"{self.target} has shape {list(shape)}, not [1, 3, {size}, {size}]")

    def read(self) -> tuple[list[Conv], list[tuple[Style, Style]], list[Conv], bool]:
        """Encoder, style blocks, decoder, align_corners."""
        name, last = self.conv(self.node(self.halved(self.output), "Tanh").inputs[0], None)
        name, third = self.activated(name)
        name, second = self.activated(name)
        name, late = self.doubled(name, self.size)
        name, first = self.activated(name)
        name, early = self.doubled(name, self.size // 2)
        if early != late:
            raise UnlikeError("its two doublings differ")
        styles = []
        while self.kind(name) == "Add":
            name, pair = self.block(name)
            styles.insert(0, pair)
        if not styles:
            raise UnlikeError(f"{name} is not made by a block with a residual")
        encoder = []
        for _ in range(4):
            name, conv = self.activated(name)
            encoder.insert(0, conv)
        if self.root(name) != self.target:
            raise UnlikeError(f"{name} enters the first convolution, not the image")
        return encoder, styles, [first, second, third, last], early

    def emap(self, dim: int) -> Tensor:
        """The last weight of the file: it turns embeddings into identities, outside the graph."""
        name, value = list(self.weights.items())[-1]
        if value.shape != (dim, dim):
            raise UnlikeError(
                f"its last weight {name} has shape {list(value.shape)}, not {[dim, dim]} as an embedding map"
            )
        return value.float()

    def halved(self, name: str) -> str:
        """(x + 1) / 2, however it is written."""
        start, scale, shift = name, 1.0, 0.0
        while (kind := self.kind(name)) in ("Add", "Sub", "Mul", "Div"):
            name, right = self.node(name, kind).inputs
            if kind in ("Add", "Mul") and self.number(right) is None:
                name, right = right, name
            number = self.number(right)
            if number is None or (kind == "Div" and number == 0):
                break
            if kind in ("Add", "Sub"):
                shift += scale * number if kind == "Add" else -scale * number
            else:
                scale *= number if kind == "Mul" else 1 / number
        if not (math.isclose(scale, 0.5) and math.isclose(shift, 0.5)):
            raise UnlikeError(f"{start} is not (tanh + 1) / 2")
        return name

    def activated(self, name: str) -> tuple[str, Conv]:
        """A convolution and the (leaky) ReLU after it."""
        name, slope = self.activation(name)
        return self.conv(name, slope)

    def block(self, name: str) -> tuple[str, tuple[Style, Style]]:
        """Two styled convolutions, an activation between them, and the residual around both."""
        add = self.node(name, "Add")
        for branch, skip in (add.inputs, add.inputs[::-1]):
            if self.kind(branch) == "Add" and any(map(self.anchor, self.node(branch, "Add").inputs)):
                entry, second = self.style(branch, None)
                entry, slope = self.activation(entry)
                entry, first = self.style(entry, slope)
                if self.root(entry) == self.root(skip):
                    return entry, (first, second)
        raise UnlikeError(f"{name} does not add two styled convolutions to their input")

    def style(self, name: str, slope: float | None) -> tuple[str, Style]:
        """gamma * normalised + beta, with gamma and beta out of one linear layer. slope: of the activation after it."""
        product, beta = sorted(self.node(name, "Add").inputs, key=lambda item: self.anchor(item) is not None)
        normed, gamma = sorted(self.node(product, "Mul").inputs, key=lambda item: self.anchor(item) is not None)
        anchor = self.anchor(beta)
        if anchor is not None and self.anchor(gamma) == anchor:
            entry, eps = self.normalised(normed)
            entry, conv = self.conv(entry, slope)
            tensors, origin = self.linear(anchor, self.source, gamma, beta)
            return entry, Style(conv, eps, tensors, origin)
        raise UnlikeError(f"{name} is not gamma * normalised + beta of one linear layer")
