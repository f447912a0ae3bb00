"""A teacher that was asked before: its answers come out of a folder that `idn cache` wrote, its weights are absent."""

import sys
from pathlib import Path

from torch import Tensor, nn
from torch.utils.data import Dataset

from idn.errors import EncoderMismatch, OptionError, UserError
from idn.files.digests import file_sha256, weights_digest
from idn.files.remote import local
from idn.teacher_cache.manifest import MANIFEST, PARTS, CacheManifest, check_shards, same_encoder
from idn.teacher_cache.shards import ShardReader, mean_colours
from idn.types import IdentityEncoder, IdentityFeatures, RunInput, SwapBatch
from teachers.base import Data, FrozenTeacher
from teachers.record import FaceInput, SourceInput, TeacherRecord

_TOLERANCE = 2 / 255
"""By which the mean colours of a pair may differ from those that were kept."""


class CachedPairs(Dataset[SwapBatch]):
    """Item i is item i % N of another data set, together with what the teacher answered to it; N items were kept.

    dataset: makes batches of pairs as pure functions of the index. kept: what belongs to them. scored:
    whether their quality is given, where it was kept.
    """

    def __init__(self, dataset: Dataset, kept: ShardReader, scored: bool = True) -> None:
        self.dataset, self.kept, self.scored = dataset, kept, scored

    def __len__(self) -> int:
        """How many different items there are."""
        return len(self.kept)

    def __getitem__(self, index: int) -> SwapBatch:
        """Draw pairs and decode their answers: `cached_answer`, `cached_cosine`, perhaps `cached_quality` are filled.

        Raises UserError if these are other pairs than the teacher was asked about, IndexError below 0.
        """
        if index < 0:
            raise IndexError(f"index must be at least 0, got {index}")
        item = index % len(self)
        batch, kept = self.dataset[item], self.kept.read(item)
        self._check(item, batch, kept.mean)
        quality = kept.quality if self.scored else None
        return batch._replace(cached_answer=kept.pictures, cached_cosine=kept.cosine, cached_quality=quality)

    def _check(self, item: int, batch: SwapBatch, kept: Tensor) -> None:
        declared = self.kept.manifest
        manifest = self.kept.folder / MANIFEST
        size = batch.target.shape[-1]
        if size != declared.size:
            raise UserError(f"the cached pairs have {declared.size} px, not {size}: see the options in {manifest}")
        found = mean_colours(batch)
        if found.shape != kept.shape:
            raise UserError(
                f"the cached items hold {declared.rows} pairs, these {len(found)}: use the batch and the "
                f"other data options of {manifest}"
            )
        others = ((found - kept).abs() > _TOLERANCE).any(1).nonzero()
        if len(others):
            number = item * declared.rows + int(others[0])
            what = "pair" if self.kept.part == "train" else "held-out pair"
            raise UserError(
                f"{what} {number} is not the one that was cached: use the seed and data options of {manifest}"
            )


class CachedTeacher(FrozenTeacher):
    """Gives the answers that another teacher gave, and declares that teacher's name, licence and terms.

    path: a folder written by `idn cache`, or its URL.
    verify: whether the checksums of all shards are compared first, which reads the whole folder; their presence and
        sizes are always.
    Raises UserError for a folder that is missing, unfinished or damaged.
    """

    def __init__(self, path: str | Path, verify: bool = True) -> None:
        folder = local(path)
        manifest = CacheManifest.read(folder)
        check_shards(folder, manifest, verify)
        record = TeacherRecord(
            target=FaceInput(), source=SourceInput("nothing"), full_precision=True, **manifest.teacher
        )
        super().__init__(record, crop_template=None)
        self.folder, self.manifest = folder, manifest
        self.freeze()

    def origin(self) -> list[RunInput]:
        """The kept answers, by their manifest, and the teacher that gave them."""
        name, weights = self.record.name, str(self.manifest.weights["teacher"])
        about = {"manifest_sha256": file_sha256(self.folder / MANIFEST), "folder": str(self.folder)}
        return [RunInput("cache", f"{name} answers", about), RunInput("teacher", name, {"weights_sha256": weights})]

    def attach(self, data: Data, encoder: IdentityEncoder, scorer: nn.Module | None = None) -> Data:
        """The same pairs, with their answers. The first one of each part is looked at now, in this process.

        Kept qualities of any other scorer than this one are withheld, so that it is asked itself; a line on the
        terminal says so. Raises UserError unless the encoder is the one whose cosines were kept, if the first pairs are
        not those that were cached, and if the run wants more held-out ones without repetition; it may want fewer.
        """
        self._check_cosines(encoder)
        scored = self._scored_by(scorer)
        train, val = (
            CachedPairs(getattr(data, part), ShardReader(self.folder, self.manifest, part), scored) for part in PARTS
        )
        if data.val_items > len(val):
            raise self._too_few(data)
        for pairs in (train, val):
            pairs[0]
        return data.with_pairs(train, val)

    def _too_few(self, data: Data) -> OptionError:
        """A run that wants more held-out pairs than were kept, and what it can have."""
        kept, wanted = (items * self.manifest.rows for items in (self.manifest.items["val"], data.val_items))
        batch = (data.batch_size or 1) * self.manifest.rows
        fits = f"give {kept // batch}" if batch <= kept else f"give 1 and a batch of {kept}"
        wanted = f"are {wanted} held-out pairs, and {self.folder} holds {kept}: {fits}, or make a larger cache"
        return OptionError("val_batches", data.val_items * self.manifest.rows // batch, wanted, data)

    def _check_cosines(self, encoder: IdentityEncoder) -> None:
        """Raise UserError unless the encoder is the one whose cosines were kept."""
        if not same_encoder(self.manifest.encoder, encoder, self.manifest.size):
            known = self.manifest.encoder["name"]
            what = "another one of that name" if known == encoder.name else encoder.name
            raise EncoderMismatch(
                f"{self.folder} keeps identity cosines of {known}, the identity encoder is {what}: choose the one "
                f"that {self.folder / MANIFEST} names under encoder",
                known,
                encoder.name,
            )

    def _scored_by(self, scorer: nn.Module | None) -> bool:
        """Whether the kept qualities are those of this scorer; says so if they are of another one."""
        if scorer is None or not self.manifest.scored:
            return self.manifest.scored
        if self.manifest.weights["scorer"] == weights_digest(scorer):
            return True
        print(f"{self.folder} keeps qualities by another scorer: the scorer is asked afresh", file=sys.stderr)
        return False

    def swap(self, target: Tensor, batch: SwapBatch, source: IdentityFeatures) -> Tensor:
        """Return `batch.cached_answer`, (N, 3, S, S) RGB in [0, 1]. ValueError for pairs without one."""
        if batch.cached_answer is None:
            raise ValueError("the batch has no cached answers: take it from the data that `attach` returned")
        return batch.cached_answer
