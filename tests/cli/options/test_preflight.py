"""What is looked at before anything is built: values, files of weights, folders."""

import itertools
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from idn.cli import conf_dir
from idn.cli.options.composition import composed
from idn.cli.options.flags import check_dashes, separated
from idn.cli.options.near_misses import check
from idn.cli.options.overrides import combinations, overrides
from idn.cli.options.preflight import check_needs, missing_files
from idn.cli.options.types import RANGES
from idn.errors import OptionError, UserError
from tests.raising import raises


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("verb", "option", "said"),
    [
        ("train", "seed=-1", "seed=-1 must be from 0 to 4294967295"),
        ("train", "trainer.val_check_interval=0", "trainer.val_check_interval=0 must be at least 1"),
        ("train", "trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches=0 must be at least 1"),
        ("train", "trainer.max_steps=null", "trainer.max_steps=null must be a number, at least 1"),
        ("train-encoder", "trainer.max_steps=0", "trainer.max_steps=0 must be at least 1"),
        ("train", "trainer.max_steps=1.5", "trainer.max_steps=1.5 is not a whole number: it is 1000"),
        ("train", "data.batch=2.5", "data.batch=2.5 is not a whole number"),
        ("train", "trainer.devices=1.5", "trainer.devices=1.5 is not a whole number"),
        ("train", "distillation.ema_decay=[]", "distillation.ema_decay=[] is more than one value: it is 0.99"),
        ("train", "optim.betas=0.8", "optim.betas=0.8 is no list of 2 numbers, such as [0.8,0.99]"),
        ("train", "optim.betas=[0.8]", "optim.betas=[0.8] is no list of 2 numbers, such as [0.8,0.99]"),
        ("train", "optim.betas=null", "optim.betas=null is no list of 2 numbers, such as [0.8,0.99]"),
        ("train", "data.size={a:1}", "data.size={a:1} is more than one value: it is 96"),
        ("export", "blocks=2", "blocks=2 is neither true nor false"),
        ("export", "aligned=null", "aligned=null is neither true nor false"),
        ("train", "data.batch=true", "data.batch=true is not a number: it is 16"),
        ("train", "data.renderer=3", "data.renderer=3 stands for several options"),
        ("pipeline", "data.size=64", 'more.all="data.size=64"'),
        ("pipeline", "teacher=trained_here", 'more.all="teacher=trained_here"'),
    ],
)
def test_values_that_cannot_be_meant_are_refused_by_name(verb: str, option: str, said: str) -> None:
    with pytest.raises(UserError) as refusal:
        check(verb, [option])
    assert said in str(refusal.value)


def test_a_part_of_a_part_is_named_whole() -> None:
    with raises(UserError, "teacher/encoder=nobody", "w600k_r50"):
        check("train", ["teacher=onnx_ghost_1_256", "teacher/encoder=nobody"])


@pytest.mark.parametrize(
    ("verb", "options"),
    [
        ("train", ["loss.weights.pixel=2.5", "loss.weights.mask=3", "trainer.gradient_clip_val=null"]),
        ("train", ["trainer.max_steps=1e3", "trainer.devices=auto", "trainer.precision=16", "student.rates=null"]),
        ("train", ["optim.betas=[0.5,0.9]"]),
        ("train", ["~optim.betas"]),
        ("bench", ["seconds=0.5"]),
        ("export", ["floor.int8=27.5"]),
    ],
)
def test_values_that_make_sense_pass(verb: str, options: list[str]) -> None:
    check(verb, options)


def numbers(node, prefix: str = ""):
    """Options of a config file whose default is a whole number, with the constructor that takes each."""
    for key in node:
        child = node._get_node(key)
        if OmegaConf.is_dict(child) and not child._is_none() and not child._is_missing():
            yield from numbers(child, f"{prefix}{key}.")
        elif OmegaConf.is_dict(node) and type(child._value()) is int:
            yield f"{prefix}{key}", node.get("_target_"), key


