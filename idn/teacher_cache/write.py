"""Ask a teacher once: its answers to numbered pairs, kept in a folder that `teacher=cached` trains from."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from idn.data.loaders import SwapData
from idn.errors import OptionError, UserError
from idn.files.atomic import remove_drafts
from idn.files.digests import file_sha256, weights_digest
from idn.files.folders import make_writable
from idn.files.option_checks import require_int
from idn.files.refused_disk import refused_disk
from idn.hardware import choose_device
from idn.images import from_uint8, to_uint8
from idn.metrics.identity import identity_cosine
from idn.teacher_cache.manifest import (
    MANIFEST,
    PARTS,
    CacheManifest,
    ShardEntry,
    describe_encoder,
    is_whole,
    same_encoder,
)
from idn.teacher_cache.report import CacheReport, announce
from idn.teacher_cache.shards import CachedAnswers, PictureFormat, mean_colours, write_shard
from idn.types import SwapBatch


class Answers(NamedTuple):
    """What is kept of one batch, and how far its pictures are from the teacher's: (N,) each, in [0, 1]."""

    cached_answer: CachedAnswers
    error_mean: Tensor
    error_square: Tensor
    error_max: Tensor


class TeacherCache:
    """Asks the frozen networks about batches of pairs and encodes what they answer.

    teacher: a FrozenTeacher; encoder: the one that serves teacher and student; scorer: (N, 3, S, S) -> (N,), or None.
    pictures: how answers are encoded. device: where the networks run.
    """

    def __init__(
        self,
        teacher: nn.Module,
        encoder: nn.Module,
        scorer: nn.Module | None,
        pictures: PictureFormat,
        device: torch.device,
    ) -> None:
        self.teacher, self.encoder, self.scorer = teacher, encoder, scorer
        self.pictures, self.device = pictures, device
        self.pool = ThreadPoolExecutor(torch.get_num_threads())
        self.seconds: Counter[str] = Counter()

    def __enter__(self) -> Self:
        """Move the networks to the device; use as a context manager that ends the encoding threads."""
        for network in (self.teacher, self.encoder, self.scorer):
            if network is not None:
                network.to(self.device)
        return self

    def __exit__(self, *error: object) -> None:
        """End the encoding threads."""
        self.pool.shutdown()

    @torch.no_grad()
    def ask(self, batch: SwapBatch) -> Answers:
        """batch: N pairs on the CPU. Cosine and quality are those of the pictures as they will be read back.

        Raises UserError if the teacher answers with numbers that are not finite.
        """
        started = time.perf_counter()
        here = batch.to(self.device)
        source = self.encoder(here.sources).repeated(here.targets_per_identity)
        answer = self.teacher(here, source).cpu()
        asked = time.perf_counter()
        if not answer.isfinite().all():
            raise UserError("the teacher answered with numbers that are not finite: check its weights and its variant")
        encoded, kept = self._round_trip(answer)
        done = time.perf_counter()
        difference = (kept - answer).abs().flatten(1)
        kept = kept.to(self.device)
        cosine = identity_cosine(self.encoder(kept).embedding, source.embedding).cpu()
        quality = None if self.scorer is None else self.scorer(kept).cpu()
        self.seconds.update(teacher=asked - started, encode=done - asked, identity=time.perf_counter() - done)
        cached_answer = CachedAnswers(encoded, cosine, quality, mean_colours(batch))
        return Answers(cached_answer, difference.mean(1), difference.square().mean(1), difference.amax(1))

    def _round_trip(self, images: Tensor) -> tuple[list[bytes], Tensor]:
        """Encode every picture, and read it back."""
        encoded = list(self.pool.map(self.pictures.encode, to_uint8(images)))
        decoded = self.pool.map(lambda content: self.pictures.decode(content, images.shape[-1]), encoded)
        return encoded, from_uint8(torch.stack(list(decoded)))


