"""Evaluations whose files are cut short, gone or of something else: one sentence that names the file, nothing lost."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from idn.errors import DamagedFile, MissingFile, UserError
from idn.evaluation.compare import compare
from idn.evaluation.parts import Parts
from idn.evaluation.report.report import write_report
from idn.evaluation.report.summary import read_judged
from tests.bars import open_bars
from tests.evaluation.test_evaluate import Mixed, Noise, evaluation
from tests.raising import raises

FEW, METHODS = 6, (("whole", 1.0), ("copy", 0.0))


def small(out: Path, **more) -> None:
    methods = [Mixed(name, share) for name, share in METHODS]
    evaluation(out, methods, **{"pair_set": Noise(count=FEW), "batch": 4, "landmarks": None} | more).run()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    small(out)
    return out


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def is_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def foreign(path: Path) -> None:
    path.write_text(json.dumps({"rows": [{"method": "whole"}], "seconds": {}}))


@pytest.mark.parametrize("spoil", [cut, Path.unlink, is_folder, foreign], ids=lambda f: f.__name__)
def test_a_damaged_part_is_named_and_judged_again_once_it_is_deleted(
    copy: Path, whole: Path, spoil: Callable[[Path], None]
) -> None:
    part = copy / "parts" / "000001"
    spoil(part / "rows.json")
    with raises(DamagedFile, "delete it", path=part):
        compare([whole, copy])
    shutil.rmtree(part)
    with pytest.raises(UserError, match="1 of 2 parts are missing"):
        read_judged(copy)
    small(copy)
    one, other = read_judged(copy), read_judged(whole)
    assert all((one.column(n, "psnr_truth") == other.column(n, "psnr_truth")).all() for n, _ in METHODS)


@pytest.mark.parametrize(
    ("name", "spoil"), [("features.safetensors", cut), ("features.safetensors", Path.unlink), ("001.webp", Path.unlink)]
)
def test_a_report_of_damaged_parts_is_refused(copy: Path, name: str, spoil: Callable[[Path], None]) -> None:
    part = copy / "parts" / "000001"
    spoil(part / name)
    with raises(DamagedFile, "delete it", path=part):
        write_report(copy)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"batch": 4, "teacher": null, "methods": [{}]}'])
def test_a_damaged_list_of_methods_is_named(copy: Path, content: str) -> None:
    path = copy / "methods.json"
    path.write_text(content)
    for use in (lambda: read_judged(copy), lambda: small(copy)):
        with raises(DamagedFile, "another folder", path=path):
            use()


@pytest.mark.parametrize("content", ["{", "[1]", "{}"])
def test_a_damaged_protocol_is_named(copy: Path, content: str) -> None:
    (copy / "protocol.json").write_text(content)
    with pytest.raises(UserError, match=r"protocol\.json was not written by this version"):
        read_judged(copy)


def test_half_of_a_folder_is_no_report(copy: Path) -> None:
    (copy / "methods.json").unlink()
    with raises(MissingFile, "methods.json", path=copy):
        read_judged(copy)


def test_pairs_that_are_too_few_are_noticed(copy: Path) -> None:
    path = copy / "parts" / "000000" / "rows.json"
    kept = json.loads(path.read_text())
    path.write_text(json.dumps({"rows": kept["rows"][:-1], "seconds": {}}))
    with raises(DamagedFile, "its protocol says 6", path=copy):
        read_judged(copy)


def test_a_damaged_gallery_is_named(copy: Path) -> None:
    cut(copy / "gallery.safetensors")
    for use in (lambda: write_report(copy), lambda: small(copy)):
        with raises(DamagedFile, "delete it", path=copy / "gallery.safetensors"):
            use()
    (copy / "gallery.safetensors").unlink()
    with raises(DamagedFile, "delete it", path=copy / "gallery.safetensors"):
        write_report(copy)


def test_an_evaluation_that_is_refused_leaves_the_other_as_it_was(copy: Path) -> None:
    before = (copy / "gallery.safetensors").read_bytes()
    with pytest.raises(UserError, match="another protocol"):
        small(copy, pair_set=Noise(seed=1, count=FEW))
    with pytest.raises(UserError, match="with batch=4"):
        small(copy, batch=3)
    with pytest.raises(UserError, match="beside whole"):
        small(copy, teacher=None)
    assert (copy / "gallery.safetensors").read_bytes() == before
    assert Parts(copy).done(0) and Parts(copy).done(1)


def test_a_stop_while_looking_loses_no_more_than_a_chunk(tmp_path: Path, whole: Path) -> None:
    class Stopping(Noise):
        asked = 0

        def load(self, rows: range):
            type(self).asked += 1
            if self.asked == 3:  # after the first try and the first chunk
                raise KeyboardInterrupt
            return super().load(rows)

    with pytest.raises(KeyboardInterrupt) as stop:
        small(tmp_path, pair_set=Stopping(count=FEW))
    assert stop.tb and open_bars() == 0
    assert [path.name for path in (tmp_path / "looked").iterdir()] == ["000000.safetensors"]
    small(tmp_path, pair_set=Stopping(count=FEW))
    assert Stopping.asked == 3 + 1 + 1 + 2, "the first try, one chunk to look at, two to judge"
    assert not (tmp_path / "looked").exists()
    one, other = write_report(tmp_path), write_report(whole)
    assert one["methods"] == other["methods"] and one["seconds"]["looking first"] > 0
