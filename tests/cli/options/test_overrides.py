"""Words on the command line become overrides that mean what the user wrote."""

import os

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from idn.cli.options.composition import composed, write_paths
from idn.cli.options.overrides import combinations, overrides
from idn.errors import UserError
from tests.raising import raises


def value(word: str) -> object:
    """What Hydra reads, once the word is an override."""
    (option,) = overrides([word], several=False)
    return OverridesParser.create().parse_override(option).value()


@pytest.mark.parametrize(
    "path",
    [
        "/a=b/c",
        "/it's here/x",
        "/photos (2)/x",
        "/a,b/c",
        '/say "x=y"',
        "/back=\\",
        '/b=\\"',
        "/a=b\\\\",
        "/[x",
        "/{1}=",
    ],
)
def test_a_path_reaches_the_config_as_it_was_typed(path):
    assert value(f"data.root={path}") == path


@pytest.mark.parametrize(("word", "meant"), [("x=3", 3), ("x=null", None), ("x=[a,b]", ["a", "b"]), ("x='a b'", "a b")])
def test_what_hydra_understands_is_left_alone(word, meant):
    assert overrides([word], several=False) == [word] and value(word) == meant


@pytest.mark.parametrize(("word", "meant"), [("out=1e3", "1e3"), ("data.root=007", "007"), ("seed=7", 7)])
def test_a_number_that_names_a_file_stays_as_it_was_typed(word, meant):
    assert value(word) == meant


def test_commas_separate_the_runs_of_a_sweep():
    assert overrides(["data.root=/a,/b"], several=True) == ["data.root=/a,/b"]


def test_the_folder_of_a_run_stands_for_its_newest_checkpoint(tmp_path):
    folder = tmp_path / "run/checkpoints"
    folder.mkdir(parents=True)
    for age, name in enumerate(("last_good.ckpt", "last.ckpt")):
        (folder / name).touch()
        os.utime(folder / name, (1_000_000 - age, 1_000_000 - age))
    (option,) = overrides([f"resume={tmp_path / 'run'}"], several=False)
    assert option == f"resume={folder / 'last_good.ckpt'}"


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("data.root=~/photos", "{}/photos"),
        ("out=~", "{}"),
        ("hydra.run.dir=~/a b", "{}/a b"),
        ("graded.folders=[~/a,~/b]", ["{}/a", "{}/b"]),
        ("hydra.searchpath=[file://~/conf]", ["file://{}/conf"]),
        ("data.root=/a/~/b", "/a/~/b"),
        ("name=a~b", "a~b"),
    ],
)
def test_the_home_folder_is_written_out(word, meant, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = [part.format(tmp_path) for part in meant] if isinstance(meant, list) else meant.format(tmp_path)
    assert value(word) == expected


def test_the_home_folder_is_written_out_in_files_and_variables_too(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PHOTOS", "~/photos")
    config, _ = composed("train", ["data=faces", "data.root=${oc.env:PHOTOS}"])
    assert config.data.root == f"{tmp_path}/photos"
    config = OmegaConf.create(
        {"a": "~/x", "b": ["~/y", "z"], "c": "${a}", "d": "x~", "e": None, "f": {"g": "~"}, "h": "~user", "i": "???"}
    )
    write_paths(config)
    assert OmegaConf.to_container(config, resolve=True) == {
        "a": f"{tmp_path}/x",
        "b": [f"{tmp_path}/y", "z"],
        "c": f"{tmp_path}/x",
        "d": "x~",
        "e": None,
        "f": {"g": str(tmp_path)},
        "h": "~user",
        "i": "???",
    }


def test_what_is_deleted_from_a_config_is_no_home_folder():
    assert overrides(["~logger", "~callbacks.picture"], several=False) == ["~logger", "~callbacks.picture"]


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("reweight=glob(i*)", ["identity", "identity_quality"]),
        ("reweight=glob(*,exclude=i*)", ["none"]),
        ("optim.lr=choice(0.1,0.2)", ["0.1", "0.2"]),
        ("seed=range(2)", ["0", "1"]),
        ("seed=shuffle(range(1,3))", None),
        ("data.root='a,b'", ["'a,b'"]),
        ("loss.reweighted=[a,b]", ["[a,b]"]),
    ],
)
def test_the_values_of_a_sweep(option, values):
    name = option.partition("=")[0]
    found = [run[0].removeprefix(f"{name}=") for run in combinations("train", [option])]
    assert found == values if values else sorted(found) == ["1", "2"]


def test_a_pattern_that_fits_nothing_names_what_there_is():
    with raises(UserError, "reweight=glob(x*)", "identity, identity_quality, none"):
        combinations("train", ["reweight=glob(x*)"])


def test_both_ends_of_an_interval_are_looked_at_where_the_sweeper_can_search(tmp_path):
    (tmp_path / "hydra/sweeper").mkdir(parents=True)
    (tmp_path / "hydra/sweeper/searching.yaml").write_text("_target_: my.Sweeper\n")
    option = "optim.lr=interval(0.0001,0.01)"
    with raises(UserError, option, "hydra/sweeper=optuna"):
        combinations("train", [option])
    sweeper = [f"hydra.searchpath=[file://{tmp_path}]", "hydra/sweeper=searching"]
    assert combinations("train", [*sweeper, option]) == [[*sweeper, f"optim.lr={end}"] for end in (0.0001, 0.01)]
    tagged = combinations("train", [*sweeper, "data.batch=tag(log, int(interval(1, 8)))"])
    assert [run[-1] for run in tagged] == ["data.batch=1", "data.batch=8"]
