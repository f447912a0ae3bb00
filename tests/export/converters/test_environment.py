import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from idn.errors import FileError, UserError
from idn.export.converters import environment
from idn.export.converters.environment import Converter, convert, create, interpreter
from tests.raising import raises


def converter(version: str = "1.0") -> Converter:
    return Converter({"tiny-converter": version}, {}, "tiny_converter", "1 kB")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where environments go, with one converter in the table."""
    monkeypatch.setenv(environment.FOLDER, str(tmp_path / "converters"))
    monkeypatch.setattr(environment, "CONVERTERS", {"tiny": converter()})
    return tmp_path / "converters" / "tiny"


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder that pip looks into: it holds one package."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    info = "tiny_converter-1.0.dist-info"
    files = {
        "tiny_converter.py": "",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: tiny-converter\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(folder / "tiny_converter-1.0-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def made(place: Path) -> Path:
    """An environment that is there: its Python is this one."""
    python = environment._python(place)
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    (place / "ready.json").write_text('{"tiny-converter": "1.0"}')
    return python


def test_an_environment_that_is_not_there_names_the_command(place: Path) -> None:
    with raises(UserError, "`idn install-converter name=tiny`"):
        interpreter("tiny")
    with raises(UserError, "name=huge", "tiny"):
        create("huge")


def test_only_a_finished_environment_of_the_same_versions_counts(
    made: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert interpreter("tiny") == made and create("tiny") == made
    monkeypatch.setattr(environment, "CONVERTERS", {"tiny": converter("2.0")})
    with raises(UserError, "name=tiny"):
        interpreter("tiny")
    monkeypatch.undo()


@pytest.mark.parametrize("damage", ["missing", "cut", "no python"])
def test_half_an_environment_does_not_count(
    made: Path, place: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if damage == "missing":
        (place / "ready.json").unlink()
    elif damage == "cut":
        (place / "ready.json").write_text('{"tiny-conv')
    else:
        made.unlink()
    with raises(UserError, "name=tiny"):
        interpreter("tiny")


def test_this_environment_serves_if_it_has_the_packages(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    major, minor, *_ = np.__version__.split(".")
    fits = Converter({"numpy": f"{major}.{minor}.99"}, {"absent": "1.0"}, "numpy", "")
    other = Converter({"numpy": f"{major}.{int(minor) + 1}.0"}, {}, "numpy", "")
    monkeypatch.setattr(environment, "CONVERTERS", {"fits": fits, "other": other})
    assert interpreter("fits") == create("fits") == Path(sys.executable)
    with raises(UserError, "name=other"):
        interpreter("other")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, UserError("pip said no")])
def test_what_was_interrupted_leaves_nothing(place: Path, stop: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(command: list[str], *_: object) -> None:
        (place / "bin").mkdir(parents=True)
        raise stop

    monkeypatch.setattr(environment, "_run", interrupted)
    with pytest.raises(type(stop) if isinstance(stop, UserError) else stop):
        create("tiny", tell=lambda line: None)
    assert not place.exists()


def test_a_folder_that_cannot_be_written_is_the_users_business(tmp_path: Path, place: Path) -> None:
    place.parent.write_text("a file")
    with raises(FileError, path=place):
        create("tiny", tell=lambda line: None)


def test_an_environment_is_made_from_pinned_packages(place: Path, packages: Path) -> None:
    (place / "leftover").mkdir(parents=True)
    told: list[str] = []
    python = create("tiny", tell=told.append)
    assert python == interpreter("tiny") and python.is_relative_to(place)
    assert str(place) in told[0] and any("tiny-converter" in line for line in told[1:])
    assert not (place / "leftover").exists()
    environment._run([str(python), "-I", "-c", "import tiny_converter"], "tiny", told.append)


@pytest.mark.slow
def test_pip_says_why_it_failed(place: Path, packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "CONVERTERS", {"tiny": converter("2.0")})
    with raises(UserError, "tiny-converter==2.0"):
        create("tiny", tell=lambda line: None)
    assert not place.exists()


WORKER = """
import json, sys
from pathlib import Path
import beside
request = json.loads(sys.argv[1])
print("chatter"); print("WARNING: more chatter", file=sys.stderr)
if request["fail"]:
    raise ValueError("no operator for this\\nand much more to say")
Path(request["path"]).write_text(beside.word)
"""


@pytest.fixture
def worker(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "workers"
    folder.mkdir()
    (folder / "to_tiny.py").write_text(WORKER)
    (folder / "beside.py").write_text("word = 'done'")
    monkeypatch.setattr(environment, "_SCRIPTS", folder)


def test_a_worker_gets_its_request_and_keeps_its_chatter(
    worker: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    convert("tiny", {"fail": False, "path": str(tmp_path / "answer")})
    assert (tmp_path / "answer").read_text() == "done"
    assert capfd.readouterr() == ("", "")


def test_a_worker_that_fails_is_heard(worker: None) -> None:
    with raises(UserError, "format tiny", "ValueError: no operator for this"):
        convert("tiny", {"fail": True})


def test_the_default_folder_is_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(environment.FOLDER, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert environment.folder() == tmp_path / "idn" / "converters"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert environment.folder() == tmp_path / "home" / ".cache" / "idn" / "converters"
