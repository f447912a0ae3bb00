"""Outcomes of a sweep: the last word about a run counts; who wins, and how much an option matters."""

import pytest

from idn.errors import DamagedFile, MissingFile, OptionError, UserError
from idn.metrics.compared import maximised, usual_metric
from idn.sweeps.outcomes import NOTES, Notes, Outcome, read_outcomes, remove_products, varied
from idn.sweeps.ranking import best, front, importance, ranked

GAIN, MACS = "val/swap_gain", "deployed/macs"


def ended(folder: str, gain: float, macs: float = 1.0, keys=(GAIN,), **options: object) -> Outcome:
    words = [f"{name}={value}" for name, value in options.items()]
    return Outcome(folder, words, ["train", *words], "finished", None, {GAIN: gain, MACS: macs}, list(keys), 1.0)


def test_the_usual_metric_is_one_that_no_option_scales() -> None:
    logged = ["val/loss", "val/psnr_teacher", "val/identity_swap", "val/identity_recogniser", GAIN]
    assert usual_metric(logged) == GAIN
    assert usual_metric(logged[:4]) == "val/identity_recogniser"
    assert usual_metric(logged[:3]) == "val/psnr_teacher"
    with pytest.raises(OptionError) as error:
        usual_metric(["val/loss"])
    assert error.value.argument == "metric"


def test_each_metric_has_its_direction() -> None:
    assert maximised(GAIN) and maximised("val/accuracy")
    assert not maximised("val/loss") and not maximised("val/loss_face") and not maximised(MACS)
    for key in ("val/trust", "val/nothing"):
        with pytest.raises(OptionError):
            maximised(key)


def test_the_best_is_first_whichever_way_is_better() -> None:
    runs = [ended("0", 1.0, 5.0), ended("1", 3.0, 9.0), ended("2", 2.0, 1.0)]
    assert [one.folder for one in ranked(runs)] == ["1", "2", "0"]
    cheap = [ended(one.folder, one.values[GAIN], one.values[MACS], (MACS,)) for one in runs]
    assert [one.folder for one in ranked(cheap)] == ["2", "0", "1"]


def test_what_nothing_beats_in_both_is_the_front() -> None:
    runs = [ended("0", 1.0, 5.0), ended("1", 3.0, 9.0), ended("2", 2.0, 1.0), ended("3", 3.0, 9.0)]
    assert [one.folder for one in front(runs, [GAIN, MACS])] == ["1", "2", "3"]
    both = [ended(one.folder, one.values[GAIN], one.values[MACS], (GAIN, MACS)) for one in runs]
    assert [one.folder for one in best(both)] == ["1", "3", "2"]
    assert [one.folder for one in best(runs)] == ["1"]


def test_runs_with_different_metrics_are_not_ranked() -> None:
    with pytest.raises(UserError, match="metric=NAME"):
        ranked([ended("0", 1.0), ended("1", 1.0, keys=(MACS,))])


def test_importance_finds_the_option_that_matters() -> None:
    runs = [ended(str(k), k % 4 + 0.01 * k, lr=10.0 ** (k % 4), seed=k // 4, way="ab"[k % 4 > 1]) for k in range(12)]
    shares = importance(runs, GAIN)
    assert shares["lr"] > 0.9 and shares["seed"] < 0.2 and 0.5 < shares["way"] < 0.9
    assert next(iter(shares)) == "lr" and importance(runs[:3], GAIN) == {}


def test_the_last_line_of_a_run_counts_and_a_cut_one_does_not(tmp_path) -> None:
    notes = Notes(tmp_path / NOTES)
    with pytest.raises(MissingFile):
        read_outcomes(tmp_path)
    for outcome in (Outcome("0", ["a=1"], ["train"]), ended("1", 2.0, a=3), ended("0", 1.0, a=1)):
        notes.add(outcome)
    with notes.path.open("a") as file:
        file.write('{"folder": "2", "opt')
    found = read_outcomes(tmp_path)
    assert [(one.folder, one.state) for one in found] == [("0", "finished"), ("1", "finished")] and varied(found) == [
        "a"
    ]
    notes.path.write_text("[]\n" + notes.path.read_text())
    with pytest.raises(DamagedFile):
        notes.read()


def test_losers_leave_everything_but_their_weights(tmp_path) -> None:
    runs = [ended("0", 1.0), ended("1", 2.0), Outcome("2", [], [])]
    for one in runs:
        (tmp_path / one.folder / "checkpoints").mkdir(parents=True)
        for name in ("checkpoints/last.ckpt", "student.safetensors", "summary.json"):
            (tmp_path / one.folder / name).touch()
    remove_products(tmp_path, runs, best(runs))
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")}
    whole = {f"{k}/{name}" for k in (1, 2) for name in ("checkpoints/last.ckpt", "student.safetensors", "summary.json")}
    assert left == whole | {"0/summary.json"}
