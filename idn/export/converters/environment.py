"""Converters that want other versions of PyTorch than the rest: each in an environment of its own, made once.

`idn install-converter` makes them, in the user's cache folder or in the folder that the variable IDN_CONVERTERS names.
They hold the converter alone: a network goes there as a file, and `to_<name>.py` is what runs.
"""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from idn.errors import FileError, UserError
from idn.files.atomic import atomic_write
from idn.files.user_cache import cache_folder

FOLDER = "IDN_CONVERTERS"
"""Environment variable with the folder of the environments."""

_READY = "ready.json"
"""Written into an environment when all of it is there: what it was made of."""
_SCRIPTS = Path(__file__).parent
_SHOWN = ("Collecting ", "Downloading ", "Installing ")


class Converter(NamedTuple):
    """What an environment is made of."""

    packages: Mapping[str, str]
    """Name -> version. An environment that has them in the same major and minor versions will do."""
    pinned: Mapping[str, str]
    """What they depend on with no upper bound of their own: name -> version."""
    module: str
    """That must be importable in the end."""
    size: str


CONVERTERS = {
    "litert": Converter(
        packages={"litert-torch": "0.10.0", "torch": "2.14.1"},
        pinned={"torchao": "0.18.0", "transformers": "5.23.0", "jax": "0.10.2", "numpy": "2.4.6", "scipy": "1.17.1"},
        module="litert_torch",
        size="7 GB",
    )
}


def folder() -> Path:
    """Where the environments lie."""
    if chosen := os.environ.get(FOLDER):
        return Path(chosen).expanduser()
    return cache_folder() / "converters"


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def create(name: str, tell: Callable[[str], None] = _tell) -> Path:
    """Make the environment of a converter unless it is there, and return its Python.

    tell: gets a line now and then. An environment counts as made only when everything in it is. pip is told where to
    find packages by its own settings. Raises UserError for an unknown name, and with pip's reason if it fails.
    """
    converter = _converter(name)
    if (ready := _ready(name)) is not None:
        return ready
    place = folder() / name
    try:
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        tell(f"making the environment of {name} in {place}, about {converter.size}")
        _run([sys.executable, "-m", "venv", str(place)], name, tell)
        wanted = [f"{package}=={version}" for package, version in {**converter.packages, **converter.pinned}.items()]
        options = ("--no-input", "--disable-pip-version-check", "--progress-bar", "off")
        _run([str(_python(place)), "-I", "-m", "pip", "install", *options, *wanted], name, tell)
        _run([str(_python(place)), "-I", "-c", f"import {converter.module}"], name, tell)
        with atomic_write(place / _READY) as draft:
            draft.write_text(json.dumps(_contents(converter)))
    except OSError as error:
        shutil.rmtree(place, ignore_errors=True)
        raise FileError(place, f"cannot be written ({error.strerror}): set {FOLDER} to another folder") from error
    except BaseException:  # also Ctrl-C: what is half made is of no use
        shutil.rmtree(place, ignore_errors=True)
        raise
    return _python(place)


def interpreter(name: str) -> Path:
    """The Python that has a converter: this one, if its packages are installed here, or that of its environment.

    Raises UserError that names the command to run if there is none.
    """
    if (ready := _ready(name)) is not None:
        return ready
    size = _converter(name).size
    raise UserError(
        f"format {name} converts in an environment of its own: run `idn install-converter name={name}` ({size})"
    )


def convert(name: str, request: Mapping[str, Any]) -> None:
    """Run the worker of a converter. request: whatever it wants, as JSON. What it prints is shown to nobody.

    Raises UserError with the last error line of a worker that fails.
    """
    command = [str(interpreter(name)), "-E", "-s", str(_SCRIPTS / f"to_{name}.py"), json.dumps(request)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise UserError(
            f"format {name} cannot convert this network: {_reason(done.stderr.splitlines(), done.returncode)}"
        )


def _converter(name: str) -> Converter:
    if name not in CONVERTERS:
        raise UserError(f"name={name} is no converter: choose of {', '.join(CONVERTERS)}")
    return CONVERTERS[name]


def _contents(converter: Converter) -> dict[str, str]:
    return {**converter.packages, **converter.pinned}


def _ready(name: str) -> Path | None:
    """The Python that has a converter, if there is one."""
    converter, place = _converter(name), folder() / name
    if all(_minor(_installed(package)) == _minor(version) for package, version in converter.packages.items()):
        return Path(sys.executable)
    try:
        made_of = json.loads((place / _READY).read_text())
    except (OSError, ValueError):
        return None
    return _python(place) if made_of == _contents(converter) and _python(place).exists() else None


def _installed(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


def _python(place: Path) -> Path:
    return place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _run(command: list[str], name: str, tell: Callable[[str], None]) -> None:
    """Run one step of the making of an environment, telling what it downloads. It ends when we are interrupted."""
    lines = []
    with tempfile.TemporaryDirectory(prefix="idn-", ignore_cleanup_errors=True) as scratch:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
        with subprocess.Popen(command, env=os.environ | {"TMPDIR": scratch}, **pipes) as process:
            try:
                for line in process.stdout or ():
                    lines.append(line.rstrip())
                    if line.strip().startswith(_SHOWN):
                        tell(line.strip()[:120])
            except BaseException:
                process.kill()
                raise
    if process.returncode:
        raise UserError(f"the environment of {name} cannot be made: {_reason(lines, process.returncode)}")


def _reason(lines: list[str], status: int) -> str:
    """The last line that tells an error, or what else is known."""
    told = [line.strip() for line in lines if line.strip()]
    errors = [line for line in told if re.match(r"(ERROR|Error|[\w.]+(Error|Exception|Exit|Interrupt))\b.*:", line)]
    if not errors and status < 0:
        return f"signal {-status} stopped it"
    return (errors or told or [f"it ended with status {status}"])[-1]
