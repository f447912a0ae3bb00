"""Commands to try next, ready to be pasted into a shell: they keep every option that matters, and search paths."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from idn.cli.options.composition import composed, search
from idn.cli.options.overrides import in_quotes, parsed
from idn.cli.options.typed import typed
from idn.cli.options.types import leaves, selected

SHARED = ("data", "encoder")
"""Groups that a student must be given exactly as its teacher, scorer or cache was."""

NEEDLESS = {"size", "template", "batch", "workers", "val_batches", "same_ratio", "augment", "regions", "cache"}
"""Options of the data that an export reads from the student's file, or has no use for."""

LAST = "checkpoints/last.ckpt"


def command(verb: str, *options: str) -> str:
    """An `idn` command, ready to be pasted into a shell."""
    return shlex.join(["idn", verb, *options])


def option(name: str, value: Any) -> str:
    """An option with a value, as Hydra reads it."""
    return f"{name}={spelled(value)}"


def spelled(value: Any) -> str:
    """A value as Hydra reads it: with quotes where the plain word would mean something else."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(spelled, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{spelled(part)}' for key, part in value.items())}}}"
    text = str(value)
    read = parsed(f"x={text}")
    if not isinstance(value, str) or (read is not None and read.value() == text and not read.is_sweep_override()):
        return text
    return in_quotes(text)


def carried(cfg: DictConfig, verb: str, other: str, without: frozenset[str] | set[str] = frozenset()) -> list[str]:
    """Options that give another verb the data, the encoder and the seed of this one.

    cfg: the config of `verb`, whose experiment may have set some of them. without: options of the data to leave out.
    """
    chosen, places = HydraConfig.get().runtime.choices, search(HydraConfig.get().overrides.hydra)
    groups = [name for name in chosen if name.split("/")[0] in SHARED and "@" not in name]
    ours = composed(verb, places)[1].runtime.choices
    picked = [f"{name}={chosen[name] or 'null'}" for name in sorted(groups) if chosen[name] != ours.get(name)]
    picked = [word for word in picked if not _left_out(word.replace("/", ".").partition("=")[0], without)]
    usual = composed(verb, [*places, *picked])[0]
    known = dict(leaves(composed(other, [*places, *picked])[0]))
    changed = [
        f"{'' if name in known else '+'}{option(name, value)}"
        for name, value in _changes(cfg, usual)
        if not _left_out(name, without)
    ]
    return [*places, *picked, *changed]


def _left_out(name: str, without: frozenset[str] | set[str]) -> bool:
    return name.startswith("data.") and name.split(".")[1] in without


def _changes(cfg: DictConfig, usual: DictConfig) -> Iterator[tuple[str, Any]]:
    """Options of the shared groups, of the seed and of the folder of weights that are not what they usually are."""
    before = dict(leaves(usual))
    for name, node in leaves(cfg):
        if name.split(".")[0] not in (*SHARED, "seed", "weights_dir"):
            continue
        if name in before and before[name]._value() == node._value():
            continue
        value = selected(cfg, name)
        yield name, OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def after_training(verb: str, cfg: DictConfig, path: Path) -> list[str]:
    """What to try when a verb that trains has written its product to `path`: a line each."""
    if verb == "train":
        return _after_student(cfg, path)
    if verb == "train-encoder":
        more = [*search(HydraConfig.get().overrides.hydra), option("encoder.weights", str(path))]
    elif verb == "train-teacher":
        more = [*carried(cfg, verb, "train"), "teacher=trained_here", option("teacher.weights", str(path))]
    else:
        more = [*carried(cfg, verb, "train"), "reweight=identity_quality", option("reweight.scorer", str(path))]
    return [f"next: {command('train', *more)}"]


def _after_student(cfg: DictConfig, path: Path) -> list[str]:
    words, last = typed(), path.parent / LAST
    again = [word for word in words if not word.lstrip("+").startswith(("resume=", "trainer.max_steps="))]
    again += [option("resume", str(last))] if last.is_file() else []
    again.append(f"trainer.max_steps={2 * cfg.trainer.max_steps}")
    plain = not any(word.startswith(("experiment=", "teacher=", "data=")) for word in words)
    longer = "   or the long run: idn train experiment=procedural_full" if plain else ""
    phone = [*carried(cfg, "train", "export", NEEDLESS), option("weights", str(path)), "source=none"]
    return [
        f"to a phone: {command('export', *phone, option('out', str(path.parent / 'export')))}",
        f"next: {command('train', *again)}{longer}",
    ]


def after_cache(cfg: DictConfig) -> str:
    """What to try with kept answers."""
    kept = [*carried(cfg, "cache", "train"), "teacher=cached", option("teacher.path", str(cfg.out))]
    return f"next: {command('train', *kept)}"


def after_triplets(folder: str, photographs: bool) -> str:
    """What to try with triplets. photographs: whether they show more than drawn faces."""
    words = ["data=fstriplets", option("data.root", folder), "supervision=triplets"]
    return f"next: {command('train', *words)}{f' {_REAL}' if photographs else ''}"


def after_align(folder: str) -> str:
    """What to try with crops; only the user knows their encoder's file."""
    return f"next: {command('train', 'data=faces', option('data.root', folder))} {_REAL} teacher=blend"


def after_shards(place: str) -> str:
    """What to try with shards."""
    return f"next: {command('train', 'data=shards', option('data.root', place))} {_REAL} teacher=blend"


_REAL = "encoder=mobilefacenet encoder.weights=FILE"
