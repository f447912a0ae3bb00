"""One evaluation of tiny methods: it goes on after a stop, refuses another one's folder, and its report is whole."""

import csv
import json
import os
import re
import signal
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from idn.data.alignment.detector import Face
from idn.errors import UserError
from idn.evaluation.compare import compare
from idn.evaluation.evaluate import Evaluation
from idn.evaluation.methods.method import Method, Swaps, judged
from idn.evaluation.pairs.pair_set import PairName, Pairs, PairSet
from idn.evaluation.parts import Parts
from idn.evaluation.protocol import Protocol
from idn.evaluation.report.examples import failures
from idn.evaluation.report.report import write_report
from idn.evaluation.report.summary import read_judged
from idn.types import IdentityFeatures, SwapBatch
from tests.bars import open_bars
from tests.conftest import TinyEncoder

SIZE, COUNT = 48, 30


class Noise(PairSet):
    """Pictures of soft noise, whose exact swap is the target with the middle of the source."""

    def __init__(self, seed: int = 0, count: int = COUNT) -> None:
        names = [PairName(f"t{k}", f"s{k}", f"t{k}", f"s{k // 2}") for k in range(count)]
        super().__init__("noise", names, SIZE, "ffhq", False, {"seed": seed}, {"damaged": 2})
        self.seed = seed

    def load(self, rows: range) -> Pairs:
        draws = [torch.Generator().manual_seed(1000 * self.seed + row) for row in rows]
        coarse = torch.stack([torch.rand(6, 6, 6, generator=draw) for draw in draws])
        source, target = torch.nn.functional.interpolate(coarse, SIZE, mode="bicubic").clamp(0, 1).split(3, 1)
        face = torch.zeros(len(rows), 1, SIZE, SIZE)
        face[..., 12:36, 12:36] = 1
        truth = torch.where(face > 0, source, target)
        points = torch.tensor([[0.4, 0.4], [0.6, 0.4], [0.5, 0.5], [0.42, 0.62], [0.58, 0.62]])
        same = torch.zeros(len(rows), dtype=torch.bool)
        batch = SwapBatch(source, target, face, same, truth, landmarks=points.expand(len(rows), 5, 2))
        return Pairs([self.names[row] for row in rows], batch)


class Mixed(Method):
    """Goes a share of the way from the target to the exact swap."""

    def __init__(self, name: str, share: float, spoil: str | None = None) -> None:
        super().__init__(name, {"kind": "student", "share": share})
        self.share, self.spoil, self.calls = share, spoil, 0

    def swap(self, pairs: Pairs, who: IdentityFeatures) -> Swaps:
        self.calls += 1
        image = pairs.batch.target + self.share * (pairs.batch.truth - pairs.batch.target)
        if self.spoil in [name.target for name in pairs.names]:
            image[[name.target for name in pairs.names].index(self.spoil)] = float("nan")
        return judged(image, pairs)


class Stopped(Mixed):
    """Breaks off at its third chunk, after a first try."""

    def swap(self, pairs: Pairs, who: IdentityFeatures) -> Swaps:
        if self.calls == 3:
            raise KeyboardInterrupt
        return super().swap(pairs, who)


