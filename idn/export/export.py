"""From a student to files that run elsewhere: conversion, proof, measurement and the card that goes with them."""

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import product as product_of
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table

import idn
from idn.data.loaders import SwapData
from idn.errors import OptionError, UserError
from idn.export.bench.latency import measure
from idn.export.card import CARD, FileRecord, fingerprint, framing, read_card, signature, write_card
from idn.export.contract import Arrays, Format, NeedlessFile, Precision
from idn.export.isolated import Call, elsewhere, here
from idn.export.parity import Parity, compare, reference
from idn.export.products import Product
from idn.files.atomic import atomic_write
from idn.files.digests import file_sha256
from idn.files.folders import make_writable
from idn.students.count import conv_macs, conv_weights
from idn.students.student_file import load_student, read_student_file
from idn.types import Network

LINEAGE = ("teacher", "teacher_licence", "teacher_commercial_use", "encoder", "encoder_licence")
"""Notes of a student's file that travel into the card."""
SECONDS = 0.5
"""Of each measurement of speed: enough for the card, `idn bench` measures longer."""


@dataclass(frozen=True)
class Plan:
    """In which formats and precisions to write a product, and where: possible, as far as can be told beforehand.

    formats: by the name that users know them by. floors: least PSNR to PyTorch by precision, in dB; a file below is
    deleted. out: folder, which is made. Raises UserError for a precision without a floor or that a format has not, and
    for a folder that cannot be written.
    """

    formats: Mapping[str, Format]
    precisions: Sequence[Precision]
    floors: Mapping[str, float]
    out: Path

    def __post_init__(self) -> None:
        for precision in self.precisions:
            if precision not in self.floors:
                raise OptionError("precision", precision, f"is unknown: choose of {', '.join(self.floors)}")
            for name, form in self.formats.items():
                if precision not in form.precisions:
                    known = ", ".join(form.precisions)
                    raise OptionError("precision", precision, f"is none of {name}: choose of {known}")
        make_writable("out", self.out)


def export(student: Path, product: Product, data: SwapData, plan: Plan, machine: str) -> list[FileRecord]:
    """Write `product` as planned, prove every file, and leave a card with them in the folder of the plan.

    What one format cannot do does not stop the others. Returns the records of the files written. Raises UserError,
    after all that could be written was, that names everything that could not.
    """
    facts = _facts(student, product, data, machine)
    records = _kept(plan.out, facts)
    failed, written = [], []
    expected = {n.name: reference(n, product.examples[n.name]) for n in product.networks[True]}
    for name, form in plan.formats.items():
        with elsewhere(f"format {name}") if form.own_process else nullcontext(here) as call:
            for precision, network in product_of(plan.precisions, product.networks[form.runtime_kernels]):
                try:
                    record = _one(call, form, network, precision, product, expected[network.name], plan)
                except NeedlessFile as error:
                    print(f"left out   {error}")
                    continue
                except UserError as error:
                    failed.append(str(error))
                    continue
                records[record.path] = record
                written.append(record)
                write_card(plan.out, facts, [records[key] for key in sorted(records)])
    if written:
        Console().print(_table(written))
        print(f"card       {plan.out / CARD}, {plan.out / 'card.md'}")
    if failed:
        raise UserError("; ".join(dict.fromkeys(failed)))
    return written


def _one(
    call: Call,
    form: Format,
    network: Network,
    precision: Precision,
    product: Product,
    expected: Sequence[Arrays],
    plan: Plan,
) -> FileRecord:
    """Write, run, compare and time one file; only then does it take its place in the folder of the plan.

    Raises UserError if it cannot be written or is too far from PyTorch.
    """
    name = f"{network.name}{'' if precision == 'fp32' else f'.{precision}'}{form.suffix}"
    floor = plan.floors[precision]
    given = product.calibration[network.name], product.examples[network.name], expected
    with atomic_write(plan.out / name) as path:
        proof = call(prove, form, network, precision, path, *given)
        if proof.parity is not None and not proof.parity.psnr >= floor:
            raise UserError(
                f"{name} ({form.name}, {precision}) was deleted: its {proof.parity.output} has a PSNR of "
                f"{proof.parity.psnr:.1f} dB to PyTorch, floor.{precision}={floor:g} is the least"
            )
        size, digest = fingerprint(path)
    return FileRecord(
        path=name,
        network=network.name,
        format=form.name,
        precision=precision,
        computed_in=form.computed_in(network.per_frame, precision),
        layout=form.layout,
        bytes=size,
        sha256=digest,
        runtime=proof.runtime,
        latency_ms=proof.latency,
        **_told(proof.parity),
    )


class Proof(NamedTuple):
    """What was seen of a written file; None where nothing here can run it."""

    runtime: str | None
    parity: Parity | None
    latency: dict[str, float] | None
    """Median milliseconds of one call by number of threads."""


def prove(
    form: Format,
    network: Network,
    precision: Precision,
    path: Path,
    calibration: Sequence[Arrays],
    examples: Sequence[Arrays],
    expected: Sequence[Arrays],
) -> Proof:
    """Write one file and, where something here can run it, compare it with PyTorch and time it.

    expected: what PyTorch answers to `examples`. Raises UserError as the format does.
    """
    form.write(network, path, precision, calibration)
    runtime = form.runtime()
    if runtime is None:
        return Proof(None, None, None)
    return Proof(runtime, compare(network, form.open(path, 1), examples, expected), _latency(form, path, examples[0]))


def _latency(form: Format, path: Path, example: Arrays) -> dict[str, float]:
    """Median milliseconds of one call by number of threads."""
    found = {}
    for threads in sorted({1, min(2, os.cpu_count() or 1)}):
        call = partial(form.open(path, threads), *example)
        found[str(threads)] = round(measure(call, SECONDS).median, 3)
    return found


def _told(parity: Parity | None) -> dict[str, Any]:
    if parity is None:
        return {"psnr": None, "max_abs": None, "output": None}
    psnr = None if math.isinf(parity.psnr) else round(parity.psnr, 2)
    return {"psnr": psnr, "max_abs": parity.max_abs, "output": parity.output}


def _facts(student: Path, product: Product, data: SwapData, machine: str) -> dict[str, Any]:
    """Everything that the card says besides the files."""
    file, encoder = read_student_file(student), product.encoder
    deployment = load_student(student).eval().deployment()
    plain = deployment.plain(deployment.anybody())
    origin = {key: file.notes.get(key, "unknown") for key in LINEAGE}
    origin["encoder"] = file.encoder.name or "unknown"
    return {
        "product": product.name,
        "size": data.size,
        "template": framing(data.template),
        "encoder": encoder
        and {
            "name": encoder.name,
            "licence": encoder.licence,
            "size": encoder.input_size,
            "template": framing(encoder.template),
        },
        "student": {
            "sha256": file_sha256(student),
            "architecture": file.architecture,
            "config": file.config,
            "weights": conv_weights(plain),
            "macs": conv_macs(plain, torch.zeros(1, 3, data.size, data.size)),
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
    records = (FileRecord(**record) for record in card["files"])
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
