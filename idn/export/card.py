"""The model card: what the files of an export are, what they want and give, and how right and fast they were found."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from idn.errors import DamagedFile, FileError, ForeignFile, MissingFile
from idn.files.atomic import atomic_write
from idn.files.digests import file_sha256
from idn.geometry.templates import template_points
from idn.types import Network

CARD = "card.json"
NOTICE = (
    "Pictures made with these files show faces that were swapped. Use them only with the consent of the people shown, "
    "mark them as synthetic, and do not deceive anybody with them."
)
_RANGES = {
    "target": "RGB in [0, 1]",
    "crop": "RGB in [0, 1]",
    "image": "RGB in [0, 1], already fused with the target",
    "mask": "[0, 1], 1 where the generated face is used",
    "embedding": "of length 1",
}
"""By name of an input or output; others may hold any number."""


@dataclass(frozen=True)
class FileRecord:
    """One written file, or folder where the format is one."""

    path: str
    """Relative to the card."""
    network: str
    format: str
    precision: str
    """Of its weights."""
    computed_in: str
    """That precision, or a higher one."""
    layout: str
    """Of the maps that the file itself takes and gives."""
    bytes: int
    sha256: str
    """Of the file's bytes; for several files, of their bytes in the order of their names."""
    runtime: str | None
    """What it was run in, None if nothing here can run it."""
    psnr: float | None
    """Against PyTorch, in dB, of the output that differs most; None if nothing here can run it, or if equal."""
    max_abs: float | None
    output: str | None
    """Which output that is."""
    latency_ms: Mapping[str, float] | None
    """Median of one call on the machine of the export, by number of threads."""


def parts(path: Path) -> list[Path]:
    """The files that make up an exported file: itself, its weights beside it (.bin), or all inside a folder."""
    if path.is_dir():
        return sorted(p for p in path.rglob("*") if p.is_file())
    weights = path.with_suffix(".bin")
    return [path, weights] if path.suffix in (".xml", ".param") and weights.is_file() else [path]


def fingerprint(path: Path) -> tuple[int, str]:
    """Bytes and SHA-256 of an exported file with all its parts."""
    files = parts(path)
    return sum(file.stat().st_size for file in files), file_sha256(*files)


def checked_file(folder: Path, record: Mapping[str, Any]) -> Path:
    """Where the file of a card's record lies, of which nothing was read but its checksum.

    folder: of the card. Raises UserError if the file is missing, is not the one that the card describes, or lies
    elsewhere.
    """
    path = folder / record["path"]
    if Path(record["path"]).is_absolute() or ".." in Path(record["path"]).parts:
        raise FileError(folder / CARD, f"names {record['path']}, which is not in its folder: export again")
    if not path.exists():
        raise MissingFile(path, "is named in the card and missing: export again")
    if fingerprint(path)[1] != record["sha256"]:
        raise ForeignFile(path, "is not the file that the card describes (its sha256 is another one): export again")
    return path


def framing(name: str) -> dict[str, Any]:
    """A template as apps need it: five points in a crop whose corners are (0, 0) and (1, 1)."""
    return {"name": name, "points": [[round(v, 6) for v in point] for point in template_points(name).tolist()]}


def signature(network: Network) -> dict[str, list[dict[str, Any]]]:
    """Names, shapes, and ranges of a network's inputs and outputs, as PyTorch sees them."""
    outputs = network.module(*network.inputs.values())
    named = {"inputs": network.inputs.items(), "outputs": zip(network.outputs, outputs, strict=True)}
    return {
        side: [{"name": name, "shape": list(value.shape), "range": _RANGES.get(name, "any")} for name, value in pairs]
        for side, pairs in named.items()
    }


def read_card(folder: Path) -> dict[str, Any]:
    """The card of an export. Raises UserError if there is none, it is damaged, or another version of idn wrote it."""
    path = folder / CARD
    if not path.is_file():
        raise MissingFile(folder / CARD, "is missing: give the folder that `idn export` wrote")
    try:
        card = json.loads(path.read_text())
    except ValueError as error:
        raise DamagedFile(path, f"is damaged ({error}): export again") from error
    try:
        _check(card)
    except (AttributeError, LookupError, TypeError) as error:
        raise ForeignFile(path, f"is no card of this version of idn ({error}): export again") from error
    return card


