"""From a student to files that run elsewhere: conversion, proof, measurement and the card that goes with them."""

import hashlib
import json
import math
import os
import platform
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import idn
from idn.data.module import SwapData
from idn.errors import UserError
from idn.export.card import CARD, FileRecord, fingerprint, framing, parts, read_card, signature, write_card
from idn.export.contract import Arrays, Format, Network, Precision
from idn.export.latency import measure
from idn.export.parity import Parity, compare, reference
from idn.folders import make_writable
from idn.models.count import conv_macs, conv_weights
from idn.models.student import Student
from idn.products import Product
from idn.types import IdentityEncoder
from idn.weights import read_metadata

LINEAGE = ("teacher", "teacher_licence", "teacher_commercial_use", "identity_encoder", "identity_encoder_licence")
"""Notes of a student's file that travel into the card."""
SECONDS = 0.5
"""Of each measurement of speed: enough for the card, `idn bench` measures longer."""


def student_framing(path: Path, default: tuple[str, int]) -> tuple[str, int]:
    """Template and size of the crops that a student was trained on, or `default` if its file does not say.

    Raises UserError if the file is no student.
    """
    notes = read_metadata(path)
    return notes.get("template", default[0]), int(notes.get("size", default[1]))


def check_encoder(path: Path, encoder: IdentityEncoder) -> None:
    """Raise UserError if the student's file names another identity encoder than the one that was built."""
    wanted = read_metadata(path).get("identity_encoder", encoder.name)
    if wanted != encoder.name:
        raise UserError(f"{path} reads identities of {wanted}, not of {encoder.name}: choose it with encoder=NAME")


def check_plan(
    formats: Mapping[str, Format], precisions: Sequence[str], floors: Mapping[str, float], out: Path
) -> None:
    """Raise UserError for a precision without a floor or that a format has not, and for a folder that cannot be
    written."""
    for precision in precisions:
        if precision not in floors:
            raise UserError(f"precision={precision} is unknown: choose of {', '.join(floors)}")
        for name, form in formats.items():
            if precision not in form.precisions:
                raise UserError(f"format={name} has no precision={precision}: choose of {', '.join(form.precisions)}")
    make_writable("out", out)


def export(
    student: Path,
    product: Product,
    data: SwapData,
    formats: Mapping[str, Format],
    precisions: Sequence[Precision],
    floors: Mapping[str, float],
    out: Path,
    machine: str,
) -> list[FileRecord]:
    """Write `product` in every format and precision, prove every file, and leave a card with them in `out`.

    floors: least PSNR to PyTorch by precision, in dB; a file below is deleted. What one format cannot do does not stop
    the others. Returns the records of the files written. Raises UserError, after all that could be written was, that
    names everything that could not.
    """
    check_plan(formats, precisions, floors, out)
    facts = _facts(student, product, data, machine)
    records = _kept(out, facts)
    failed, written = [], []
    expected = {n.name: reference(n, product.examples[n.name]) for n in product.networks[True]}
    for form in formats.values():
        for precision in precisions:
            for network in product.networks[form.runtime_kernels]:
                try:
                    record = _one(form, network, precision, product, expected[network.name], floors[precision], out)
                except UserError as error:
                    failed.append(str(error))
                    continue
                records[record.path] = record
                written.append(record)
                write_card(out, facts, [records[key] for key in sorted(records)])
    if written:
        Console().print(_table(written))
        print(f"card       {out / CARD}, {out / 'card.md'}")
    if failed:
        raise UserError("; ".join(dict.fromkeys(failed)))
    return written


def _one(
    form: Format,
    network: Network,
    precision: Precision,
    product: Product,
    expected: Sequence[Arrays],
    floor: float,
    out: Path,
) -> FileRecord:
    """Write, run, compare and time one file; only then does it take its place in `out`.

    Raises UserError if it cannot be written or is too far from PyTorch.
    """
    name = f"{network.name}{'' if precision == 'fp32' else f'.{precision}'}{form.suffix}"
    with tempfile.TemporaryDirectory(prefix=".draft.", dir=out) as folder:
        path = Path(folder) / name
        form.write(network, path, precision, product.calibration[network.name])
        runtime, parity, latency = form.runtime(), None, None
        if runtime is not None:
            examples = product.examples[network.name]
            parity = compare(network, form.open(path, 1), examples, expected)
            if not parity.psnr >= floor:
                raise UserError(
                    f"{name} ({form.name}, {precision}) was deleted: its {parity.output} has a PSNR of "
                    f"{parity.psnr:.1f} dB to PyTorch, floor.{precision}={floor:g} is the least"
                )
            latency = _latency(form, path, examples[0])
        size, digest = fingerprint(path)
        place(path, out)
    return FileRecord(
        path=name,
        network=network.name,
        format=form.name,
        precision=precision,
        layout=form.layout,
        bytes=size,
        sha256=digest,
        runtime=runtime,
        latency_ms=latency,
        **_proof(parity),
    )