def test_a_whole_number_is_demanded_only_where_the_constructor_does() -> None:
    import importlib
    import inspect

    for path in sorted(conf_dir().glob("*/*.yaml")):
        for name, target, key in numbers(OmegaConf.load(path)):
            if target is None or f"{path.parent.name}.{name}" in RANGES:
                continue
            module, _, constructor = target.rpartition(".")
            wanted = inspect.signature(getattr(importlib.import_module(module), constructor)).parameters[key].annotation
            assert "float" not in str(wanted), f"{path}: write {name} with a dot"


@pytest.mark.parametrize(
    ("verb", "options", "said"),
    [
        ("import", [], "in and out have no value yet: write idn import in=FILE out=FILE.safetensors"),
        ("import", ["in=x"], "out has no value yet"),
        ("export", [], "weights and out have no value yet: write idn export weights=FILE source=PHOTO out=DIR"),
        ("train", ["data=faces"], "data.root=VALUE (the folder: flat, or one folder per identity)"),
        ("train", ["teacher=torch_program"], "teacher.path=VALUE (FILE.pt (TorchScript)"),
        ("pipeline", ["experiment=paper_simswap"], "root has no value yet"),
        (
            "train",
            ["teacher=ghost_2blocks"],
            "teacher=ghost_2blocks needs G_unet_2blocks.pth and backbone.pth in weights_dir=weights: both are missing;",
        ),
        (
            "train",
            ["teacher=simswap_224", "teacher.encoder=null", "encoder=arcface", "weights_dir=here"],
            "needs latest_net_G.pth in weights_dir=here: it is missing; encoder=arcface needs arcface_checkpoint.tar",
        ),
        ("export", ["weights=x", "out=y", "encoder=arcface"], "encoder=arcface needs"),
    ],
)
def test_all_that_is_missing_is_named_at_once(verb: str, options: list[str], said: str) -> None:
    with pytest.raises(UserError) as refusal:
        check_needs(verb, options)
    assert said in str(refusal.value) and "\n" not in str(refusal.value)


