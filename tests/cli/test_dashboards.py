"""One short run on W&B, TensorBoard and MLflow at once, resumed, and read back."""

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from idn.files.run_folder import LAST

pytestmark = pytest.mark.slow

WORDS = ["data.size=32", "data.batch=2", "data.val_batches=1", "student.width=0.25", "trainer.accelerator=cpu"]
WORDS += ["trainer.val_check_interval=2", "trainer.log_every_n_steps=1", "callbacks.trust.every=2", "optim.lr=0.002"]
NUMBERS = {"train/loss", "train/loss_face", "val/swap_gain", "val/identity_swap", "lr-AdamW/prediction"}
NUMBERS |= {"gradient/prediction", "pace/images_per_second", "pace/data", "pace/teacher", "pace/student"}


DASHBOARDS = ["logger=[wandb,tensorboard,mlflow]", "logger.wandb.offline=true"]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """All dashboards write to disk."""
    for module in ("wandb", "mlflow", "tensorboard"):
        pytest.importorskip(module)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def run(idn_cli, offline: None, tmp_path: Path) -> Path:
    """A run of 2 steps that went on to 4, on all dashboards."""
    words = [*WORDS, *DASHBOARDS, "hydra.run.dir=run", "resume=auto"]
    for steps in (2, 4):
        status, out, err = idn_cli("train", *words, f"trainer.max_steps={steps}")
        assert status == 0, out + err
    return tmp_path / "run"


def chunks(data: bytes) -> Iterator[bytes]:
    """The records of a .wandb file: LevelDB's log format behind a header of 7 bytes, in blocks of 32 KiB."""
    place, whole = 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # all of a record, or the last part of one
            yield whole
            whole = b""


def read_ended(path: Path) -> list:
    """The records of a .wandb file, once W&B's own process has written the last one."""
    from wandb.proto import wandb_internal_pb2

    latest = time.monotonic() + 60
    while True:
        found = [wandb_internal_pb2.Record.FromString(data) for data in chunks(path.read_bytes())]
        if any(record.WhichOneof("record_type") == "exit" for record in found):
            return found
        assert time.monotonic() < latest, f"{path} has no end"
        time.sleep(0.2)


def records(folder: Path) -> tuple[list[dict], list]:
    """Rows of the history and all records of the W&B runs in a folder, parsed by its own protocol."""
    rows, found = [], []
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        for record in read_ended(path):
            found.append(record)
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                rows.append({item.key or item.nested_key[0]: json.loads(item.value_json) for item in items})
    return rows, found


def test_three_dashboards_say_the_same_and_go_on(run: Path, tmp_path: Path) -> None:
    rows, found = records(run)
    keys = {key for row in rows for key in row}
    assert keys >= NUMBERS | {"val/grid", "train/trust_histogram"}, NUMBERS - keys
    begun = [record.run for record in found if record.WhichOneof("record_type") == "run"]
    assert len({one.run_id for one in begun}) == 1 and "lr=0.002" in begun[0].display_name
    assert begun[0].job_type == "train" and "teacher:procedural" in begun[0].tags
    metrics = {record.metric.name: record.metric for record in found if record.WhichOneof("record_type") == "metric"}
    assert metrics["val/swap_gain"].summary.max and metrics["val/loss"].summary.min
    assert {one.step_metric for one in metrics.values() if one.name.startswith("val/")} == {"trainer/global_step"}
    items = [item for record in found for item in record.history.item]
    captions = [json.loads(one.value_json) for one in items if list(one.nested_key) == ["val/grid", "captions"]]
    assert captions == [["source | target | teacher | mask | swap | exact swap"]] * 2
    artifacts = [r.request.log_artifact.artifact for r in found if r.request.HasField("log_artifact")]
    artifacts += [record.artifact for record in found if record.WhichOneof("record_type") == "artifact"]
    made = [one for one in artifacts if one.type == "model"]
    assert made and all({e.path for e in one.manifest.contents} >= {"card.md", "student.safetensors"} for one in made)
    gains = [event["val/swap_gain"] for event in rows if "val/swap_gain" in event]
    assert ["best" in one.aliases for one in made] == [True, gains[-1] == max(gains)]
    used = {one.type for one in artifacts if one.use_after_commit}
    assert used == {"data", "teacher", "encoder"} and not any(one.use_after_commit for one in made)

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    assert set(events.Tags()["scalars"]) >= NUMBERS and "val/grid" in events.Tags()["images"]
    assert [event.step for event in events.Scalars("val/swap_gain")] == [1, 3]
    texts = {tag.removesuffix("/text_summary") for tag in events.Tags()["tensors"]}
    assert texts == {"val/grid", "input/data", "input/teacher", "input/encoder", "product"}
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    table = HParamsPluginData.FromString(content).session_start_info.hparams
    assert 10 <= len(table) <= 14 and table["optim.lr"].number_value == 0.002

    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (found,) = client.search_runs([one.experiment_id for one in client.search_experiments()])
    assert found.info.status == "FINISHED" and set(found.data.metrics) >= NUMBERS
    assert found.data.params["optim.lr"] == "0.002" and found.data.params["choices.teacher"] == "procedural"
    used = {one.tags[0].value: one.dataset.name for one in found.inputs.dataset_inputs}
    assert used == {"data": "procedural", "teacher": "procedural", "encoder": used["encoder"]}
    assert found.data.tags["lineage.teacher"] == "procedural" and "lr=0.002" in found.data.tags["mlflow.runName"]
    assert {one.path for one in client.list_artifacts(found.info.run_id)} >= {"student.safetensors", "card.md", "val"}
    assert [one.step for one in client.get_metric_history(found.info.run_id, "val/swap_gain")] == [1, 3]
    saved = torch.load(run / "checkpoints" / LAST, weights_only=True)
    assert saved["mlflow_run"] == found.info.run_id and saved["wandb_run"] == begun[0].run_id


