"""Learning rate schedules, counted in optimizer steps."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from idn.errors import OptionError
from idn.files.option_checks import require_int, require_number


def warmup_cosine(
    optimizer: Optimizer, total_steps: int, warmup_steps: int, floor: float = 0.01, hold: float = 0.0
) -> LambdaLR:
    """Linear rise over `warmup_steps`, a stretch at the full rate, then half a cosine down to `floor` of that rate at
    `total_steps`.

    optimizer: whose rates change.
    total_steps: of the run.
    warmup_steps: of the rise; of a short run, half of it at most.
    floor: share of the rate that is left in the end.
    hold: share of the steps after the rise at the full rate; 0 falls at once.
    Raises OptionError for a run without steps, or without an end, and for numbers that cannot be meant.
    """
    if total_steps < 1:
        raise OptionError("total_steps", total_steps, "must be at least 1: the learning rate falls until that step")
    require_int("warmup_steps", warmup_steps, 0)
    require_number("floor", floor, 0, 1)
    require_number("hold", hold, 0, 1)
    warmup = min(warmup_steps, max(total_steps // 2, 1))
    flat = warmup + hold * (total_steps - warmup)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = min(max(step - flat, 0) / max(total_steps - flat, 1), 1.0)
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, factor)
