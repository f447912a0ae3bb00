"""Optimizers: fused ones give way where the gradients are scaled, and nothing else about them changes."""

from functools import partial

import torch

from idn.training.optimization.optimizers import unfused


def test_a_fused_optimizer_gives_way_to_scaled_gradients() -> None:
    build = partial(torch.optim.AdamW, lr=0.1, betas=(0.5, 0.9), fused=True)
    parameters = [torch.nn.Parameter(torch.ones(2))]
    groups = ({"params": group} for group in [parameters])
    scaled = unfused(build, scaler=object())(groups)
    assert not scaled.defaults["fused"] and not getattr(scaled, "_step_supports_amp_scaling", False)
    assert scaled.param_groups[0]["betas"] == (0.5, 0.9) and scaled.param_groups[0]["params"] == parameters
    assert unfused(build, scaler=None) is build


def test_an_optimizer_that_cannot_be_fused_is_left_alone() -> None:
    class Own(torch.optim.Optimizer):
        def __init__(self, params: list[dict], rate: float) -> None:
            super().__init__(params, {"rate": rate})

    made = unfused(partial(Own, rate=0.5), scaler=object())([{"params": [torch.nn.Parameter(torch.ones(1))]}])
    assert isinstance(made, Own) and made.defaults["rate"] == 0.5
