"""How large a network is and how much it computes."""

import torch
from torch import Tensor, nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def conv_weights(module: nn.Module) -> int:
    """Weights of all convolution modules, without biases."""
    return sum(m.weight.numel() for m in module.modules() if isinstance(m, CONVOLUTIONS + TRANSPOSED))


def parameters(module: nn.Module) -> int:
    """All parameters: everything an optimiser would see."""
    return sum(p.numel() for p in module.parameters())


@torch.no_grad()
def conv_macs(module: nn.Module, *inputs: Tensor) -> int:
    """Multiply-accumulates of all convolution modules in one forward pass over `inputs`, without biases.

    Calls of `torch.nn.functional` are not seen: count a student on its baked network.
    """
    total = 0

    def count(conv: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        positions = args[0] if isinstance(conv, TRANSPOSED) else output
        per_position = conv.weight.numel() // conv.weight.shape[0]
        total += positions.numel() * per_position

    hooks = [m.register_forward_hook(count) for m in module.modules() if isinstance(m, CONVOLUTIONS + TRANSPOSED)]
    try:
        module(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return total
