"""Every run and every sweep has a folder of its own."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from idn.cli.new_folder import claimed
from idn.cli.options.preflight import check_needs
from idn.errors import UserError
from tests.raising import raises

HOURLY = "dir=out/${data.size}_${now:%Y-%m-%d_%H}"


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("where", "several"), [("run", False), ("sweep", True)])
def test_those_that_begin_at_once_share_no_folder(where: str, several: bool, tmp_path: Path) -> None:
    options = [f"hydra.{where}.{HOURLY}"]
    claimed("train", options, several)
    with ThreadPoolExecutor(8) as pool:
        found = [made for (made,) in pool.map(lambda _: claimed("train", options, several), range(20))]
    folders = {path.name for path in (tmp_path / "out").iterdir()}
    assert len({*found}) == 20 and len(folders) >= 21, "the hour may have passed"
    assert all(name.startswith("96_") for name in folders)
    assert all(Path(option.partition("=")[2].strip('"')).is_dir() for option in found)


@pytest.mark.parametrize("options", [["hydra.run.dir=mine"], ["hydra.run.dir=mine/${data.size}"]])
def test_a_folder_that_the_user_names_is_taken_as_it_is(options: list[str], tmp_path: Path) -> None:
    assert claimed("train", options, several=False) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "several"), [("run", False), ("sweep", True)])
def test_a_variable_may_lie_in_the_users_home(
    name: str, several: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RUNS", "~/runs")
    found = claimed("train", [f"hydra.{name}.dir=${{oc.env:RUNS}}/${{data.size}}"], several)
    assert found == [f'hydra.{name}.dir="{tmp_path}/runs/96"']


@pytest.mark.parametrize("verb", ["align", "export", "bench", "cache", "teachers"])
def test_what_writes_elsewhere_makes_none(verb: str, tmp_path: Path) -> None:
    assert claimed(verb, [], several=False) == [] and list(tmp_path.iterdir()) == []


def test_a_run_writes_into_the_folder_that_it_says(idn_cli, tmp_path: Path) -> None:
    (tmp_path / "outputs").mkdir()
    status, out, err = idn_cli("train", "data=faces", "data.root=nowhere", "data.stored_template=ffhq")
    assert status == 2 and "nowhere" in out + err
    assert not list((tmp_path / "outputs").rglob("config")), "what never began leaves no folder"


def test_a_sweep_may_follow_a_run(tmp_path: Path) -> None:
    (tmp_path / "outputs/train/earlier/checkpoints").mkdir(parents=True)
    (tmp_path / "outputs/train/earlier/checkpoints/last.ckpt").touch()
    (tmp_path / "outputs/train/earlier/student.safetensors").touch()
    check_needs("train", [], several=True)
    check_needs("train", [], several=False)
    with raises(UserError, "hydra.sweep.dir=outputs/train", "earlier"):
        check_needs("train", ["hydra.sweep.dir=outputs/train"], several=True)


def test_a_verb_that_keeps_no_record_makes_no_folder_for_one() -> None:
    files = sorted((Path(__file__).parents[2] / "conf").glob("*.yaml"))
    settings = {path.name: OmegaConf.load(path).get("hydra") or {} for path in files}
    bare = {name for name, hydra in settings.items() if "output_subdir" in hydra and hydra["output_subdir"] is None}
    assert len(bare) > 10
    assert [name for name in sorted(bare) if "dir" not in settings[name].get("run", {})] == []
