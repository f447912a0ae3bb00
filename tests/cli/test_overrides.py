"""Words on the command line become overrides that mean what the user wrote."""

import os

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from idn.cli.overrides import overrides


def value(word: str) -> object:
    """What Hydra reads, once the word is an override."""
    (option,) = overrides("train", [word], several=False)
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
    assert overrides("train", [word], several=False) == [word] and value(word) == meant


def test_commas_separate_the_runs_of_a_sweep():
    assert overrides("train", ["data.root=/a,/b"], several=True) == ["data.root=/a,/b"]


def test_the_folder_of_a_run_stands_for_its_newest_checkpoint(tmp_path):
    folder = tmp_path / "run/checkpoints"
    folder.mkdir(parents=True)
    for age, name in enumerate(("last_good.ckpt", "last.ckpt")):
        (folder / name).touch()
        os.utime(folder / name, (1_000_000 - age, 1_000_000 - age))
    (option,) = overrides("train", [f"resume={tmp_path / 'run'}"], several=False)
    assert option == f"resume={folder / 'last_good.ckpt'}"