def landmarks(images: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """68 points that follow the brightness of a picture a little."""
    draw = torch.Generator().manual_seed(0)
    return torch.rand(68, 2, generator=draw) + 0.05 * images.mean((1, 2, 3)).view(-1, 1, 1)


def evaluation(out: Path, methods: list[Method] | None = None, **more) -> Evaluation:
    torch.manual_seed(0)
    parts = {"pair_set": Noise(), "teacher": "whole", "encoder": TinyEncoder(), "recogniser": TinyEncoder()}
    parts |= {"landmarks": landmarks, "batch": 8, "out": out}
    usual = [Mixed("whole", 1.0), Mixed("most", 0.7, spoil="t5"), Mixed("little", 0.2), Mixed("copy", 0.0)]
    return Evaluation(methods=usual if methods is None else methods, **parts | more)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evaluation")
    evaluation(out).run()
    write_report(out)
    return out


def test_the_order_comes_out_right(finished: Path) -> None:
    judged = read_judged(finished)
    for metric in ("swap_gain", "psnr_truth", "feature_gain", "detail_correlation", "psnr_teacher"):
        means = [np.nanmean(judged.column(name, metric)) for name in judged.names if metric in judged.values[name]]
        assert means == sorted(means, reverse=True), metric


def test_a_problem_is_counted_and_measured_by_nobody(finished: Path) -> None:
    summary = json.loads((finished / "metrics.json").read_text())
    most = next(method for method in summary["methods"] if method["name"] == "most")
    assert most["problems"] == {"pixels that are no numbers": 1}
    assert {value["count"] for value in most["values"].values()} == {COUNT - 1}
    assert most["to_teacher"]["psnr_truth"]["value"] < 1 and most["to_teacher"]["psnr_truth"]["count"] == COUNT - 1


def test_the_terminal_says_why_pairs_have_no_picture(finished: Path, capsys) -> None:
    write_report(finished)
    assert "most: 1 without a picture (pixels that are no numbers)" in " ".join(capsys.readouterr().out.split())


def test_the_terminal_shows_every_method_however_narrow_it_is(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    names = [f"method{k}" for k in range(8)]
    methods = [Mixed(name, 0.1 * k) for k, name in enumerate(names)]
    evaluation(tmp_path, methods, pair_set=Noise(count=3), teacher=None).run()
    capsys.readouterr()
    write_report(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    heads = [line for line in lines if line.startswith(" metric")]
    assert [name for name in names if name not in " ".join(heads)] == []
    table = lines[: next(k for k, line in enumerate(lines) if line.startswith("left out"))]
    assert max(map(len, table)) <= 60 and sum("psnr_background" in line for line in table) == len(heads) > 1


def test_what_stands_beside_every_number_is_stored(finished: Path) -> None:
    protocol = Protocol.read(finished)
    assert (protocol.pairs, protocol.facts, protocol.left_out) == (COUNT, {"seed": 0}, {"damaged": 2})
    assert protocol.recogniser["name"] == "tiny" and len(protocol.recogniser["sha256"]) == 64
    assert json.loads((finished / "metrics.json").read_text())["protocol"]["pairs_sha256"] == protocol.pairs_sha256


def test_neighbours_that_a_metric_cannot_tell_apart_are_named(tmp_path: Path) -> None:
    evaluation(tmp_path, [Mixed("whole", 1.0), Mixed("a", 0.5), Mixed("b", 0.5)]).run()
    found = write_report(tmp_path)["not_separated"]
    assert ["a", "b"] in found["swap_gain"] and ["a", "b"] in found["kid"]


def test_the_table_has_a_row_per_pair_and_method(finished: Path) -> None:
    rows = list(csv.DictReader((finished / "pairs.csv").open()))
    assert len(rows) == 4 * COUNT
    spoiled = next(row for row in rows if (row["method"], row["pair"]) == ("most", "t5_s5"))
    assert spoiled["problem"] and spoiled["swap_gain"] == ""


def test_the_page_asks_no_network_for_anything(finished: Path) -> None:
    text = (finished / "report.html").read_text()
    assert re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?!data:|#)[^"'\s]""", text) == []
    assert "http" not in re.sub(r"http-equiv", "", text)
    for said in ("What does not separate", "Failures by kind", "no picture: pixels that are no numbers: 1 of 30"):
        assert said in text


def test_names_cannot_write_into_the_page_or_the_table(tmp_path: Path, capsys) -> None:
    evaluation(tmp_path, [Mixed("whole", 1.0), Mixed("<script>x</script>", 0.5), Mixed("a[b]", 0.2)]).run()
    write_report(tmp_path)
    assert "a[b]" in capsys.readouterr().out
    assert "<script>" not in (tmp_path / "report.html").read_text()


def test_a_strip_shows_source_target_and_every_method(finished: Path) -> None:
    with Image.open(finished / "parts" / "000000" / "000.webp") as strip:
        assert strip.size == (112 * 6, 112)
    with Image.open(finished / "parts" / "000000" / "005.webp") as strip:  # the one that `most` has spoiled
        grey = strip.convert("RGB").crop((112 * 3 + 4, 4, 112 * 4 - 4, 108)).getextrema()
        assert all(high - low < 12 and low > 118 for low, high in grey)


def test_a_stopped_evaluation_goes_on_and_ends_alike(finished: Path, tmp_path: Path) -> None:
    usual = [Mixed("whole", 1.0), Mixed("most", 0.7, spoil="t5"), Mixed("little", 0.2)]
    with pytest.raises(KeyboardInterrupt) as stop:
        evaluation(tmp_path, [*usual, Stopped("copy", 0.0)]).run()
    assert stop.tb and open_bars() == 0
    assert sum(Parts(tmp_path).done(number) for number in range(4)) == 2
    with pytest.raises(UserError, match="was stopped: 2 of 4 parts are missing"):
        write_report(tmp_path)
    again = Mixed("copy", 0.0)
    evaluation(tmp_path, [*usual, again]).run()
    assert again.calls == 3
    one, other = write_report(tmp_path), json.loads((finished / "metrics.json").read_text())
    assert json.loads(json.dumps(one["methods"])) == other["methods"] and one["protocol"]["facts"] == {"seed": 0}


class Killed(Mixed):
    """Its process is killed at the third chunk."""

    def swap(self, pairs: Pairs, who: IdentityFeatures) -> Swaps:
        if self.calls == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().swap(pairs, who)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_evaluation_goes_on_and_ends_alike(finished: Path, tmp_path: Path) -> None:
    usual = [Mixed("whole", 1.0), Mixed("most", 0.7, spoil="t5"), Mixed("little", 0.2)]
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        evaluation(tmp_path, [*usual, Killed("copy", 0.0)]).run()
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert [Parts(tmp_path).done(number) for number in range(4)] == [True, True, False, False]
    (tmp_path / "parts/.000002.x1y2.draft").mkdir()  # as if killed while it wrote
    again = Mixed("copy", 0.0)
    evaluation(tmp_path, [*usual, again]).run()
    assert again.calls == 3, "the first try, and the two chunks that were missing"
    assert not list(tmp_path.rglob(".*"))
    one, other = read_judged(tmp_path), read_judged(finished)
    for name in one.names:
        assert one.column(name, "swap_gain") == pytest.approx(other.column(name, "swap_gain"), nan_ok=True)


def test_where_a_detector_sees_no_face_its_landmarks_measure_nothing(tmp_path: Path) -> None:
    def detector(photo: torch.Tensor) -> list[Face]:
        assert photo.dtype == torch.uint8 and photo.shape == (3, SIZE, SIZE)
        place = SIZE // 2 if float(photo.float().mean()) > 120 else 2 * SIZE  # in its place, or out of the picture
        return [Face(torch.zeros(4), torch.full((5, 2), float(place)), 0.7)]

    evaluation(tmp_path, [Mixed("whole", 1.0), Mixed("copy", 0.0)], detector=detector).run()
    judged = read_judged(tmp_path)
    found = judged.column("copy", "face_found")
    assert set(found.tolist()) == {0.0, 1.0}
    missing = next(failure for failure in failures(judged, "copy") if failure.kind == "no face is found")
    assert missing.count == int((found == 0).sum())
    for metric in ("pose_error", "expression_error"):
        assert (np.isnan(judged.column("copy", metric)) == (found == 0)).all()
    assert np.isfinite(judged.column("copy", "identity")).all()
    assert judged.protocol.detector == {"name": "function"}


class Brightness(torch.nn.Module):
    """Reads one number of a face, as a published network would several."""

    facts: ClassVar = {"name": "brightness", "sha256": "0"}

    def forward(self, images: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        assert points.shape == (len(images), 5, 2)
        return images.mean((1, 2, 3))[:, None]

    def distance(self, read: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return (read - other).abs()[:, 0]


def test_what_a_network_reads_is_compared_with_the_target_and_its_file_belongs_to_the_protocol(tmp_path: Path) -> None:
    parts = {"pair_set": Noise(count=4), "teacher": None, "no_networks": ["no gaze_l2cs: none here"]}
    methods = [Mixed("whole", 1.0), Mixed("copy", 0.0)]
    with_it = evaluation(tmp_path / "a", methods, networks={"pose_hopenet": Brightness()}, **parts).run()
    judged = read_judged(tmp_path / "a")
    batch = Noise().load(range(4)).batch
    wanted = (batch.truth.mean((1, 2, 3)) - batch.target.mean((1, 2, 3))).abs()
    assert judged.column("whole", "pose_hopenet").tolist() == pytest.approx(wanted.tolist(), abs=1e-6)
    assert judged.column("copy", "pose_hopenet").tolist() == [0] * 4
    assert (
        with_it.networks["pose_hopenet"]["name"] == "brightness" and "no gaze_l2cs: none here" in with_it.not_measured
    )
    assert any(said.startswith("hardly any gaze_error") for said in with_it.not_measured)
    without = evaluation(tmp_path / "b", methods, **parts).run()
    assert [said.split(":")[0] for said in with_it.differences(without)] == ["networks"]


def test_a_folder_with_another_evaluation_is_refused(finished: Path) -> None:
    with pytest.raises(UserError, match="other methods"):
        evaluation(finished, [Mixed("whole", 1.0), Mixed("other", 0.3)]).run()
    with pytest.raises(UserError, match="another protocol"):
        evaluation(finished, pair_set=Noise(seed=1)).run()


def test_one_picture_is_too_few_for_distances_and_has_an_interval_of_its_own(tmp_path: Path) -> None:
    evaluation(tmp_path, pair_set=Noise(count=1)).run()
    values = write_report(tmp_path)["methods"][1]["values"]
    assert "fid" not in values and values["swap_gain"]["low"] == values["swap_gain"]["high"]


def test_compare_says_which_differences_are_larger_than_chance(finished: Path, tmp_path: Path, capsys) -> None:
    better = [Mixed("whole", 1.0), Mixed("most", 0.8), Mixed("little", 0.2)]
    evaluation(tmp_path / "second", better).run()
    rows = compare([finished, tmp_path / "second"], tmp_path / "table.csv")
    found = {(row.metric.name, row.column.method): row for row in rows if row.against is not None}
    assert found["swap_gain", "most"].larger_than_chance and found["swap_gain", "most"].difference.value > 1
    assert not found["swap_gain", "little"].larger_than_chance
    said = capsys.readouterr().out
    assert "second: little equals" in said and "second: whole equals" in said and "psnr_background" in said
    assert len(list(csv.DictReader((tmp_path / "table.csv").open()))) == len(rows)


def test_reports_of_different_protocols_refuse_to_be_compared(finished: Path, tmp_path: Path) -> None:
    evaluation(tmp_path / "second", pair_set=Noise(seed=1)).run()
    with pytest.raises(UserError, match=r"different protocols \(facts: seed 0 and 1\)"):
        compare([finished, tmp_path / "second"])
    with pytest.raises(UserError, match="given twice"):
        compare([finished, finished])
    with pytest.raises(UserError, match="holds no evaluation"):
        compare([finished, tmp_path])
    with pytest.raises(UserError, match="two reports are the least"):
        compare([finished])
