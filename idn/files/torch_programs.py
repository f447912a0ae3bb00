"""Programs of torch.export that strangers may have made.

PyTorch's own loader runs what a file tells it to: it unpickles, evaluates texts, looks functions up by name, loads
libraries. So a file is looked at first, and one that holds more than tensors and operators on them is not loaded.
"""

import json
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZIP_STORED, ZipFile

from idn.errors import UserError

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.export.pt2_archive._package import PT2ArchiveReader

ENTRIES = re.compile(
    r"data/weights/(weight_\d+|model_weights_config\.json)|data/constants/(tensor_\d+|model_constants_config\.json)|"
    r"models/model\.json|data/sample_inputs/model\.pt|archive_format|archive_version|byteorder|\.data/\w+"
)
"""Names in an archive that holds one program and its tensors, no compiled code and no other objects."""
WORD = re.compile(r"[\w.+*-]*")
"""Names and types: nothing that could be an instruction."""
TEXTS = {
    "target": re.compile(
        r"torch\.ops\.aten\.(?!from_file)_?[a-z][a-z0-9_]*\.\w+|"
        r"torch\.ops\.higher_order\.wrap_with_autocast|_operator\.(getitem|mul|add|floordiv)"
    ),
    "expr_str": re.compile(r"(Mul|Add|Pow|Integer|Symbol|positive=True|integer=True|'s\d+'|-?\d+|[(), ])+"),
    "guards_code": re.compile(r"(L\['\w+'\](\[\d+\])?\.size\(\)\[\d\]|torch\.sym_max|\d+|[-+*/%()=!<>, ])+"),
    "in_spec": re.compile(r'([\w.\[\]{}":, ](?!__))*'),
    "out_spec": re.compile(r'([\w.\[\]{}":, ](?!__))*'),
}
"""What PyTorch evaluates or looks up when it opens a program, by its key: operators of tensors, arithmetic of sizes."""


def load_program(file: Path | bytes, name: str) -> "ExportedProgram":
    """The program in a file or its content, which errors call `name`, if it holds nothing else.

    Raises UserError for a file that asks for more than operators on tensors, and all that PyTorch raises for one that
    is damaged or no program.
    """
    from torch.export.pt2_archive._package import PT2ArchiveReader, load_pt2

    with PT2ArchiveReader(BytesIO(file) if isinstance(file, bytes) else str(file)) as archive:
        _check(archive, name)
    again = BytesIO(file) if isinstance(file, bytes) else str(file)
    return load_pt2(again).exported_programs["model"]  # torch.export.load would unpickle what this cannot read


def without_notes(path: Path) -> bytes:
    """The content of a file of `torch.export.save`, without what it says besides the program.

    That is example inputs, which are a pickle, and of every node the lines of source that it comes from. Reads bytes
    and JSON only. Raises OSError, KeyError or ValueError for a file that is no such archive.
    """
    copy = BytesIO()
    with ZipFile(path) as old, ZipFile(copy, "w", ZIP_STORED) as new:
        for entry in old.namelist():
            content = old.read(entry)
            if entry.endswith("/data/sample_inputs/model.pt"):
                content = b""
            elif entry.endswith("/models/model.json"):
                content = json.dumps(_unannotated(json.loads(content))).encode()
            new.writestr(entry, content)
    return copy.getvalue()


def _unannotated(value: object) -> object:
    """A parsed JSON value without the metadata of nodes."""
    if isinstance(value, list):
        return [_unannotated(item) for item in value]
    if isinstance(value, dict):
        return {key: {} if key == "metadata" else _unannotated(item) for key, item in value.items()}
    return value


def _check(archive: "PT2ArchiveReader", name: str) -> None:
    """Raise UserError unless `archive` holds tensors and a program of operators on them, only."""
    foreign = [entry for entry in archive.get_file_names() if not ENTRIES.fullmatch(entry)]
    for kind in ("weights", "constants"):
        config = json.loads(archive.read_string(f"data/{kind}/model_{kind}_config.json"))["config"]
        foreign += [key for key, entry in config.items() if entry["use_pickle"]]
    if archive.read_bytes("data/sample_inputs/model.pt"):
        foreign.append("sample inputs")
    foreign += _foreign(json.loads(archive.read_string("models/model.json")), WORD)
    if foreign:
        raise UserError(
            f"{name} holds more than a network ({foreign[0][:80]}): take a program of tensors and operators alone"
        )


def _foreign(value: object, allowed: re.Pattern[str]) -> Iterator[str]:
    """The texts in a parsed JSON value that are not of their kind."""
    if isinstance(value, str) and not allowed.fullmatch(value):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _foreign(item, allowed)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _foreign(key, WORD)
            yield from _foreign(item, TEXTS.get(key, WORD))
