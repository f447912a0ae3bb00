"""The copy of a run's folder in a store: what is there when, what a store that is away costs, and going on from it."""

import os
from pathlib import Path

import pytest
import torch

from idn.errors import FileError, OptionError
from idn.files.remote import fetch_folder
from idn.files.run_folder import CHECKPOINTS, LAST
from idn.training.callbacks import mirror as mirrors
from idn.training.callbacks.mirror import Mirror
from idn.training.callbacks.save_checkpoints import SaveLast
from idn.training.resume import newest_usable, start
from tests.conftest import quiet_trainer

URL = "memory://store/run"


def trained(make_module, make_data, folder: Path, url: str | None, resume: str | None = None, steps: int = 3) -> None:
    """Train with two states that are kept."""
    module, saving = make_module(5), SaveLast(folder / CHECKPOINTS, every=1, keep=2)
    start(quiet_trainer(folder, steps, callbacks=[saving, Mirror(folder, url)]), module, make_data(), resume)


def test_every_saved_state_is_copied_and_a_run_goes_on_from_there(make_module, make_data, memory, tmp_path) -> None:
    trained(make_module, make_data, tmp_path / "a", URL)
    assert {path.rsplit("/", 1)[1] for path in memory.find("/store")} == {LAST, "step_000002.ckpt"}
    assert memory.cat(f"/store/run/{CHECKPOINTS}/{LAST}") == (tmp_path / "a" / CHECKPOINTS / LAST).read_bytes()
    assert fetch_folder(URL, tmp_path / "b") == 2 and newest_usable(tmp_path / "b").name == LAST
    trained(make_module, make_data, tmp_path / "c", None, f"{URL}/{CHECKPOINTS}/{LAST}", steps=4)
    assert {path.name for path in (tmp_path / "c" / CHECKPOINTS).iterdir()} == {LAST}, "step 4 and nothing before"


def test_what_is_not_new_is_not_copied_again_and_drafts_never(memory, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for name in ("run.json", "student.safetensors", ".draft"):
        (tmp_path / "run" / name).write_text(name)
    kept = Mirror(tmp_path / "run", URL)
    kept.send()
    memory.pipe("/store/run/run.json", b"as it was left there")
    (tmp_path / "run/student.safetensors").write_text("better")
    kept.send()
    assert memory.cat("/store/run/run.json") == b"as it was left there"
    assert memory.cat("/store/run/student.safetensors") == b"better" and len(memory.find("/store")) == 2
    os.remove(tmp_path / "run/run.json")
    kept.send()
    assert memory.find("/store") == ["/store/run/student.safetensors"]


def test_a_store_that_is_away_costs_a_sentence(
    make_module, make_data, memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def away(*given: object) -> None:
        raise FileError(URL, "cannot be reached (gone)")

    with monkeypatch.context() as patched:
        patched.setattr(mirrors, "send", away)
        trained(make_module, make_data, tmp_path / "a", URL, steps=1)
    said = capsys.readouterr().err
    assert said.count("cannot be reached (gone); the run goes on") == said.count("idn:") > 0
    assert (tmp_path / "a" / CHECKPOINTS / LAST).is_file() and not memory.find("/store")


def test_another_run_is_not_overwritten(make_module, make_data, memory, tmp_path: Path) -> None:
    memory.pipe(f"/store/run/{CHECKPOINTS}/{LAST}", b"a state")
    with pytest.raises(OptionError) as error:
        trained(make_module, make_data, tmp_path / "a", URL, steps=1)
    assert error.value.argument == "url" and memory.cat(f"/store/run/{CHECKPOINTS}/{LAST}") == b"a state"
    with pytest.raises(FileError):
        Mirror(tmp_path, "nothing://store")


@pytest.mark.slow
def test_a_run_whose_machine_went_away_goes_on_from_its_mirror(idn_cli, tmp_path: Path) -> None:
    words = ["data.size=32", "data.batch=2", "data.val_batches=1", "student.width=0.25", "trainer.accelerator=cpu"]
    words += ["trainer.val_check_interval=2", "resume=auto", f"callbacks.mirror.url={tmp_path}/mirror"]
    assert idn_cli("train", *words, "trainer.max_steps=2", "hydra.run.dir=a")[0] == 0
    there = {path.name for path in (tmp_path / "mirror").rglob("*")}
    assert there >= {LAST, "student.safetensors", "summary.json", "run.json", "metrics.csv", "config.yaml"}
    status, _, err = idn_cli("train", *words, "trainer.max_steps=4", "hydra.run.dir=b")
    assert status == 0 and "files of the run from" in err
    steps = [line.split(",") for line in (tmp_path / "b/metrics/metrics.csv").read_text().splitlines()]
    place = steps[0].index("step")
    assert [row[place] for row in steps[1:] if row[steps[0].index("val/loss")]] == ["1", "3"]
    assert torch.load(tmp_path / "mirror" / CHECKPOINTS / LAST, weights_only=True)["global_step"] == 4


@pytest.mark.parametrize(
    ("place", "said"),
    [("run", "itself"), ("run/copies/a", "itself"), ("other/../run", "itself"), ("file", "is a file")],
)
def test_a_place_that_takes_no_copy_is_refused(place: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a list")
    with pytest.raises(OptionError, match=said) as error:
        Mirror(tmp_path / "run", str(tmp_path / place))
    assert error.value.argument == "url"
    Mirror(tmp_path / "run", str(tmp_path / "runs"))


def test_a_disk_that_takes_no_copy_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run/config").mkdir(parents=True)
    (tmp_path / "run/config/config.yaml").write_text("seed: 0")
    mirror = Mirror(tmp_path / "run", str(tmp_path / "copy"))
    (tmp_path / "copy").write_text("not a folder any more")
    mirror.send()
    said = capsys.readouterr().err
    assert f"idn: {tmp_path / 'copy'} is a file already, and no folder: give another one; the run goes on" in said
