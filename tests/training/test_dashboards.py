"""Dashboards: what TensorBoard shows, read back by its own reader; names, cards, and what callbacks tell."""

from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl

from idn.training.callbacks.pace import Pace
from idn.training.dashboards import Dashboard, TensorBoardRun, card, flat
from idn.training.fit import alerting, standing_of
from idn.training.loggers import ResumableCsvLogger
from idn.training.modules.finite_guard import NotFinite
from idn.types import RunInput
from tests.conftest import quiet_trainer


class Told(pl.loggers.Logger):
    """A dashboard that remembers."""

    name, version, saved_as = "told", "7", "told_run"

    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[tuple[int, dict[str, float]]] = []
        self.said: list[tuple] = []

    def log_hyperparams(self, params) -> None:
        self.params = params

    def log_metrics(self, metrics, step=None) -> None:
        self.numbers.append((step, dict(metrics)))

    def log_histogram(self, key, values, step) -> None:
        self.said.append(("histogram", key, step))

    def log_picture(self, key, picture, step, caption) -> None:
        self.said.append(("picture", key, step, caption))

    def log_input(self, given) -> None:
        self.said.append(("input", given.kind, given.name))

    def log_product(self, path, card, lineage, best) -> None:
        self.said.append(("product", path.name, best))

    def log_report(self, page) -> None:
        self.said.append(("report", page.name))

    def alert(self, title, text) -> None:
        self.said.append(("alert", title, text))


def test_a_table_is_no_dashboard(tmp_path: Path) -> None:
    assert isinstance(Told(), Dashboard) and not isinstance(ResumableCsvLogger(tmp_path), Dashboard)


def test_the_pace_of_a_run_is_told_with_gradients_by_group(make_module, make_data, tmp_path: Path) -> None:
    told = Told()
    trainer = quiet_trainer(tmp_path, 4, logger=told, callbacks=[Pace()], log_every_n_steps=2, val_check_interval=3)
    trainer.fit(make_module(4), make_data())
    pace = {step: numbers for step, numbers in told.numbers if "pace/student" in numbers}
    assert list(pace) == [1, 3]
    for numbers in pace.values():
        assert all(numbers[f"pace/{part}"] >= 0 for part in ("data", "teacher", "student", "images_per_second"))
        assert {"gradient/prediction", "gradient/modulation"} <= numbers.keys() and numbers["pace/teacher"] > 0


def test_a_loss_that_is_not_finite_is_an_alert(make_module, make_data, tmp_path: Path) -> None:
    told = Told()
    trainer = quiet_trainer(tmp_path, 4, logger=told)
    with pytest.raises(NotFinite), alerting(trainer):
        trainer.fit(make_module(4), make_data(spoil=1))
    assert [one[0] for one in told.said] == ["alert"] and "nan" in told.said[0][2]


def test_tensorboard_has_a_small_table_pictures_and_histograms(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = TensorBoardRun(tmp_path, columns=["teacher", "optim.lr", "not.there"])
    run.log_hyperparams({"optim": {"lr": 0.5, "betas": [0.9, 0.99]}, "choices": {"teacher": "blend"}})
    run.log_metrics({"val/swap_gain": 2.5, "train/loss": 1.0}, 3)
    run.log_picture("val/grid", np.zeros((4, 6, 3), np.uint8), 3, "source | target")
    run.log_histogram("train/trust_histogram", np.linspace(0, 1, 9, dtype=np.float32), 3)
    run.finalize("success")
    run.log_input(RunInput("teacher", "blend", {"weights_sha256": "ab12"}))
    run.log_product(tmp_path / "student.safetensors", "# card", {}, best=True)
    events = reader.EventAccumulator(str(tmp_path), size_guidance={"images": 0})
    events.Reload()
    tags = events.Tags()
    said = events.Tensors("input/teacher/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "**blend**" in said and "weights_sha256: ab12" in said
    assert tags["images"] == ["val/grid"] and tags["histograms"] == ["train/trust_histogram"]
    assert events.Scalars("val/swap_gain")[0].value == 2.5
    plugins = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    shown = HParamsPluginData.FromString(plugins).session_start_info.hparams
    assert shown["teacher"].string_value == "blend" and shown["optim.lr"].number_value == 0.5 and len(shown) == 2


def test_a_card_says_where_a_file_comes_from_and_what_it_reaches() -> None:
    text = card("student.safetensors", {"teacher_licence": "CC0"}, {"val/swap_gain": 1.25}, "Nobody was better.")
    assert "Nobody was better." in text
    assert "- teacher licence: CC0" in text and "| val/swap_gain | 1.2500 |" in text
    assert flat({"a": {"b": {"c": 1}, "d": [2]}, "e": None}) == {"a.b.c": 1, "a.d": [2], "e": None}


def test_a_run_ends_best_if_no_validation_was_better(tmp_path: Path) -> None:
    table = ResumableCsvLogger(tmp_path)
    for step, gain in ((1, 2.0), (3, 3.5), (5, 3.0)):
        table.log_metrics({"val/swap_gain": gain, "val/loss": gain}, step)
    assert standing_of({"val/swap_gain": 3.5}, [table])[0] and standing_of({"val/loss": 2.0}, [table])[0]
    best, said = standing_of({"val/swap_gain": 3.0}, [table])
    assert not best and "3.5000 at step 3" in said
    assert not standing_of({"val/swap_gain": 3.0}, [])[0], "nobody knows"


def test_a_run_knows_what_it_is_made_from(make_module) -> None:
    found = {one.kind: one for one in make_module(4).inputs()}
    assert set(found) == {"teacher", "encoder"}
    assert found["encoder"].about == make_module(4, "none").inputs()[1].about
    assert all(len(one.about["weights_sha256"]) == 64 for one in found.values())
