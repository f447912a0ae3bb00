"""Exported files as models: of one person, or of any, in the runtime of their format."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from idn.errors import FileError, OptionError, UserError
from idn.export.card import CARD, read_card
from idn.export.chain import Chain, Named, whole_chains
from idn.geometry.warping import realign
from idn.swap.models.model import Model, Person
from idn.swap.models.student import LINEAGE
from idn.types import IdentityFeatures, SwapOutput

_SEEN = ("embedding", "features")


class ExportedModel(Model):
    """What `idn export` wrote into a folder, in one format and precision.

    path: the folder, or one of its files, which chooses format and precision; a folder with several of them is asked
        for ONNX in fp32 first.
    run_programs: whether files that can run any code may be opened.
    threads: of the runtime.
    Raises UserError for a file without the card that belongs to it, one that is not the one of the card, and a runtime
    that is not installed.
    """

    def __init__(self, path: Path, run_programs: bool, threads: int = 1) -> None:
        folder = path if path.is_dir() else path.parent
        if not (folder / CARD).is_file():
            raise FileError(path, f"has no {CARD} beside it: give a file as `idn export` wrote it, in its folder")
        card = read_card(folder)
        self._chain = Chain(folder, card, _chosen(path, folder, card, run_programs), threads)
        encoder, student = card.get("encoder"), card.get("student", {})
        self._crop = None if encoder is None else (encoder["template"]["name"], encoder["size"])
        name = path.name if path.is_file() else f"{path.name} ({self._chain.format}, {self._chain.precision})"
        notes = {"model": name, "model_sha256": self._chain.digests[-1]}
        notes |= {key: str(student[key]) for key in LINEAGE if key in student}
        super().__init__(
            name, card["template"]["name"], card["size"], notes, str(self._chain.runtime), fixed=encoder is None
        )

    def look(self, crops: Tensor) -> IdentityFeatures | None:
        """See `Model`. One face at a time, as the file wants it."""
        if self._crop is None:
            return None
        given = realign(crops, self.template, *self._crop)
        seen = [self._chain({"crop": crop[None].numpy()}, self._chain.names[:1]) for crop in given]
        joined = {
            name: torch.from_numpy(np.concatenate([one[name] for one in seen])) for name in _SEEN if name in seen[0]
        }
        return IdentityFeatures(joined.get("embedding"), joined.get("features"))

    def person(self, who: IdentityFeatures | None, crop: Tensor | None) -> Person:
        """See `Model`. The crop is not asked."""
        if self.fixed:
            if who is not None:
                raise UserError(f"{self.name} holds one person already: leave source out")
            return _Run(self._chain, {})
        if who is None:
            raise UserError(f"{self.name} puts one person into another: give source=PHOTO")
        seen = {name: getattr(who, name).numpy() for name in _SEEN if getattr(who, name) is not None}
        return _Run(self._chain, self._chain(seen, self._chain.names[1:-1]))


class _Run:
    """The network that runs once per target, with what it needs to know of a person."""

    def __init__(self, chain: Chain, known: Named) -> None:
        self._chain, self._known = chain, known

    def __call__(self, targets: Tensor) -> SwapOutput:
        """See `Person`. One target at a time, as the file wants it."""
        found = [
            self._chain(self._known | {"target": target[None].numpy()}, self._chain.names[-1:]) for target in targets
        ]
        image, mask = (
            torch.from_numpy(np.concatenate([one[name] for one in found])) if name in found[0] else None
            for name in ("image", "mask")
        )
        return SwapOutput(image, mask)


def _chosen(path: Path, folder: Path, card: Mapping[str, Any], run_programs: bool) -> Sequence[Mapping[str, Any]]:
    """The records that a path means."""
    chains = whole_chains(folder, card, run_programs)
    if path.is_dir() and path == folder:
        first = ("onnx", "fp32")
        return chains.get(first) or next(iter(chains.values()))
    for records in chains.values():
        if path.name in [record["path"] for record in records]:
            return records
    listed = ", ".join(record["path"] for records in chains.values() for record in records)
    raise OptionError(
        "weights", path, f"is no file that {folder / CARD} lists and that runs here: give one of {listed}"
    )
