"""Errors that users can mend keep their fields on the way out of a loader's process."""

import pickle
from pathlib import Path

import pytest

from idn.errors import (
    DamagedFile,
    EncoderMismatch,
    ForeignFile,
    MissingExtra,
    MissingFile,
    OptionError,
    UnfitTensors,
    UserError,
)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OptionError("width", 9, "must be at most 2"), "width=9 must be at most 2"),
        (MissingFile("a.pt", "is not a file: check the path"), "a.pt is not a file: check the path"),
        (DamagedFile(Path("a.pt"), "is empty"), "a.pt is empty"),
        (ForeignFile("a.pt", "holds GHOST", "GHOST"), "a.pt holds GHOST"),
        (UnfitTensors("a.pt does not fit", ["bias"]), "a.pt does not fit"),
        (EncoderMismatch("a.pt reads another", "tiny", "other"), "a.pt reads another"),
        (MissingExtra("ONNX files need", "onnx"), "ONNX files need `pip install '.[onnx]'` in the checkout"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_the_sentence_and_the_fields_come_through_a_pipe(error: UserError, sentence: str) -> None:
    arrived = pickle.loads(pickle.dumps(error))
    assert type(arrived) is type(error) and str(arrived) == str(error) == sentence
    assert vars(arrived) == vars(error)
