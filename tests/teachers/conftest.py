"""Drawn people and a stand-in for a recogniser, for the teachers of published families."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idn.data.procedural import FaceRenderer, ProceduralSwaps
from idn.frozen import Frozen
from idn.types import IdentityFeatures, SwapBatch
from teachers.base import FrozenTeacher
from tests.conftest import quiet_trainer


def strangers(n: int = 2, size: int = 64) -> SwapBatch:
    """Pairs of people who all differ, anywhere in any light."""
    g = torch.Generator().manual_seed(1)
    renderer = FaceRenderer()
    drawn = renderer.render(renderer.sample_identity(2 * n, g), renderer.sample_attributes(2 * n, g), size)
    return SwapBatch(drawn.image[:n], drawn.image[n:], drawn.face[n:], torch.zeros(n, dtype=torch.bool))


def swaps(n: int, size: int = 64) -> SwapBatch:
    """Pairs as a student is taught with, some of one person, with the exact swap."""
    return ProceduralSwaps(FaceRenderer(), size, n, seed=1)[0]


class GridRecogniser(Frozen):
    """Mean colours of a grid, through a matrix of random numbers from torch's global generator.

    Subclasses bear the name of the recogniser that they stand for.
    """

    name, licence = "nobody", "Apache-2.0"
    embedding_dim, feature_channels, feature_size = 512, 3, 7

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(147, 512)
        self.freeze()

    def forward(self, images: Tensor) -> IdentityFeatures:
        features = F.adaptive_avg_pool2d(images, 7)
        return IdentityFeatures(F.normalize(self.embed(features.flatten(1) - 0.5)), features)


@pytest.fixture
def learn_from(
    make_module: Callable[..., Any], make_data: Callable[..., Any], tmp_path: Path
) -> Callable[[FrozenTeacher], None]:
    """Distil from a teacher for three steps: all of the student has changed then, and nothing of the teacher."""

    def learn(teacher: FrozenTeacher) -> None:
        module = make_module(total_steps=3, teacher=teacher)
        before = {key: value.clone() for key, value in module.state_dict().items()}
        quiet_trainer(tmp_path, 3, enable_checkpointing=False, limit_val_batches=0).fit(module, make_data())
        after = module.state_dict()
        assert not any(part.training for part in teacher.modules())
        assert not any(parameter.requires_grad for parameter in teacher.parameters())
        frozen = [key for key in before if key.startswith("supervisor.teacher.")]
        assert frozen and all(torch.equal(before[key], after[key]) for key in frozen)
        learned = [f"network.{key}" for key, _ in module.network.named_parameters()]
        assert not any(torch.equal(before[key], after[key]) for key in learned)

    return learn
