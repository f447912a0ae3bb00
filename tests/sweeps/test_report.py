"""The page and the table of a sweep, also of one without any result yet."""

import csv
from html.parser import HTMLParser
from pathlib import Path

import pytest

from idn.sweeps.outcomes import Outcome
from idn.sweeps.report.charts import Axis, parallel, shade
from idn.sweeps.report.page import write_page
from idn.sweeps.table import columns, print_sweep, short_names, winner, write_csv

GAIN, MACS = "val/swap_gain", "deployed/macs"


def sweep(folder: Path) -> list[Outcome]:
    runs = []
    for k, (rate, way) in enumerate([(0.001, "none"), (0.01, "identity"), (0.1, "none"), (0.005, "identity")]):
        words = [f"optim.lr={rate}", f"reweight={way}"]
        values = {GAIN: 3.0 - k, MACS: 1e6 * (4 - k), "val/identity_swap": 0.1 * k, "val/psnr_teacher": 20.0}
        runs.append(Outcome(str(k), words, ["train", *words], "finished", None, values, [GAIN], 0.5))
        metrics = folder / str(k) / "metrics/metrics.csv"
        metrics.parent.mkdir(parents=True)
        metrics.write_text(f"step,{GAIN}\n1,\n2,{1.0 - k}\n4,{3.0 - k}\n5")
    runs.append(Outcome("4", ["optim.lr=9", "reweight=none"], ["train"], "failed", "the loss became <nan>"))
    runs.append(Outcome("5", ["optim.lr=1", "reweight=none"], ["train"], "hopeless", "at step 2"))
    return [*runs, Outcome("6", ["optim.lr=2", "reweight=none"], ["train"])]


class Tags(HTMLParser):
    """Counts elements, and remembers attributes that would fetch something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.fetched += [name for name, _ in attrs if name in ("src", "href")]


def test_the_page_shows_every_run_and_fetches_nothing(tmp_path: Path) -> None:
    write_page(sweep(tmp_path), tmp_path, tmp_path / "sweep.html")
    text = (tmp_path / "sweep.html").read_text()
    page = Tags(text)
    assert page.counts["tr"] == 8 and page.counts["svg"] == 4 and page.fetched == [] and "script" not in page.counts
    assert "idn train optim.lr=0.001 reweight=none" in text and "&lt;nan&gt;" in text
    assert "4 finished, 1 hopeless, 1 failed, 1 unfinished" in text and len(text) < 60_000


@pytest.mark.parametrize("kept", [slice(4, 7), slice(6, 7), slice(0, 1)], ids=["no result", "begun", "one result"])
def test_a_sweep_that_has_hardly_begun_has_a_page_too(kept: slice, tmp_path: Path) -> None:
    runs = sweep(tmp_path)[kept]
    write_page(runs, tmp_path, tmp_path / "sweep.html")
    assert Tags((tmp_path / "sweep.html").read_text()).counts["tr"] == 1 + len(runs)
    print_sweep(runs)


def test_the_table_says_what_was_varied_what_was_reached_and_how_to_make_it_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = sweep(tmp_path)
    print_sweep(runs)
    out = capsys.readouterr().out
    assert out.strip().endswith("idn train optim.lr=0.001 reweight=none") and winner(runs) in out
    assert list(columns(runs).values()) == ["swap gain, dB", "identity", "psnr teacher"]
    write_csv(runs, tmp_path / "sweep.csv")
    with (tmp_path / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == ["0", "1", "2", "3", "5", "4", "6"]
    assert rows[0][GAIN] == "3.0" and rows[0]["optim.lr"] == "0.001" and rows[-2]["reason"] == "the loss became <nan>"


def test_names_are_as_short_as_they_can_be() -> None:
    names = ["optim.lr", "loss.weights.face", "student.weights.face", "seed", "loss.weights.identity"]
    short = ["lr", "loss.weights.face", "student.weights.face", "seed", "weights.identity"]
    assert list(short_names(names).values()) == short


def test_parallel_coordinates_space_rates_by_their_logarithm() -> None:
    drawn = parallel([Axis("lr", ["0.001", "0.01", "0.1"]), Axis("way", ["a", "", "b"])], [0.0, 0.5, 1.0])
    heights = [line.split(" ")[0].split(",")[1].strip('"') for line in drawn.split('points="')[1:]]
    low, middle, high = sorted(map(float, heights))
    assert middle == pytest.approx((low + high) / 2, abs=0.2) and parallel([], []) == ""
    assert parallel([Axis("seed", ["7", "7"])], [0.0, 1.0]).count(">7<") == 1
    assert shade(0.0) == "#0072b2" and shade(1.0) == "#d55e00"


def test_networks_of_one_size_have_one_speed_and_one_reason_is_said_once(tmp_path: Path) -> None:
    runs = [
        Outcome(str(k), [f"seed={k}"], ["train"], "finished", None, values, [GAIN])
        for k, values in enumerate(
            {GAIN: gain, MACS: macs, "deployed/parameters": macs, "deployed/milliseconds": took}
            for gain, macs, took in [(3.0, 4e6, 32.0), (2.0, 4e6, 6.0), (1.0, 2e6, 5.0)]
        )
    ]
    runs += [Outcome(str(k), [f"seed={k}"], ["train"], "failed", "the loss became nan") for k in (3, 4)]
    write_page(runs, tmp_path, tmp_path / "sweep.html")
    text = (tmp_path / "sweep.html").read_text()
    assert "runs 3, 4, failed: the loss became nan" in text and text.count("the loss became nan") == 1
    drawn = next(part for part in text.split("<svg") if 'by milliseconds"' in part)
    places = {part.split("<title>")[1][0]: part.split('cx="')[1].split('"')[0] for part in drawn.split("<circle")[1:]}
    assert places["0"] == places["1"] != places["2"]
    write_page(runs[:2], tmp_path, tmp_path / "alike.html")
    assert "Quality against cost" not in (tmp_path / "alike.html").read_text(), "they cost the same"
