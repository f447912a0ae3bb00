"""Exported files as methods, each in its own runtime: ONNX Runtime, OpenVINO, ExecuTorch, LiteRT, ncnn."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from idn.errors import UserError
from idn.evaluation.methods.method import Method, Swaps, judged
from idn.evaluation.methods.student import put_back
from idn.evaluation.pairs.pair_set import Pairs
from idn.export.card import read_card
from idn.export.chain import Chain, whole_chains
from idn.geometry.warping import realign
from idn.types import EncoderDescription, IdentityFeatures


class ExportedMethod(Method):
    """The chain of networks that an export of any person wrote in one format and precision, one pair at a time.

    name: see `Method`.
    folder: of the export.
    card: of that folder.
    records: the file of every network, in the order in which they run.
    template: of the pairs.
    threads: of the runtime.
    Raises UserError for a file that is not the one of the card, and for a runtime that is not installed.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        card: Mapping[str, Any],
        records: Sequence[Mapping[str, Any]],
        template: str,
        threads: int = 1,
    ) -> None:
        self._chain = Chain(folder, card, records, threads)
        self.template, self.frame, self.size = template, card["template"]["name"], card["size"]
        self._crop = card["encoder"]["template"]["name"], card["encoder"]["size"]
        facts = {
            "kind": "exported",
            "format": self._chain.format,
            "precision": self._chain.precision,
            "runtime": self._chain.runtime,
            "sha256": self._chain.digests,
        }
        super().__init__(name, facts, EncoderDescription(0, 0, name=card["encoder"]["name"]))

    def swap(self, pairs: Pairs, who: IdentityFeatures) -> Swaps:
        """See `Method`. The exported encoder looks at the source: `who` is not asked."""
        source, target = pairs.batch.source.cpu(), pairs.batch.target.cpu()
        crops = realign(source, self.template, *self._crop)
        frames = realign(target, self.template, self.frame, self.size)
        image = torch.cat([self._one(c[None], f[None]) for c, f in zip(crops, frames, strict=True)])
        return judged(put_back(image, target, self.frame, self.template).to(pairs.batch.target.device), pairs)

    def _one(self, crop: Tensor, target: Tensor) -> Tensor:
        """(1, 3, s, s) of one pair."""
        known = self._chain({"crop": crop.numpy(), "target": target.numpy()})
        return torch.from_numpy(known["image"])


def exported_methods(name: str, folder: Path, template: str, run_programs: bool) -> list[ExportedMethod]:
    """Every format and precision of an export whose networks are all there.

    name: what they are called, before format and precision where there are several.
    folder: written by `idn export source=none`.
    template: of the pairs.
    run_programs: also open files that can run any code; otherwise they are passed over.
    Raises UserError for an export of one person, and where no whole chain can be run.
    """
    card = read_card(folder)
    if card.get("product") != "dynamic":
        raise UserError(f"{folder} holds one person baked in, and pairs have many: export again with source=none")
    whole = whole_chains(folder, card, run_programs)
    several = len(whole) > 1
    return [
        ExportedMethod(f"{name} {' '.join(key)}" if several else name, folder, card, records, template)
        for key, records in whole.items()
    ]
