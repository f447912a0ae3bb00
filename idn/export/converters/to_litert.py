"""Writes a network as .tflite, in the environment of litert-torch: `python to_litert.py REQUEST`, a JSON object.

folder: where the program is, see program.py, and, if the file shall compute in int8, `calibration.npz` with samples of
every input; path: of the new file; inputs: shape of each by its name, in order; outputs: their names; delicate: those
that int8 must not reach; bits: 32, or 16 or 8 to store smaller weights for the same computation. Maps, (N, C, H, W) in
the program, are (N, H, W, C) in the file.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ["LITERT_TORCH_SHOW_PROGRESS"] = "n"

import litert_torch
import numpy as np
import torch
from ai_edge_quantizer import quantizer
from ai_edge_quantizer.qtyping import (
    ComputePrecision,
    OpQuantizationConfig,
    QuantGranularity,
    TensorDataType,
    TensorQuantizationConfig,
    TFLOperationName,
)
from litert_torch.quantize.quant_config import QuantConfig
from program import read_program
from torch import Tensor, fx, nn
from torchao.quantization.pt2e.observer import HistogramObserver, PerChannelMinMaxObserver
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer import (
    QuantizationAnnotation,
    QuantizationSpec,
    Quantizer,
    SharedQuantizationSpec,
)

aten = torch.ops.aten
CALIBRATION = "calibration.npz"
LAYERS = (aten.conv2d.default, aten.linear.default)
MOVERS = (aten.upsample_bilinear2d.vec, aten.cat.default)
ACTIVATION = QuantizationSpec(
    dtype=torch.int8,
    quant_min=-128,
    quant_max=127,
    qscheme=torch.per_tensor_affine,
    observer_or_fake_quant_ctr=HistogramObserver.with_args(eps=2**-12),
)
WEIGHT = QuantizationSpec(
    dtype=torch.int8,
    quant_min=-127,
    quant_max=127,
    qscheme=torch.per_channel_symmetric,
    ch_axis=0,
    observer_or_fake_quant_ctr=PerChannelMinMaxObserver.with_args(eps=2**-12),
)


class Named(nn.Module):
    """The network with names for its inputs and outputs, and with maps as (N, H, W, C)."""

    def __init__(self, network: nn.Module, outputs: list[str]) -> None:
        super().__init__()
        self.network, self.outputs = network, outputs

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Inputs by their names, in the order of the network's."""
        found = self.network(*(x.permute(0, 3, 1, 2) if x.ndim == 4 else x for x in inputs.values()))
        maps = (x.permute(0, 2, 3, 1) if x.ndim == 4 else x for x in found)
        return dict(zip(self.outputs, maps, strict=True))


class Integers(Quantizer):
    """Convolutions and matrix products in int8 with constant weights, and what lies between them.

    A layer whose output goes into a sigmoid stays in float32: its range is wide, and the sigmoid reads a small part. So
    does all that the outputs with the numbers `delicate` hang on.
    """

    global_config = SimpleNamespace(is_dynamic=False)

    def __init__(self, delicate: Sequence[int] = ()) -> None:
        super().__init__()
        self.delicate, self.spared = delicate, set()

    def annotate(self, model: fx.GraphModule) -> fx.GraphModule:
        """Say of every node what is int8."""
        results = model.graph.output_node().args[0]
        self.spared = {results[number] for number in self.delicate}
        for node in reversed(model.graph.nodes):
            if node in self.spared:
                self.spared.update(node.all_input_nodes)
        for node in model.graph.nodes:
            if not self._integer(node):
                continue
            inputs = dict.fromkeys(node.all_input_nodes, ACTIVATION)
            output = ACTIVATION
            if node.target in LAYERS:
                inputs = {node.args[0]: ACTIVATION, node.args[1]: WEIGHT}
            elif node.target in MOVERS:
                first, *others = inputs
                inputs |= dict.fromkeys(others, SharedQuantizationSpec((first, node)))
                output = SharedQuantizationSpec((first, node))
            node.meta["quantization_annotation"] = QuantizationAnnotation(inputs, output, _annotated=True)
        return model

    def _integer(self, node: fx.Node) -> bool:
        """Whether all of a node is int8. What only moves numbers is, if all who read them are."""
        if node in self.spared:
            return False
        if node.target in LAYERS:
            return node.args[1].op == "get_attr" and all(user.target is not aten.sigmoid.default for user in node.users)
        if node.target in MOVERS:
            return all(self._integer(user) for user in node.users)
        if node.target is aten.add.Tensor:
            return len(node.all_input_nodes) == 2 and all(map(self._integer, node.all_input_nodes))
        return node.target is aten.leaky_relu.default

    def validate(self, model: fx.GraphModule) -> None:
        """Every annotation is of a kind that the converter knows."""


def quantize(network: nn.Module, folder: Path, integers: Integers) -> nn.Module:
    """`network` in int8, calibrated with the samples in `folder`."""
    stored = np.load(folder / CALIBRATION)
    columns = [torch.from_numpy(stored[name]) for name in stored.files]
    samples = [tuple(value[None] for value in row) for row in zip(*columns, strict=True)]
    prepared = prepare_pt2e(torch.export.export(network, samples[0]).module(), integers)
    with torch.no_grad():
        for sample in samples:
            prepared(*sample)
    return convert_pt2e(prepared, fold_quantize=False)


def shrink(path: Path, bits: int) -> None:
    """Store the weights of a file in 16 bits (float) or 8 (integers, per channel), in place; it computes in float32."""
    kind = TensorDataType.FLOAT if bits == 16 else TensorDataType.INT
    granularity = QuantGranularity.TENSORWISE if bits == 16 else QuantGranularity.CHANNELWISE
    weights = TensorQuantizationConfig(num_bits=bits, granularity=granularity, dtype=kind)
    config = OpQuantizationConfig(
        weight_tensor_config=weights, compute_precision=ComputePrecision.FLOAT, explicit_dequantize=True
    )
    names = quantizer.AlgorithmName
    work = quantizer.Quantizer(str(path))
    work.update_quantization_recipe(
        ".*", TFLOperationName.ALL_SUPPORTED, config, names.FLOAT_CASTING if bits == 16 else names.MIN_MAX_UNIFORM_QUANT
    )
    path.write_bytes(work.quantize().quantized_model)


def main(request: dict[str, Any]) -> None:
    """Do what `request` says."""
    folder, path = Path(request["folder"]), Path(request["path"])
    network, how = read_program(folder), None
    if (folder / CALIBRATION).exists():
        integers = Integers([request["outputs"].index(name) for name in request["delicate"]])
        network, how = quantize(network, folder, integers), QuantConfig(pt2e_quantizer=integers)
    shapes = {name: [n, *size, c] for name, (n, c, *size) in request["inputs"].items()}
    named = Named(network, request["outputs"])
    inputs = {name: torch.zeros(shape) for name, shape in shapes.items()}
    litert_torch.convert(named, sample_kwargs=inputs, quant_config=how).export(str(path))
    if request["bits"] < 32:
        shrink(path, request["bits"])


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
