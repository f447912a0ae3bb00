"""What `idn demo` refuses before it serves a page."""

import os
import socket
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from idn.cli.verbs import demo as verb
from idn.errors import MissingExtra, MissingFile, OptionError, UserError
from tests.raising import raises


def test_students_are_files_or_the_newest_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with raises(UserError, "idn train"):
        verb._students(OmegaConf.create({"students": None}))
    with raises(MissingFile, path="none.safetensors"):
        verb._students(OmegaConf.create({"students": ["none.safetensors"]}))
    for age, name in enumerate(("new", "old")):
        path = tmp_path / "outputs/train" / name / "student.safetensors"
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (1000 - age, 1000 - age))
    (newest,) = verb._students(OmegaConf.create({"students": None})).values()
    assert newest.parent.name == "new"
    assert [*verb._students(OmegaConf.create({"students": str(newest)}))] == [str(newest)]


def test_an_address_that_is_taken_names_the_option() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with raises(OptionError, argument="port", value=port):
            verb._listener("127.0.0.1", port)
    with raises(OptionError, argument="host", value="192.0.2.1"):
        verb._listener("192.0.2.1", 0)
    with verb._listener("127.0.0.1", 0) as free:
        assert free.getsockname()[0] == "127.0.0.1"


def test_a_missing_web_server_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with raises(MissingExtra, extra="demo"):
        verb.demo(OmegaConf.create({}))