def write_cache(
    out: str | Path,
    data: SwapData,
    teacher: nn.Module,
    encoder: nn.Module,
    scorer: nn.Module | None,
    pairs: int,
    pictures: PictureFormat,
    shard: int,
    seed: int,
    options: Mapping[str, Any],
    device: str = "auto",
) -> CacheReport:
    """Keep a teacher's answers to the first pairs of the training set and to the whole validation set of `data`.

    out: folder; shards that an earlier run finished there stay, and the whole becomes as if nothing had interrupted it.
    teacher, encoder, scorer, pictures: see TeacherCache; networks on the CPU. pairs: to train with, rounded up to whole
    items; about `shard` of them go into a file. seed, options: of the data; plain values in nested dicts, for the
    manifest. device: see `choose_device`. Prints what it will take, progress and a table. Raises UserError for options
    or weights that cannot work, or are not those of the folder, and for a disk that is too small or refuses.
    """
    require_int("pairs", pairs, 1)
    require_int("shard", shard, 1)
    rows = len(data.train[0].target)
    wanted = CacheManifest(
        teacher={name: getattr(teacher.record, name) for name in ("name", "variant", "licence", "commercial")},
        encoder=describe_encoder(encoder, data.size),
        options=json.loads(json.dumps(options)),
        **asdict(pictures),
        size=data.size,
        template=data.template,
        seed=seed,
        rows=rows,
        items={"train": -(-pairs // rows), "val": data.val_items},
        shard_items=max(1, shard // rows),
        scored=scorer is not None,
        weights={"teacher": weights_digest(teacher), "scorer": None if scorer is None else weights_digest(scorer)},
    )
    cache = TeacherCache(teacher, encoder, scorer, pictures, choose_device(device))
    return _fill(_open(Path(out), wanted, encoder), data, cache)


def _open(folder: Path, wanted: CacheManifest, encoder: nn.Module) -> CacheReport:
    """Make a folder, or find out what an earlier run with the same options left there."""
    remove_drafts(folder)
    make_writable("out", folder)
    if not (folder / MANIFEST).is_file():
        return CacheReport(folder, wanted)
    known = CacheManifest.read(folder)
    before, now = known.settings(), wanted.settings()
    advice = f"repeat the options that {folder / MANIFEST} names, or give another out"
    for key in before | now:
        old, new = (json.dumps(settings.get(key)).strip('"') for settings in (before, now))
        if old != new:
            raise OptionError("out", folder, f"was begun with {key}={old}, not {new}: {advice}")
    other = known.other_weights(wanted)
    if not same_encoder(known.encoder, encoder, known.size):
        other = f"identity encoder {encoder.name}"
    if other:
        raise OptionError(
            "out", folder, f"was begun with other weights of the {other}: give those again, or another out"
        )
    whole = {name: entry for name, entry in known.shards.items() if is_whole(folder / name, entry)}
    mended = [name for name in known.shards if name not in whole]
    return CacheReport(folder, known.finished(whole), len(whole), mended)


def _fill(report: CacheReport, data: SwapData, cache: TeacherCache) -> CacheReport:
    """Write the missing shards, each followed by the manifest that names it, and say what it took."""
    todo = [shard for shard in report.manifest.layout() if shard[0] not in report.manifest.shards]
    rows = report.manifest.rows
    total, left = (rows * sum(n) for n in (report.manifest.items.values(), (len(items) for _, _, items in todo)))
    if todo:
        announce(report, data, left)
        with refused_disk("out", report.folder, "the finished shards"):
            report.manifest.write(report.folder)
    with _progress(total, total - left) as bar, cache:
        for part in PARTS:
            shards = [(name, _chunks(items, data.batch_size)) for name, own, items in todo if own == part]
            batches = _batches(getattr(data, part), data, [chunk for _, chunks in shards for chunk in chunks])
            for name, chunks in shards:
                answers = []
                for chunk in chunks:
                    answers.append(_ask_next(batches, cache, len(chunk) * rows, data.size))
                    bar.advance(bar.task_ids[0], len(chunk) * rows)
                _save(report, name, answers)
                report.pairs += sum(len(answer.error_max) for answer in answers)
    report.seconds, report.answered = cache.seconds, cache.teacher.tally()
    Console().print(report.table())
    return report


def _ask_next(batches: Iterator[SwapBatch], cache: TeacherCache, rows: int, size: int) -> Answers:
    started = time.perf_counter()
    batch = next(batches)
    cache.seconds.update(data=time.perf_counter() - started)
    if batch.target.shape != (rows, 3, size, size):
        raise ValueError(f"data: expected ({rows}, 3, {size}, {size}), got {tuple(batch.target.shape)}")
    return cache.ask(batch)


def _chunks(items: range, batch_size: int | None) -> list[list[int]]:
    """The items of a shard as the teacher gets them at once: one whole batch, or as many samples as make one."""
    step = batch_size or 1
    return [list(items[first : first + step]) for first in range(0, len(items), step)]


def _batches(dataset: Dataset, data: SwapData, chunks: Sequence[list[int]]) -> Iterator[SwapBatch]:
    """The chunks in order, made by as many processes as the data asks for."""
    if data.batch_size is None:
        order = [item for chunk in chunks for item in chunk]
        return iter(DataLoader(dataset, batch_size=None, sampler=order, num_workers=data.workers))
    return iter(DataLoader(dataset, batch_sampler=chunks, collate_fn=data.collate, num_workers=data.workers))


def _save(report: CacheReport, name: str, answers: Sequence[Answers]) -> None:
    """Write a shard, then the manifest that names it. Raises UserError if the disk refuses."""
    path = report.folder / name
    pictures, cosine, quality, mean = zip(*(answer.cached_answer for answer in answers), strict=True)
    scores = None if quality[0] is None else torch.cat(quality)
    cached_answer = CachedAnswers(
        [content for batch in pictures for content in batch], torch.cat(cosine), scores, torch.cat(mean)
    )
    means, squares, largest = (torch.cat(column).double() for column in list(zip(*answers, strict=True))[1:])
    with refused_disk("out", report.folder, "the finished shards"):
        write_shard(path, cached_answer)
        figures = (float(means.mean()), float(squares.mean()), float(largest.max()))
        entry = ShardEntry(file_sha256(path), path.stat().st_size, len(cached_answer.pictures), *figures)
        report.manifest = report.manifest.finished(report.manifest.shards | {name: entry})
        report.manifest.write(report.folder)


def _progress(total: int, done: int) -> Progress:
    """A bar with one task that counts pairs."""
    columns = (TextColumn("asking the teacher"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True))
    bar.add_task("pairs", total=total, completed=done)
    return bar
