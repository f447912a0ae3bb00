"""dlib's models: one sentence for what is not installed or not there."""

import sys
from importlib import metadata
from pathlib import Path

import pytest

from idn.errors import UserError
from idn.files import dlib_models
from idn.files.dlib_models import LANDMARKS, RECOGNISER, dlib_file, import_dlib


def test_without_dlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(UserError, match=r"\.\[eval\]"):
        import_dlib()


def test_without_the_package_of_the_models_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(dlib_models, "distribution", absent)
    for name in (LANDMARKS, RECOGNISER):
        with pytest.raises(UserError, match=r"\.\[eval\]"):
            dlib_file(name)


def test_a_copy_takes_the_place_of_the_package(tmp_path: Path) -> None:
    (tmp_path / "copy.dat").touch()
    assert dlib_file(LANDMARKS, tmp_path / "copy.dat") == tmp_path / "copy.dat"
    with pytest.raises(UserError, match="is not a file"):
        dlib_file(LANDMARKS, tmp_path / "gone.dat")


def test_no_module_of_the_package_is_imported() -> None:
    pytest.importorskip("dlib", reason="needs dlib: the extra eval")
    assert dlib_file(LANDMARKS).is_file() and "face_recognition_models" not in sys.modules
