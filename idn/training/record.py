"""Record of a run (provenance): command, resolved config, git revision and diff, versions, hardware, data digest."""

import hashlib
import json
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from idn.errors import DamagedFile, MissingFile
from idn.files.atomic import atomic_write
from idn.files.run_folder import DIFF, RECORD
from idn.hardware import describe

PACKAGES = ("idn-distill", "torch", "torchvision", "pytorch-lightning", "hydra-core", "numpy", "kornia", "timm")
"""Whose versions a run may depend on."""

_PATIENCE = 20
"""Seconds that git may take."""


def write_record(
    folder: Path, command: Sequence[str], config: Mapping[str, Any], data: pl.LightningDataModule
) -> dict[str, Any]:
    """Write how a run is made, and from what, as `run.json` in its folder; what git has not committed as `run.diff`.

    command: the words after `idn`. config: resolved. data: what it is trained on. Returns what was written.
    """
    revision, diff = git_state(Path.cwd())
    record = {
        "command": list(command),
        "seed": config.get("seed"),
        "git": revision,
        "versions": {"python": platform.python_version(), **_versions()},
        "hardware": describe(),
        "data": data_digest(data),
        "config": config,
    }
    with atomic_write(folder / RECORD) as draft:
        draft.write_text(json.dumps(record, indent=2, default=str) + "\n")
    if diff:
        with atomic_write(folder / DIFF) as draft:
            draft.write_bytes(diff)
    return record


def read_record(folder: Path) -> dict[str, Any]:
    """What `write_record` wrote. Raises MissingFile where it is not there, DamagedFile where it cannot be read."""
    path = folder / RECORD
    if not path.is_file():
        raise MissingFile(path, "is not there: give the folder of a training run")
    try:
        record = json.loads(path.read_text())
        if not all(isinstance(word, str) for word in record["command"]) or not record["command"]:
            raise ValueError("no command")
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedFile(path, f"is no record of a run, or it is damaged ({error})") from error
    return record


def changes(record: Mapping[str, Any]) -> Iterator[str]:
    """What is not as it was when a run was recorded, a sentence each: such a run may end elsewhere."""
    now, before = {"python": platform.python_version(), **_versions()}, record.get("versions") or {}
    for name in sorted({*now, *before}):
        if now.get(name) != before.get(name):
            yield f"{name} is {now.get(name) or 'not here'}, it was {before.get(name) or 'not there'}"
    revision, _ = git_state(Path.cwd())
    if revision != record.get("git"):
        yield f"the working directory is at {_told(revision)}, it was at {_told(record.get('git'))}"
    if describe() != record.get("hardware"):
        yield f"the machine is {describe()}, it was {record.get('hardware')}"


def _told(revision: Mapping[str, Any] | None) -> str:
    if not revision:
        return "no git revision"
    return f"revision {revision['revision'][:12]}{' with changes' if revision['changed'] else ''}"


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # of a checkout that was not installed
            continue
    return found


def git_state(folder: Path) -> tuple[dict[str, Any] | None, bytes]:
    """Revision of the repository that holds a folder, and what is not committed; (None, b"") where there is none."""
    revision = _git(folder, "rev-parse", "HEAD")
    if revision is None:
        return None, b""
    diff = _git(folder, "diff", "HEAD", "--binary") or b""
    return {"revision": revision.decode().strip(), "changed": bool(diff)}, diff


def _git(folder: Path, *words: str) -> bytes | None:
    """What git prints, None where it cannot be asked."""
    try:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def data_digest(data: pl.LightningDataModule) -> dict[str, Any]:
    """SHA-256 of the first item to learn from and the first held-out one: items depend on nothing but their number.

    Other crops, another renderer or another seed give another one; a changed crop that neither item shows does not.
    Beside it, where pictures are on disk, the digest of their manifest: names, landmarks, and contents as far as known.
    """
    digest = hashlib.sha256()
    for part in (data.train, data.val):
        for tensor in _tensors(part[0]):
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    manifest = getattr(data, "manifest", None)
    listed = {} if manifest is None else {"manifest_sha256": manifest}
    return {"sha256": digest.hexdigest(), "of": "first items of training and validation", **listed}


def _tensors(item: Any) -> Iterator[torch.Tensor]:
    """All tensors of an item, in their order."""
    if isinstance(item, torch.Tensor):
        yield item
    elif isinstance(item, tuple | list):
        for part in item:
            yield from _tensors(part)
