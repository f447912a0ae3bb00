"""Learning-rate schedules, counted in optimizer steps."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warmup_cosine(optimizer: Optimizer, total_steps: int, warmup_steps: int, floor: float = 0.01) -> LambdaLR:
    """Linear rise over `warmup_steps`, then half a cosine down to `floor` times the learning rate at `total_steps`."""
    warmup = min(warmup_steps, max(total_steps // 2, 1))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = min((step - warmup) / max(total_steps - warmup, 1), 1.0)
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, factor)
