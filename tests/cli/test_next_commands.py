"""Every printed command is one that runs: it is read as a shell and the command line would read it."""

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from idn.cli import conf_dir
from idn.cli.next_commands import after_align, after_cache, after_training, spelled
from idn.cli.options.composition import composing, forget
from idn.cli.options.flags import separated
from idn.cli.options.near_misses import check
from idn.cli.options.overrides import overrides, parsed
from idn.cli.options.preflight import check_needs

FAST = ["data.size=32", "data.batch=2", "data.val_batches=1", "student.width=0.25", "trainer.max_steps=2"]
FAST += ["trainer.val_check_interval=2", "trainer.accelerator=cpu"]


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    before = HydraConfig.instance().cfg
    yield
    HydraConfig.instance().cfg = before
    forget()


@pytest.fixture
def extension(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configs of a package that extends the project: a loss, data, and an experiment."""
    root = tmp_path / "my project/extension"
    for group in ("loss", "data", "experiment"):
        (root / group).mkdir(parents=True)
    (root / "__init__.py").touch()
    (root / "loss/smooth.yaml").write_text((conf_dir() / "loss/face.yaml").read_text())
    (root / "data/drawings.yaml").write_text((conf_dir() / "data/procedural.yaml").read_text())
    (root / "experiment/mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /data: drawings\ndata:\n  val_batches: 1\n"
    )
    monkeypatch.syspath_prepend(root.parent)
    monkeypatch.delitem(sys.modules, "extension", raising=False)
    return root


def running(verb: str, *options: str) -> DictConfig:
    """The config that the function of a verb would be given, with Hydra as it is then."""
    with composing():
        config = compose(verb, overrides(options, several=False), return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    return OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])


def read(line: str) -> tuple[str, list[str]]:
    """The verb and the options of a printed command, which must pass all checks before a run."""
    shell = line.partition(": ")[2].partition("   ")[0]
    idn, verb, *words = shlex.split(shell)
    assert idn == "idn"
    flags, options = separated(words)
    options = overrides(options, several=False)
    assert flags == []
    check(verb, options)
    check_needs(verb, options)
    return verb, options


@pytest.mark.parametrize(
    "value",
    [
        *("plain", "two words", "/a/b.pt", "1", "null", "true", "", "a,b", "x=1", "[x]", "it's", 'say "x"', "end\\"),
        *("${now}", "~", "a: b", "ä", 1, 2.5, None, True, [1, "a b", None], {"a": "1", "b": [2]}, 1e-8),
    ],
)
def test_a_value_is_read_as_it_was(value: object) -> None:
    assert parsed(f"x={spelled(value)}").value() == value


def test_a_student_goes_on_and_to_a_phone(tmp_path: Path) -> None:
    crops = tmp_path / "my crops"
    crops.mkdir()
    typed = [*FAST, "data=faces", f"data.root={crops}", "data.holdout=0.3", "data.layout=flat", "data.augment.flip=0"]
    typed += ["data.stored_template=ffhq", "data.template=arcface_112_v2", "encoder=mobilefacenet", "seed=3"]
    typed += ["encoder.weights=x.pt", "resume=old.ckpt", "data.regions.edge=0.2"]
    phone, again = after_training("train", running("train", *typed), tmp_path / "a run/student.safetensors")
    verb, options = read(phone)
    assert verb == "export" and sorted(options) == sorted(
        [
            *(
                "data=faces",
                f"data.root={crops}",
                "data.holdout=0.3",
                "data.layout=flat",
                "data.stored_template=ffhq",
            ),
            *("encoder=mobilefacenet", "encoder.weights=x.pt", "seed=3", "source=none"),
            *(f"weights={tmp_path}/a run/student.safetensors", f"out={tmp_path}/a run/export"),
        ]
    )
    verb, options = read(again)
    kept = [word for word in typed if not word.startswith(("resume", "trainer.max_steps", "data.root"))]
    assert verb == "train" and {*kept, "trainer.max_steps=4"} <= {*options}
    assert not any(word.startswith("resume=") for word in options), "there is no checkpoint"


def test_what_an_experiment_sets_is_kept_for_other_verbs(extension: Path, tmp_path: Path) -> None:
    config = running("train", f'hydra.searchpath=["file://{extension}"]', "experiment=mine", "data.seed=5")
    phone, again = after_training("train", config, tmp_path / "student.safetensors")
    assert {"data=drawings", "data.seed=5"} <= {*read(phone)[1]}
    assert {"experiment=mine", "data.seed=5"} <= {*read(again)[1]}


@pytest.mark.parametrize("place", ["pkg://extension", "file://{}"])
@pytest.mark.parametrize(
    ("verb", "group"), [("train", "loss=smooth"), ("train-teacher", "data=drawings"), ("train-scorer", "data=drawings")]
)
def test_a_package_that_extends_the_project_is_looked_through_again(
    verb: str, group: str, place: str, extension: Path, tmp_path: Path
) -> None:
    where = f'hydra.searchpath=["{place.format(extension)}"]'
    needs = ["graded=degradations"] if verb == "train-scorer" else []
    lines = after_training(verb, running(verb, where, group, *needs), tmp_path / "product.safetensors")
    for line in lines:
        _, options = read(line)
        assert where in options
    assert any(group in read(line)[1] for line in lines)


@pytest.mark.parametrize("verb", ["train", "train-teacher", "train-scorer", "train-encoder"])
def test_without_options_commands_are_short(verb: str, tmp_path: Path) -> None:
    needs = ["graded=degradations"] if verb == "train-scorer" else []
    for line in after_training(verb, running(verb, *needs), tmp_path / "product.safetensors"):
        assert len(read(line)[1]) <= 3, line


def test_kept_answers_are_used_with_the_same_data(tmp_path: Path) -> None:
    config = running("cache", "out=the kept", "pairs=4", "data.size=32", "data.same_ratio=0.5", "seed=2", "device=cpu")
    verb, options = read(after_cache(config))
    expected = ["data.size=32", "data.same_ratio=0.5", "seed=2", "teacher=cached", "teacher.path=the kept"]
    assert verb == "train" and sorted(options) == sorted(expected)


def test_after_aligning_the_folder_may_have_any_name() -> None:
    line = after_align("my crops, 2")
    assert 'data.root="my crops, 2"' in shlex.split(line)
    read(line)


def test_a_student_of_an_extension_goes_on_as_printed(extension: Path, idn_cli) -> None:
    status, out, err = idn_cli("train", *FAST, "--config-dir", str(extension), "loss=smooth", "hydra.run.dir=a run")
    assert status == 0, err
    phone, again = out.strip().splitlines()[-2:]
    read(phone)
    words = shlex.split(again.partition(": ")[2].partition("   ")[0])
    status, out, err = idn_cli(*words[1:])
    assert status == 0 and "after 4 steps" in out, err


@pytest.mark.parametrize(
    ("verb", "more"),
    [
        *(("train", more) for more in ([], ["--help"], ["--cfg", "job"])),
        ("bench", []),
        *(pytest.param("bench", more, marks=pytest.mark.slow) for more in (["--help"], ["--cfg", "job"])),
    ],
)
@pytest.mark.parametrize("place", ["pkg://nothere.conf", "pkg://idn.nothere", "file:///nowhere", "nowhere", "pkg://"])
def test_a_search_path_that_is_not_there_is_one_sentence(place: str, verb: str, more: list[str], idn_cli) -> None:
    status, out, err = idn_cli(verb, f"hydra.searchpath=[{place}]", *more)
    assert status == 2 and not out and len(err.splitlines()) == 1, err
    assert "hydra.searchpath=[" in err and "give pkg://PACKAGE.FOLDER or file:///FOLDER" in err


def test_help_knows_the_choices_of_an_extension(extension: Path, idn_cli) -> None:
    for place in (["--config-dir", str(extension)], [f'hydra.searchpath=["file://{extension}"]']):
        status, out, err = idn_cli("train", *place, "loss=smooth", "--help")
        assert status == 0 and "loss=smooth " in out and "or face" in out, err
        status, out, _ = idn_cli("train", *place, "--help")
        assert status == 0 and "smooth" in out and "mine" in out
        status, _, err = idn_cli("train", *place, "loss=smoth")
        assert status == 2 and "did you mean smooth?" in err
        status, _, err = idn_cli("train", *place, "trainer.max_stepz=1")
        assert status == 2 and "did you mean trainer.max_steps?" in err
