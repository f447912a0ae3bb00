"""dlib's model files, as the package face-recognition-models carries them; found without importing that package."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from idn.errors import MissingExtra, MissingFile, extra_advice

RECOGNISER = "dlib_face_recognition_resnet_model_v1.dat"
LANDMARKS = "shape_predictor_68_face_landmarks.dat"
LANDMARKS_LICENCE = "trained on iBUG 300-W, whose terms exclude commercial use"


def dlib_file(name: str, path: str | Path | None = None) -> Path:
    """Where a model file lies.

    name: RECOGNISER or LANDMARKS.
    path: a copy of it; None takes the one of the installed package, whose own code wants a module that no current
        Python has.
    Raises UserError if it is not there.
    """
    if path is None:
        try:
            package = distribution("face-recognition-models")
        except PackageNotFoundError:
            raise MissingExtra(f"{name} comes with the package face-recognition-models:", "eval") from None
        path = package.locate_file(f"face_recognition_models/models/{name}")
    if not Path(str(path)).is_file():
        raise MissingFile(str(path), f"is not a file: give a copy of {name}, or {extra_advice('eval')}")
    return Path(str(path))


def import_dlib() -> Any:
    """The module dlib. Raises UserError where it is not installed."""
    try:
        import dlib
    except ModuleNotFoundError:
        raise MissingExtra("68 landmarks and dlib's recogniser need dlib:", "eval") from None
    return dlib
