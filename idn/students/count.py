"""How large a network is and how much it computes."""

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def conv_weights(module: nn.Module) -> int:
    """Weights of all convolution modules, without biases."""
    return sum(m.weight.numel() for m in module.modules() if isinstance(m, CONVOLUTIONS))


def parameters(module: nn.Module) -> int:
    """All parameters: everything an optimiser would see."""
    return sum(p.numel() for p in module.parameters())


@torch.no_grad()
def conv_macs(module: nn.Module, *inputs: Tensor) -> int:
    """Multiply-accumulates of all convolutions in one forward pass over `inputs`, without biases.

    Calls of `torch.nn.functional` count, too; matrix products do not, as in what papers on mobile networks report.
    """
    with FlopCounterMode(display=False) as counter:
        module(*inputs)
    return counter.get_flop_counts().get("Global", {}).get(torch.ops.aten.convolution, 0) // 2