def _check(card: Any) -> None:
    """Raise AttributeError, LookupError or TypeError for what `write_card` would not have written."""
    if not isinstance(card["size"], int):
        raise TypeError(f"its size is {card['size']}")
    for record in card["files"]:
        file = FileRecord(**record)
        words = (file.path, file.network, file.format, file.precision, file.sha256, file.runtime or "")
        if not all(isinstance(word, str) for word in words) or not isinstance(file.bytes, int | float):
            raise TypeError("a file is described by other things than words and numbers")
        for value in card["networks"][file.network]["inputs"]:
            if not all(isinstance(side, int) for side in value["shape"]):
                raise TypeError(f"an input of {file.network} has the shape {value['shape']}")


def write_card(folder: Path, facts: Mapping[str, Any], files: Iterable[FileRecord]) -> None:
    """Write card.json and card.md. facts: everything but the files."""
    card = {**facts, "notice": NOTICE, "files": [asdict(record) for record in files]}
    for name, text in ((CARD, json.dumps(card, indent=2) + "\n"), ("card.md", _markdown(card))):
        with atomic_write(folder / name) as draft:
            draft.write_text(text)


def _markdown(card: Mapping[str, Any]) -> str:
    student = card["student"]
    lines = [
        f"# {'One identity, baked' if card['product'] == 'baked' else 'Identity changes on the device'}",
        "",
        card["notice"],
        "",
        f"- student: {_architecture(student)}, {student['weights']:,} convolution weights, "
        f"{student['macs']:,} multiply-accumulates per {card['size']} px frame",
        f"- teacher: {student['teacher']}; licence: {student['teacher_licence']}; commercial use: "
        f"{student['teacher_commercial_use']}",
        f"- identity encoder: {student['encoder']}; licence: {student['encoder_licence']}",
        f"- crops: {card['size']} x {card['size']} px, aligned to `{card['template']['name']}`: the eyes, nose tip and "
        f"mouth corners (as seen in the image) lie at {_points(card['template'])} of the side",
    ]
    if card["encoder"]:
        side = card["encoder"]["size"]
        lines.append(
            f"- the encoder's crops: {side} x {side} px, aligned to `{card['encoder']['template']['name']}`: "
            f"{_points(card['encoder']['template'])}"
        )
    for name, sides in card["networks"].items():
        lines += ["", f"## {name}", "", "| | name | shape | range |", "|---|---|---|---|"]
        lines += [
            f"| {side[:-1]} | {value['name']} | {tuple(value['shape'])} | {value['range']} |"
            for side in ("inputs", "outputs")
            for value in sides[side]
        ]
    lines += [
        "",
        "## Files",
        "",
        f"Measured on {card['machine']}. Shapes above are (N, C, H, W); a file's own layout is:",
        "",
    ]
    lines += ["| file | precision | layout | MB | runtime | PSNR to PyTorch, dB | largest difference | ms per call |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    lines += [_row(record) for record in card["files"]]
    lines += ["", *(f"- `{record['path']}`: sha256 {record['sha256']}" for record in card["files"]), ""]
    return "\n".join(lines)


def _architecture(student: Mapping[str, Any]) -> str:
    options = ", ".join(f"{name}={value}" for name, value in student["config"].items())
    return f"{student['architecture']} ({options})" if options else student["architecture"]


def _points(template: Mapping[str, Any]) -> str:
    return ", ".join(f"({x:.4f}, {y:.4f})" for x, y in template["points"])


def _row(record: Mapping[str, Any]) -> str:
    runs = record["runtime"] is not None
    psnr = ("equal" if record["psnr"] is None else f"{record['psnr']:.1f}") if runs else "not run here"
    largest = f"{record['max_abs']:.1e}" if runs else ""
    latency = ", ".join(
        f"{ms:.1f} ({n} thread{'s' if n != '1' else ''})" for n, ms in (record["latency_ms"] or {}).items()
    )
    precision, computed = record["precision"], record["computed_in"]
    cells = (
        record["path"],
        precision if computed == precision else f"{precision}, weights alone: computed in {computed}",
        record["layout"],
        f"{record['bytes'] / 1e6:.2f}",
        record["runtime"] or "",
    )
    return f"| {' | '.join((*cells, psnr, largest, latency))} |"
