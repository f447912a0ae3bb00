"""What a run needs before it can begin: values, files of weights, and a folder to write into."""

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException

from idn.cli.config_tree import asks_teacher
from idn.cli.new_folder import timed
from idn.cli.options.composition import composed, search
from idn.cli.options.config_comments import comments, usage_of
from idn.cli.options.types import leaves
from idn.errors import UserError
from idn.files.run_folder import holds_run
from idn.sweeps.outcomes import NOTES

TRAINING = ("train", "train-teacher", "train-scorer", "train-encoder")
"""Verbs whose folder holds a run."""


def check_needs(verb: str, options: Sequence[str], several: bool = False) -> None:
    """Raise UserError that names all options without a value, all files that are not there, or the folder.

    options: which make a config. several: whether the run is one of a sweep.
    """
    config, settings = composed(verb, options)
    _check_values(verb, options, config)
    _check_interpolations(config)
    _check_weights(verb, config, settings.runtime.choices)
    if (folder := _folder(config, settings, several)) is not None:
        _check_folder(f"hydra.{'sweep' if several else 'run'}.dir", folder)
        if verb in TRAINING and not timed(settings, several) and not (several and goes_on(settings, folder)):
            _check_vacant(folder, several, config.get("resume"))


def check_files(verb: str, options: Sequence[str]) -> None:
    """Raise UserError that names the published files which the options want and which are not there."""
    config, settings = composed(verb, options)
    _check_weights(verb, config, settings.runtime.choices)


def files(node: DictConfig) -> Iterator[str]:
    """Values of all options that name a file of weights, this level before those below; "" for those without one."""
    for key in ("weights", "path"):
        if key in node or OmegaConf.is_missing(node, key):
            value = None if OmegaConf.is_missing(node, key) else node[key]
            yield "" if value is None else str(value)
    for key in node:
        if not OmegaConf.is_missing(node, key) and isinstance(node._get_node(key), DictConfig):
            child = node[key]
            if child is not None:
                yield from files(child)


def missing_files(choice: str, node: DictConfig, weights_dir: str) -> str | None:
    """One sentence about the published files that `choice`, such as teacher=blend, wants in a folder without them."""
    wanted = [Path(path) for path in files(node) if path and Path(path).is_relative_to(str(weights_dir))]
    gone = [str(path.relative_to(str(weights_dir))) for path in dict.fromkeys(wanted) if not path.exists()]
    if not gone:
        return None
    state = "it is" if len(gone) == 1 else "both are" if len(gone) == 2 else "all are"
    return f"{choice} needs {_listed(gone)} in weights_dir={weights_dir}: {state} missing"


def _check_values(verb: str, options: Sequence[str], config: DictConfig) -> None:
    """Raise UserError for options that must be given, and for those of them that are null."""
    wanted = {name for name, node in leaves(composed(verb, search(options))[0]) if node._is_missing()}
    missing = [name for name, node in leaves(config) if node._is_missing() or (node._is_none() and name in wanted)]
    if not missing:
        return
    have, usage = "has" if len(missing) == 1 else "have", usage_of(verb)
    if not all(f"{name}=" in usage for name in missing):
        known = comments(verb, options)
        usage = ", ".join(f"{name}=VALUE" + (f" ({known[name]})" if name in known else "") for name in missing)
    raise UserError(f"{_listed(missing)} {have} no value yet: write {usage}")


def _check_interpolations(config: DictConfig) -> None:
    """Raise UserError for an option that hangs on something that is not there, such as an unset variable."""
    wrong = {}
    for name, node in leaves(config):
        text = str(node._value())
        if not node._is_interpolation() or "${hydra:" in text or "${now:" in text:
            continue
        try:
            OmegaConf.select(config, name)
        except InterpolationToMissingValueError:
            continue
        except OmegaConfBaseException as error:
            wrong[name] = (text, _said(error))
    for name, (text, said) in wrong.items():
        if text[2:-1] not in wrong:  # it does not only take over another one that is wrong
            raise UserError(f"{name}={text} has no value: {said}")


def _said(error: OmegaConfBaseException) -> str:
    said = str(error.msg or error).splitlines()[0]
    return re.sub(r'^\w+ raised while resolving interpolation: "?', "", said).removesuffix('"')


def _check_weights(verb: str, config: DictConfig, choices: Mapping[str, str | None]) -> None:
    """Raise UserError for published files that are not where they are looked for."""
    said, needless = [], set() if asks_teacher(config) else {"teacher", "reweight"}
    for group, choice in choices.items():
        node = None if group in needless else config.get(group)
        if choice is not None and isinstance(node, DictConfig) and group not in ("callbacks", "logger"):
            said.append(missing_files(f"{group}={choice}", node, config.weights_dir))
    if said := list(filter(None, said)):
        raise UserError(f"{'; '.join(said)}; `idn teachers` lists what is there, docs/teachers.md where it comes from")


def goes_on(settings: DictConfig, folder: Path) -> bool:
    """Whether a sweep that can be resumed has begun in a folder. settings: Hydra's own."""
    return "storage" in settings.sweeper and (folder / NOTES).is_file()


def _folder(config: DictConfig, settings: DictConfig, several: bool) -> Path | None:
    """The folder that Hydra will make, or the part of it that is known before; None for where the program starts."""
    name = "sweep" if several else "run"
    text = str(settings[name]._get_node("dir")._value())
    fixed = re.split(r"/[^/]*\$\{now:", text)[0]
    try:
        folder = OmegaConf.merge(config, {"hydra": settings, "folder": fixed}).folder if "${" in fixed else fixed
    except OmegaConfBaseException as error:
        if "${hydra:" in text:
            return None
        raise UserError(f"hydra.{name}.dir={text} has no value: {_said(error)}") from error
    if folder is None:
        raise UserError(f"hydra.{name}.dir={text} is null: give a folder")
    kept = settings.output_subdir is not None or several
    return Path(str(folder)).expanduser() if kept else None


def _check_folder(option: str, folder: Path) -> None:
    """Make the folder. Raises UserError if it cannot be made or written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise UserError(f"{option}={folder} cannot be written ({error.strerror}): give another folder") from error


def _check_vacant(folder: Path, several: bool, resume: str | None) -> None:
    """Raise UserError for a folder that holds a run which another one would overwrite."""
    if several:
        if held := [sub for sub in sorted(folder.glob("*/")) if holds_run(sub)]:
            raise UserError(f"hydra.sweep.dir={folder} holds runs, such as {held[0].name}: choose another folder")
    elif holds_run(folder) and (resume is None or folder.resolve() not in Path(str(resume)).resolve().parents):
        raise UserError(
            f"hydra.run.dir={folder} holds a run: add {shlex.quote(f'resume={folder}')} to go on with it, or choose "
            "another folder"
        )


def _listed(names: Sequence[str]) -> str:
    """Names as a sentence has them."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