def test_a_loss_that_is_not_finite_is_an_alert_everywhere(
    idn_cli, offline: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/alert.db")  # a process keeps the first mlflow.db
    status, _, err = idn_cli("train", *WORDS, *DASHBOARDS, "optim.lr=1e30", "trainer.max_steps=4", "hydra.run.dir=run")
    assert status == 2 and "the loss became nan" in err
    _, found = records(tmp_path / "run")
    (alert,) = [record.alert for record in found if record.WhichOneof("record_type") == "alert"]
    assert alert.level == "ERROR" and "the loss became nan" in alert.text

    from mlflow.tracking import MlflowClient
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    client = MlflowClient(f"sqlite:///{tmp_path}/alert.db")
    (kept,) = client.search_runs([one.experiment_id for one in client.search_experiments()])
    assert kept.info.status == "FAILED" and "the loss became nan" in kept.data.tags["alert"]
    events = EventAccumulator(str(tmp_path / "run/tensorboard"))
    events.Reload()
    assert "alert/text_summary" in events.Tags()["tensors"]


def test_the_page_of_an_evaluation_goes_to_all(offline: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.tracking import MlflowClient
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from idn.cli.verbs.evaluation import _log
    from idn.cli.wandb_run import WandbRun
    from idn.evaluation.report.page import PAGE
    from idn.training.dashboards import MlflowRun, TensorBoardRun

    monkeypatch.chdir(tmp_path)  # MLflow keeps artifacts where it is called
    (tmp_path / PAGE).write_text("<p>an evaluation</p>")
    url = f"sqlite:///{tmp_path}/evaluation.db"
    loggers = {
        "wandb": WandbRun(save_dir=tmp_path, offline=True),
        "tensorboard": TensorBoardRun(tmp_path / "board", []),
        "mlflow": MlflowRun(url, {}),
        "none": None,
    }
    values = {"identity": {"value": 0.5}, "psnr": {"value": None}}
    _log(loggers, {"methods": [{"name": "student", "values": values}]}, tmp_path)
    rows, _ = records(tmp_path)
    keys = {key for row in rows for key in row}
    assert {"eval/student/identity", "eval/report"} <= keys and "eval/student/psnr" not in keys
    events = EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    assert events.Scalars("eval/student/identity")[0].value == 0.5 and "eval/report/text_summary" in str(events.Tags())
    client = MlflowClient(url)
    (kept,) = client.search_runs([one.experiment_id for one in client.search_experiments()])
    assert kept.info.status == "FINISHED" and kept.data.metrics == {"eval/student/identity": 0.5}
    assert [one.path for one in client.list_artifacts(kept.info.run_id)] == [PAGE]


@pytest.fixture
def server(offline: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """MLflow's own server on the loopback interface, with artifacts of its own."""
    pytest.importorskip("uvicorn", reason="mlflow-skinny has no server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path / "server"
    folder.mkdir()
    words = [f"--backend-store-uri=sqlite:///{folder}/runs.db", f"--artifacts-destination={folder}/artifacts"]
    command = [sys.executable, "-m", "mlflow", "server", "--host=127.0.0.1", f"--port={port}", "--workers=1", *words]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        latest = time.monotonic() + 180
        while True:
            assert process.poll() is None and time.monotonic() < latest, (folder / "log").read_text()
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                break
            time.sleep(0.5)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def test_a_server_of_mlflow_keeps_a_run_its_pictures_and_its_student(server: str, idn_cli, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    for steps in (2, 4):
        words = [*WORDS, "logger=mlflow", "hydra.run.dir=run", "resume=auto", f"trainer.max_steps={steps}"]
        status, out, err = idn_cli("train", *words)
        assert status == 0, out + err
    client = MlflowClient(server)
    (experiment,) = (one for one in client.search_experiments() if one.name == "idn")
    (kept,) = client.search_runs([experiment.experiment_id])
    assert kept.info.status == "FINISHED" and kept.data.metrics.keys() >= {"val/swap_gain", "train/loss"}
    assert [point.step for point in client.get_metric_history(kept.info.run_id, "val/swap_gain")] == [1, 3]
    fetched = client.download_artifacts(kept.info.run_id, "student.safetensors", str(tmp_path))
    assert Path(fetched).read_bytes() == (tmp_path / "run/student.safetensors").read_bytes()
    assert any(one.path.startswith("val") for one in client.list_artifacts(kept.info.run_id))