def _latency(form: Format, path: Path, example: Arrays) -> dict[str, float]:
    """Median milliseconds of one call by number of threads."""
    found = {}
    for threads in sorted({1, min(2, os.cpu_count() or 1)}):
        call = partial(form.open(path, threads), *example)
        found[str(threads)] = round(measure(call, SECONDS).median, 3)
    return found


def _proof(parity: Parity | None) -> dict[str, Any]:
    if parity is None:
        return {"psnr": None, "max_abs": None, "output": None}
    psnr = None if math.isinf(parity.psnr) else round(parity.psnr, 2)
    return {"psnr": psnr, "max_abs": parity.max_abs, "output": parity.output}


def place(path: Path, folder: Path) -> None:
    """Move an exported file with all its parts into `folder`, over one of the same name."""
    if path.is_dir():
        shutil.rmtree(folder / path.name, ignore_errors=True)
        path.replace(folder / path.name)
        return
    for part in parts(path):
        part.replace(folder / part.name)


def _facts(student: Path, product: Product, data: SwapData, machine: str) -> dict[str, Any]:
    """Everything that the card says besides the files."""
    notes = read_metadata(student)
    network = Student.load(student).eval()
    config, encoder = network.config, product.encoder
    dim, channels, side = network.injection.expected
    static = network.bake(torch.zeros(1, dim), torch.zeros(1, channels, side, side))
    origin = {key: notes.get(key, "unknown") for key in LINEAGE}
    return {
        "product": product.name,
        "size": data.size,
        "template": framing(data.frame),
        "encoder": encoder
        and {
            "name": encoder.name,
            "licence": encoder.licence,
            "size": encoder.input_size,
            "template": framing(encoder.template),
        },
        "student": {
            "sha256": hashlib.sha256(student.read_bytes()).hexdigest(),
            "width": config["width"],
            "weights": conv_weights(static),
            "macs": conv_macs(static, torch.zeros(1, 3, data.size, data.size)),
            **origin,
        },
        "identity": product.identity,
        "networks": {network.name: signature(network) for network in product.networks[True]},
        "machine": f"{machine}, {platform.system()} {platform.machine()}",
        "made_with": f"idn-distill {idn.__version__}",
    }


def _kept(out: Path, facts: Mapping[str, Any]) -> dict[str, FileRecord]:
    """Records of an earlier export of the same thing into the same folder, whose files still lie there.

    Raises UserError if the folder holds an export of something else.
    """
    if not (out / CARD).is_file():
        return {}
    card = read_card(out)
    plain = json.loads(json.dumps(facts))
    for key in ("product", "size", "identity", "student", "encoder"):
        if card.get(key) != plain[key]:
            raise UserError(f"out={out} holds an export with another {key}: give another folder")
    records = [FileRecord(**record) for record in card["files"]]
    return {record.path: record for record in records if (out / record.path).exists()}


def _table(records: Sequence[FileRecord]) -> Table:
    table = Table(
        title="compared with PyTorch on held-out crops; milliseconds by number of threads", title_justify="left"
    )
    threads = sorted({n for record in records for n in record.latency_ms or {}})
    table.add_column("file", no_wrap=True)
    for name in ("MB", "PSNR, dB", "largest error", *(f"ms x{n}" for n in threads)):
        table.add_column(name, justify="right")
    for r in records:
        psnr = "not run here" if r.runtime is None else "equal" if r.psnr is None else f"{r.psnr:.1f}"
        largest = "" if r.max_abs is None else f"{r.max_abs:.1e}"
        latency = (f"{r.latency_ms[n]:.1f}" if r.latency_ms else "" for n in threads)
        table.add_row(r.path, f"{r.bytes / 1e6:.2f}", psnr, largest, *latency)
    return table
