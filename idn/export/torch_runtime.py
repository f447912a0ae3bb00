"""PyTorch as a runtime: networks in another precision, and calls with their own number of threads."""

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from idn.export.contract import Arrays, Precision
from idn.types import Network

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class Converted(nn.Module):
    """A copy of `module` that is kept and computes in `dtype`, but takes and gives float32."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).to(dtype)
        self.dtype = dtype

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """As `module`, in float32 on both sides."""
        return tuple(output.float() for output in self.module(*(value.to(self.dtype) for value in inputs)))


def converted(network: Network, precision: Precision) -> nn.Module:
    """The module of `network` in fp32, fp16 or bf16, with weights in plain memory order. Shares no memory with it."""
    plain = copy.deepcopy(network.module).to(memory_format=torch.contiguous_format)
    return plain if precision == "fp32" else Converted(plain, DTYPES[precision])


class TorchRunner:
    """Runs anything that takes and gives tensors, with `threads` threads; those of the process are put back.

    channels_last: hand maps over in that memory order, in which the convolutions of PyTorch are faster on a CPU.
    """

    def __init__(self, network: Callable[..., Sequence[Tensor]], threads: int, channels_last: bool) -> None:
        self._network = network
        self._threads = threads
        self._order = torch.channels_last if channels_last else torch.contiguous_format

    def __call__(self, *inputs: NDArray[np.float32]) -> Arrays:
        """As Runner."""
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            with torch.inference_mode():
                outputs = self._network(*(self._tensor(value) for value in inputs))
            return tuple(np.array(output.numpy(), np.float32, order="C") for output in outputs)
        finally:
            torch.set_num_threads(before)

    def _tensor(self, value: NDArray[np.float32]) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(value))
        return tensor.contiguous(memory_format=self._order) if tensor.ndim == 4 else tensor
