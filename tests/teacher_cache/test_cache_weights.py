"""A cache belongs to the weights of its networks, not to the names and paths that they have."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from idn.errors import UserError
from idn.teacher_cache import write as cache
from idn.teacher_cache.manifest import CacheManifest, check_shards, weights_digest
from idn.types import IdentityFeatures, SwapBatch
from teachers.base import FaceInput, FrozenTeacher, SourceInput, TeacherRecord

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
    ("teacher", "scorer", "said"),
    [
        (Painter(0.2), Weighed(0.5), "other weights of the teacher painter: give those again, or another out"),
        (Painter(0.1), Weighed(0.6), "other weights of the quality scorer: give those again, or another out"),
    ],
)
def test_other_weights_behind_the_same_options_are_refused(
    teacher: nn.Module,
    scorer: nn.Module,
    said: str,
    whole: bool,
    tmp_path: Path,
    make_cache: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun(tmp_path, make_cache, whole, monkeypatch, teacher=Painter(0.1), scorer=Weighed(0.5))
    before = contents(tmp_path)
    with pytest.raises(UserError, match=said):
        make_cache(tmp_path, teacher=teacher, scorer=scorer)
    assert contents(tmp_path) == before
    assert make_cache(tmp_path, teacher=Painter(0.1), scorer=Weighed(0.5)).resumed == (4 if whole else 1)


def test_a_cache_of_the_version_before_is_continued_with_a_warning(
    tmp_path: Path, make_cache: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_cache(tmp_path / "whole", teacher=Painter(0.1))
    folder = tmp_path / "old"
    begun(folder, make_cache, False, monkeypatch, teacher=Painter(0.1))
    value = json.loads((folder / "cache.json").read_text())
    del value["weights"]
    (folder / "cache.json").write_text(json.dumps(value | {"version": 1}))
    capsys.readouterr()
    report = make_cache(folder, teacher=Painter(0.1))
    assert "did not note the teacher's weights" in capsys.readouterr().err
    assert report.resumed == 1 and CacheManifest.read(folder).weights == {}, "nobody knows whose the first shard is"
    shards = {name: content for name, content in contents(tmp_path / "whole").items() if name != "cache.json"}
    assert shards.items() <= contents(folder).items()
    check_shards(folder, CacheManifest.read(folder), True)


def test_a_digest_tells_weights_and_nothing_else(tmp_path: Path) -> None:
    class Layers(nn.Sequential):
        """With the file that it might have come from."""

        weights_file: Path | None = None

    def network(seed: int = 0, file: bytes | None = None) -> Layers:
        torch.manual_seed(seed)
        net = Layers(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        if file is not None:
            net.weights_file = tmp_path / f"{len(list(tmp_path.iterdir()))}.bin"
            net.weights_file.write_bytes(file)
        return net

    known = weights_digest(network())
    assert known == weights_digest(network().eval().requires_grad_(False).to(memory_format=torch.channels_last))
    assert known != weights_digest(network(1)) and known != weights_digest(network().half())
    statistics = network()
    statistics[1].running_var[0] += 1e-6
    assert known != weights_digest(statistics)
    assert weights_digest(nn.ModuleDict({"a": network()})) != weights_digest(nn.ModuleDict({"b": network()}))
    by_file = [weights_digest(network(file=content)) for content in (b"graph", b"graph", b"other")]
    assert by_file[0] == by_file[1] != by_file[2] and known not in by_file
    nested = [weights_digest(nn.ModuleList([network(file=content)])) for content in (b"graph", b"other")]
    assert nested[0] != nested[1]