def test_files_that_are_there_are_not_missed(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/backbone.pth").touch()
    with raises(UserError, "teacher=ghost_2blocks", "G_unet_2blocks.pth", "weights_dir=weights"):
        check_needs("train", ["teacher=ghost_2blocks"])
    (tmp_path / "weights/G_unet_2blocks.pth").touch()
    check_needs("train", ["teacher=ghost_2blocks"])
    node = OmegaConf.create({"weights": "mine/a.pth", "encoder": None, "path": "???"})
    assert missing_files("teacher=x", node, "weights") is None, "a file that the user named is the loader's to miss"


def test_the_files_of_a_teacher_whom_nobody_asks_are_not_missed() -> None:
    words = ["teacher=simswap_224", "weights_dir=nowhere"]
    with raises(UserError, "latest_net_G.pth"):
        check_needs("train", [*words, "supervision=both"])
    check_needs("train", [*words, "supervision=triplets"])


@pytest.mark.parametrize(("several", "name"), [(False, "run"), (True, "sweep")])
def test_a_folder_that_cannot_be_made_is_refused(several: bool, name: str, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    for folder in ("taken", "taken/inside", "/proc/nope"):
        with raises(UserError, f"hydra.{name}.dir={folder} "):
            check_needs("train", [f"hydra.{name}.dir={folder}"], several)
    check_needs("bench", [])
    check_needs("train", [], several)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        "outputs",
        "outputs/train",
        "taken",
    ]


@pytest.mark.parametrize(
    ("verb", "words", "said"),
    [
        ("train", ["--max_steps=5"], "write trainer.max_steps=5, without --"),
        ("train", ["--max-steps", "5"], "write trainer.max_steps=5, without --"),
        ("train", ["--teacher", "trained_here"], "write teacher=trained_here, without --"),
        ("align", ["--src", "x"], "write src=x, without --"),
        ("export", ["--weights", "x", "out=y"], "write weights=x, without --"),
        ("export", ["out=y", "--format"], "write format=VALUE, without --"),
        ("train", ["-seed=1"], "write seed=1, without -"),
        ("train", ["--hlep"], "did you mean --help?"),
        ("train", ["--nonsense"], "write name=value, without --, as idn train --help shows"),
    ],
)
def test_dashes_are_answered_with_what_to_type(verb: str, words: list[str], said: str) -> None:
    with pytest.raises(UserError) as refusal:
        check_dashes(verb, words)
    assert str(refusal.value).endswith(said)


def test_flags_of_hydra_pass() -> None:
    words = ["-m", "--help", "--cfg", "job", "--info", "seed=1", "--config-dir=."]
    check_dashes("train", words)
    assert separated(words[:-1]) == (["-m", "--help", "--cfg", "job", "--info"], ["seed=1"])
    for refused in ("--config-name=x", "--config-path=x", "--experimental-rerun=x"):
        with raises(UserError, refused):
            check_dashes("train", [refused])


def test_a_sweep_is_taken_apart_into_its_runs() -> None:
    assert combinations("train", ["a=1,2", "b=x", "c=range(3)"]) == [
        [f"a={a}", "b=x", f"c={c}"] for a, c in itertools.product((1, 2), range(3))
    ]
    many = combinations("train", ["a=range(10)", "b=range(10)", "c=[1,2]"])
    assert len(many) == 19 and all(["a=0", f"b={b}", "c=[1,2]"] in many for b in range(10))


def test_the_folder_of_a_run_means_its_last_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    assert overrides(["resume=run"], several=False) == ["resume=run"]
    (tmp_path / "run/checkpoints/last.ckpt").touch()
    for folder in ("run", "run/checkpoints"):
        assert overrides([f"resume={folder}"], several=False) == ["resume=run/checkpoints/last.ckpt"]


@pytest.mark.parametrize(
    ("numbers", "argument"),
    [
        ({"warmup_steps": -1}, "warmup_steps"),
        ({"warmup_steps": 1, "floor": 2}, "floor"),
        ({"warmup_steps": 1, "hold": -0.1}, "hold"),
    ],
)
def test_a_schedule_that_cannot_be_meant_is_refused(numbers: dict[str, int], argument: str) -> None:
    import torch

    from idn.training.optimization.schedules import warmup_cosine

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with raises(OptionError, argument=argument, value=numbers[argument]):
        warmup_cosine(optimizer, total_steps=10, **numbers)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("optim.lr=${oc.env:IDN_NOT_SET}", "optim.lr=${oc.env:IDN_NOT_SET} has no value: Environment variable"),
        ("weights_dir=${oc.env:IDN_NOT_SET}", "weights_dir=${oc.env:IDN_NOT_SET} has no value: Environment variable"),
        ("trainer.max_steps=${nothing.here}", "trainer.max_steps=${nothing.here} has no value: Interpolation key"),
        ("optim.lr=${colour:1}", "optim.lr=${colour:1} has no value: Unsupported interpolation type colour"),
        ("hydra.run.dir=${oc.env:IDN_NOT_SET}", "hydra.run.dir=${oc.env:IDN_NOT_SET} has no value: Environment"),
    ],
)
def test_a_value_that_hangs_on_nothing_is_named(option: str, said: str) -> None:
    check("train", [option])
    with pytest.raises(UserError) as refusal:
        check_needs("train", [option])
    assert str(refusal.value).startswith(said)


@pytest.mark.parametrize(
    ("verb", "options", "said"),
    [
        ("eval", ["out=null"], "out has no value yet: write idn eval out=DIR"),
        ("eval", ["out=[1,x]"], "out=[1,x] is no path"),
        ("cache", ["out={a:1}"], "out={a:1} is no path"),
        ("align", ["src=true", "dst=x"], "src=true is no path"),
        ("train", ["start=[a,b]"], "start=[a,b] is no path"),
        ("train", ["encoder.weights=[a]"], "encoder.weights=[a] is no path"),
    ],
)
def test_what_is_no_path_is_refused_by_name(verb: str, options: list[str], said: str) -> None:
    with pytest.raises(UserError) as refusal:
        check_needs(verb, options)
    assert said in str(refusal.value)


def test_a_folder_may_be_called_by_a_number() -> None:
    config, _ = composed("cache", ["out=2026", "data.root=1.5", "data=faces"])
    assert (config.out, config.data.root) == ("2026", "1.5")
    check_needs("cache", ["out=2026", "hydra.output_subdir=.hydra", "hydra.run.dir=${out}"])
    assert Path("2026").is_dir()
