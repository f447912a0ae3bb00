"""Exported files in use: the networks that one export wrote in one format and precision, opened in their runtime."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from idn.errors import UserError
from idn.export.card import checked_file
from idn.export.formats import FORMATS, format_kind, format_named

Named = dict[str, NDArray[np.float32]]
"""Inputs and outputs by the names that the card gives them."""


class Chain:
    """The networks of an export in the order in which they run; the last one, "swap", once per frame.

    folder: of the export.
    card: of that folder.
    records: the file of every network, in the order in which they run.
    threads: of the runtime.
    Raises UserError for a file that is not the one of the card, and for a runtime that is not installed.
    """

    def __init__(
        self, folder: Path, card: Mapping[str, Any], records: Sequence[Mapping[str, Any]], threads: int = 1
    ) -> None:
        kind = format_named(records[0]["format"])
        self.format, self.precision, self.runtime = records[0]["format"], records[0]["precision"], kind.runtime()
        self.digests = [record["sha256"] for record in records]
        self.names = [record["network"] for record in records]
        self._steps = {
            record["network"]: (
                card["networks"][record["network"]],
                kind.open(checked_file(folder, record), threads),
            )
            for record in records
        }

    def __call__(self, known: Named, names: Sequence[str] | None = None) -> Named:
        """What is known after the networks of these names, or all, have run. known: what the first one wants."""
        known = dict(known)
        for name in self.names if names is None else names:
            network, runner = self._steps[name]
            outputs = runner(*(np.ascontiguousarray(known[value["name"]]) for value in network["inputs"]))
            known |= {value["name"]: out for value, out in zip(network["outputs"], outputs, strict=True)}
        return known


def whole_chains(
    folder: Path, card: Mapping[str, Any], run_programs: bool
) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    """The records of every format and precision of an export whose networks are all there and run here.

    folder: of the export, for errors.
    run_programs: also files that can run any code; otherwise they are passed over.
    Raises UserError where there is none.
    """
    chains: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for record in card["files"]:
        known = record["format"] in FORMATS and record["runtime"] is not None
        if known and (run_programs or not format_kind(record["format"]).runs_code):
            chains.setdefault((record["format"], record["precision"]), {})[record["network"]] = record
    order = list(card["networks"])
    whole = {key: [chain[n] for n in order] for key, chain in chains.items() if set(order) <= set(chain)}
    if not whole:
        raise UserError(
            f"{folder} holds no format with all of {', '.join(order)} that runs here: export one, such as onnx"
        )
    return whole
