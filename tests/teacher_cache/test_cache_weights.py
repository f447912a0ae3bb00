"""A cache belongs to the weights of its networks, not to the names and paths that they have."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from idn.errors import OptionError
from idn.teacher_cache import write as cache
from idn.teacher_cache.manifest import CacheManifest
from idn.types import IdentityFeatures, SwapBatch
from teachers.base import FrozenTeacher
from teachers.record import FaceInput, SourceInput, TeacherRecord
from tests.raising import raises

Make = Callable[..., Any]


class Weighed(nn.Module):
    """Scores a picture by a weighted mean."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight), requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.weight * images.mean((1, 2, 3))


class Painter(FrozenTeacher):
    """Shows the target, moved by its one weight."""

    def __init__(self, weight: float) -> None:
        super().__init__(TeacherRecord("painter", "CC0", True, FaceInput(), SourceInput("nothing")), crop_template=None)
        self.weight = nn.Parameter(torch.tensor(weight))
        self.freeze()

    def swap(self, target: Tensor, batch: SwapBatch, source: IdentityFeatures) -> Tensor:
        return target + self.weight


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def begun(folder: Path, make_cache: Make, whole: bool, monkeypatch: pytest.MonkeyPatch, **networks: Any) -> None:
    """A cache that is complete, or one whose second shard was never written."""
    if whole:
        make_cache(folder, **networks)
        return
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cache.TeacherCache, "ask", stopped_at(4))
        make_cache(folder, **networks)
    assert list(CacheManifest.read(folder).shards) == ["train-00000.safetensors"]


def stopped_at(call: int) -> Callable[..., Any]:
    """`TeacherCache.ask` that is interrupted at one of its calls."""
    original, calls = cache.TeacherCache.ask, []

    def ask(self: cache.TeacherCache, batch: SwapBatch) -> Any:
        calls.append(None)
        if len(calls) == call:
            raise KeyboardInterrupt
        return original(self, batch)

    return ask


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    ("teacher", "scorer", "named"),
    [
        (Painter(0.2), Weighed(0.5), "teacher painter"),
        (Painter(0.1), Weighed(0.6), "quality scorer"),
    ],
)
def test_other_weights_behind_the_same_options_are_refused(
    teacher: nn.Module,
    scorer: nn.Module,
    named: str,
    whole: bool,
    tmp_path: Path,
    make_cache: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun(tmp_path, make_cache, whole, monkeypatch, teacher=Painter(0.1), scorer=Weighed(0.5))
    before = contents(tmp_path)
    with raises(OptionError, named, argument="out", value=tmp_path):
        make_cache(tmp_path, teacher=teacher, scorer=scorer)
    assert contents(tmp_path) == before
    assert make_cache(tmp_path, teacher=Painter(0.1), scorer=Weighed(0.5)).resumed == (4 if whole else 1)
