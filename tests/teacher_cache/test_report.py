"""What `idn cache` says before it begins and at its end."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from idn.data.photo_pairs import faces_data
from idn.errors import UserError
from idn.teacher_cache.report import bytes_per_pair
from teachers.ensemble import EnsembleTeacher
from teachers.without_weights.target_itself import TargetItselfTeacher
from tests.raising import raises

Make = Callable[..., Any]


def test_the_room_is_foretold_from_the_targets_then_from_what_was_written(
    tmp_path: Path, make_cache: Make, make_data: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    report = make_cache(tmp_path / "whole", pairs=96)
    entries = report.manifest.shards.values()
    taken = sum(entry.bytes for entry in entries) / sum(entry.pairs for entry in entries)
    before = replace(report.manifest, shards={})
    assert bytes_per_pair(before, make_data()) == pytest.approx(taken, rel=0.3)
    assert bytes_per_pair(report.manifest, make_data()) == taken
    said = capsys.readouterr().err
    assert "104 pairs to ask about" in said and "8 pairs are held out" in said
    make_cache(tmp_path / "whole", pairs=96)
    assert "to ask about" not in capsys.readouterr().err, "nothing is left"
    (tmp_path / "whole" / "train-00000.safetensors").unlink()
    make_cache(tmp_path / "whole", pairs=96)
    assert "8 pairs to ask about" in capsys.readouterr().err


def test_a_disk_that_is_clearly_too_small_is_refused_before_the_teacher_is_asked(
    tmp_path: Path, make_cache: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = make_cache(tmp_path / "whole")
    size = sum(entry.bytes for entry in report.manifest.shards.values())

    def has(free: float) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 0, int(free)))

    has(size / 3)
    with raises(UserError, "28 pairs", f"out={tmp_path / 'small'} "):
        make_cache(tmp_path / "small")
    assert list((tmp_path / "small").iterdir()) == []
    has(size * 1.1)
    assert make_cache(tmp_path / "small").manifest.complete


def test_samples_foretell_the_room_too(tmp_path: Path, make_cache: Make) -> None:
    (tmp_path / "photos").mkdir()
    for person in range(30):
        Image.new("RGB", (48, 48), (person * 8, 255 - person * 8, 90)).save(tmp_path / "photos" / f"{person}.png")
    data = faces_data(str(tmp_path / "photos"), 32, "ffhq", 3, 1, "ffhq", holdout=0.4, val_batches=2)
    manifest = make_cache(tmp_path / "kept", data=data, teacher=TargetItselfTeacher(), pairs=10).manifest
    taken = sum(entry.bytes for entry in manifest.shards.values()) / 16
    assert 0.3 * taken < bytes_per_pair(replace(manifest, shards={}), data) < 3 * taken


def test_the_report_says_how_often_each_member_of_an_ensemble_was_chosen(
    tmp_path: Path, make_cache: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = EnsembleTeacher(
        {"often": TargetItselfTeacher(), "seldom": TargetItselfTeacher()}, "weight", 0, {"often": 3.0, "seldom": 1.0}
    )
    report = make_cache(tmp_path, teacher=teacher, pairs=80)
    assert sum(report.answered.values()) == 88 and report.answered["often"] > report.answered["seldom"] > 0
    said = capsys.readouterr().out
    assert (
        "answered by often" in said and f"{report.answered['seldom']}, {report.answered['seldom'] / 88:.0%} of" in said
    )
