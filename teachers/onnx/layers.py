"""Layers of a network, recognised in an ONNX graph by what the nodes do, not by what an exporter named them."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from idn.files.onnx_graph import OnnxNode
from teachers.onnx.values import GraphValues

_MOVES = ("Unsqueeze", "Squeeze", "Reshape", "Slice", "Split", "Gather", "Transpose")
"""Operations that take numbers elsewhere and leave them as they are."""
_CORNERS = {"half_pixel": False, "pytorch_half_pixel": False, "align_corners": True}
"""Where ONNX places the samples of an enlarged picture -> align_corners."""


class UnlikeError(Exception):
    """Something in a graph is not as expected; the message says what, without a full stop."""


class ConvPlan(NamedTuple):
    """A square convolution that keeps the size, but for its stride, and the leaky ReLU after it (None: none)."""

    c_in: int
    c_out: int
    kernel: int
    stride: int
    reflect: bool
    slope: float | None


class Conv(NamedTuple):
    """A convolution found in a graph. tensors: its weight and bias; origin: name of the weight in the file."""

    plan: ConvPlan
    tensors: dict[str, Tensor]
    origin: str


class LayerReader(GraphValues):
    """Follows a graph backwards: most methods take the name of a value, check that a certain layer makes it, and
    return the name of what enters that layer, with what the graph says about it. UnlikeError if it is something else.
    """

    def node(self, name: str, *kinds: str) -> OnnxNode:
        """The node that makes `name`, which must be of one of these kinds."""
        found = self.kind(name)
        if found not in kinds:
            raise UnlikeError(f"{name} is made by {found or 'no operation'}, not by {' or '.join(kinds)}")
        return self.made[self.root(name)]

    def weight(self, name: str, ndim: int) -> Tensor:
        """A weight as float32."""
        value = self.evaluate(name)
        if value is None or value.ndim != ndim:
            raise UnlikeError(f"{name} {'is missing' if value is None else f'has shape {list(value.shape)}'}")
        return torch.from_numpy(np.ascontiguousarray(value)).float()

    def bias(self, node: OnnxNode, count: int) -> Tensor:
        """The third input of a convolution or linear layer: one number per output."""
        name = node.inputs[2] if len(node.inputs) > 2 else f"the bias of {node.inputs[1]}"
        bias = self.weight(name, 1)
        if len(bias) != count:
            raise UnlikeError(f"{name} has {len(bias)} numbers, not {count}")
        return bias

    def activation(self, name: str) -> tuple[str, float]:
        """The slope below zero, 0 for a ReLU."""
        node = self.node(name, "LeakyRelu", "Relu")
        return node.inputs[0], 0.0 if node.kind == "Relu" else float(node.attributes.get("alpha", 0.01))

    def conv(self, name: str, slope: float | None) -> tuple[str, Conv]:
        """A convolution with the padding before it. slope: of the activation after it."""
        node = self.node(name, "Conv")
        origin = node.inputs[1]
        weight = self.weight(origin, 4)
        c_out, c_in, kernel, width = weight.shape
        bias = self.bias(node, c_out)
        stated = node.attributes
        entry, pads, strides = node.inputs[0], stated.get("pads", [0] * 4), stated.get("strides", [1, 1])
        reflect = self.kind(entry) == "Pad" and not any(pads)
        if reflect:
            entry, pads = self.reflected(entry)
        plain = stated.get("auto_pad", "NOTSET") == "NOTSET" and stated.get("group", 1) == 1
        if not plain or set(stated.get("dilations", [1])) != {1} or len(set(strides)) != 1:
            raise UnlikeError(f"the convolution of {origin} is grouped, dilated or otherwise unusual")
        if kernel != width or kernel % 2 == 0 or set(pads) != {kernel // 2}:
            raise UnlikeError(f"the convolution of {origin}, {kernel} x {width}, does not keep the size of its input")
        plan = ConvPlan(c_in, c_out, kernel, strides[0], reflect, slope)
        return entry, Conv(plan, {"weight": weight, "bias": bias}, origin)

    def reflected(self, name: str) -> tuple[str, list[int]]:
        """A reflecting pad: top, left, bottom, right."""
        node = self.node(name, "Pad")
        pads = node.attributes.get("pads") if len(node.inputs) == 1 else self.evaluate(node.inputs[1])
        mode = node.attributes.get("mode", "constant")
        if mode != "reflect" or pads is None or len(pads) != 8 or len(node.inputs) > 3:
            raise UnlikeError(f"{name} is padded in a way that is not known (mode {mode})")
        pads = [int(value) for value in pads]
        if any(pads[:2] + pads[4:6]):
            raise UnlikeError(f"{name} is padded by {pads}")
        return node.inputs[0], pads[2:4] + pads[6:]

    def doubled(self, name: str, size: int) -> tuple[str, bool]:
        """A bilinear doubling to `size` pixels, and whether it aligns the corners."""
        node = self.node(name, "Resize")
        stated = node.attributes
        how = stated.get("coordinate_transformation_mode", "half_pixel")
        if stated.get("mode", "nearest") != "linear" or how not in _CORNERS or stated.get("antialias", 0):
            raise UnlikeError(f"{name} is enlarged by mode {stated.get('mode', 'nearest')} and {how}")
        scales, sizes = (self.evaluate(node.inputs[i]) if len(node.inputs) > i else None for i in (2, 3))
        by_scale = scales is not None and scales.tolist() == [1, 1, 2, 2]
        by_size = sizes is not None and sizes.tolist()[2:] == [size, size]
        if not (by_scale or by_size):
            raise UnlikeError(f"{name} is not enlarged twofold to {size} pixels")
        return node.inputs[0], _CORNERS[how]

    def anchor(self, name: str) -> str | None:
        """The output of the linear layer whose numbers `name` holds, moved only; None if there is none."""
        name = self.root(name)
        while self.kind(name) in _MOVES:
            name = self.root(self.made[name].inputs[0])
        if self.kind(name) == "Gemm":
            return name
        adds = self.kind(name) == "Add"
        return name if adds and any(self.kind(item) == "MatMul" for item in self.made[name].inputs) else None

    def linear(self, anchor: str, source: str, gamma: str, beta: str) -> tuple[dict[str, Tensor], str]:
        """Weights of a linear layer of `source`, and their name in the file.

        Their rows are put in order: those that the graph cuts out as gamma first, then those that it cuts out as beta.
        """
        node = self.node(anchor, "Gemm", "Add")
        if node.kind == "Gemm":
            stated = node.attributes
            if stated.get("alpha", 1.0) != 1 or stated.get("beta", 1.0) != 1 or stated.get("transA", 0):
                raise UnlikeError(f"{anchor} scales or transposes what it multiplies")
            entry, origin = node.inputs[:2]
            weight = self.weight(origin, 2)
            weight = weight if stated.get("transB", 0) else weight.T
            bias = self.bias(node, len(weight))
        else:
            product, shift = sorted(node.inputs, key=lambda item: self.kind(item) != "MatMul")
            entry, origin = self.node(product, "MatMul").inputs
            weight = self.weight(origin, 2).T
            bias = self.bias(node._replace(inputs=(entry, origin, shift)), len(weight))
        if self.root(entry) != source:
            raise UnlikeError(f"the linear layer of {origin} does not read the embedding")
        rows = torch.cat([self.rows(anchor, part, len(bias)) for part in (gamma, beta)])
        if sorted(rows.tolist()) != list(range(len(bias))):
            raise UnlikeError(f"scale and shift do not use every output of {origin} once")
        return {"weight": weight[rows].contiguous(), "bias": bias[rows]}, origin

    def rows(self, anchor: str, name: str, count: int) -> Tensor:
        """Which of the `count` outputs of a linear layer `name` holds, one per channel of an image."""
        value = self.evaluate(name, {anchor: np.arange(count, dtype=np.float64)[None]})
        if value is None or value.shape != (1, count // 2, 1, 1):
            raise UnlikeError(f"{name} is not one number per channel")
        return torch.from_numpy(value.reshape(-1)).long()

    def normalised(self, name: str) -> tuple[str, float]:
        """An instance norm, written out or as one operation, and its epsilon."""
        node = self.node(name, "Mul", "Div", "InstanceNormalization")
        if node.kind == "InstanceNormalization":
            entry, *affine = node.inputs
            scale, shift = (self.weight(item, 1) for item in affine)
            if not (scale == 1).all() or shift.any():
                raise UnlikeError(f"{name} has a scale or shift of its own")
            return entry, float(node.attributes.get("epsilon", 1e-5))
        centred, divisor = node.inputs
        if node.kind == "Mul":
            if self.kind(centred) != "Sub":
                centred, divisor = divisor, centred
            while self.kind(divisor) == "Mul":
                divisor, factor = self.known(divisor, "Mul")
                if factor != 1:
                    raise UnlikeError(f"{name} is scaled by {factor} beside its deviation")
            inverse = self.node(divisor, "Div", "Reciprocal")
            if inverse.kind == "Div" and self.number(inverse.inputs[0]) != 1:
                raise UnlikeError(f"{divisor} is not 1 / deviation")
            divisor = inverse.inputs[-1]
        variance, eps = self.known(self.node(divisor, "Sqrt").inputs[0], "Add")
        entry, mean = self.node(centred, "Sub").inputs
        square = self.node(self.averaged(variance), "Mul", "Pow")
        same = [self.root(item) == self.root(centred) for item in square.inputs]
        squared = all(same) if square.kind == "Mul" else same[0] and self.number(square.inputs[1]) == 2
        if not squared or self.root(self.averaged(mean)) != self.root(entry):
            raise UnlikeError(f"{name} is not normalised by its own mean and deviation")
        return entry, eps

    def known(self, name: str, kind: str) -> tuple[str, float]:
        """An operation of a value and a known number, in either order, and that number."""
        left, right = self.node(name, kind).inputs
        for value, number in ((left, self.number(right)), (right, self.number(left))):
            if number is not None:
                return value, number
        raise UnlikeError(f"{name} is no {kind} of a known number")

    def averaged(self, name: str) -> str:
        """The mean over height and width, kept as dimensions."""
        node = self.node(name, "ReduceMean")
        axes = node.attributes.get("axes")
        if axes is None and len(node.inputs) > 1:
            axes = self.evaluate(node.inputs[1])
        if axes is None or {int(axis) % 4 for axis in axes} != {2, 3} or not node.attributes.get("keepdims", 1):
            raise UnlikeError(f"{name} is not the mean over height and width")
        return node.inputs[0]
