"""One evaluation: every method on every pair, judged chunk by chunk, kept on disk, and put together at the end."""

import hashlib
import json
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from idn.data.alignment.detector import Detector
from idn.errors import OptionError, UserError
from idn.evaluation.face_networks import FaceNetwork
from idn.evaluation.landmarks import Landmarks
from idn.evaluation.looking import KeptGallery, Look
from idn.evaluation.methods.method import Method, Swaps, check_names
from idn.evaluation.metrics import Seen, measured
from idn.evaluation.pairs.pair_set import Pairs, PairSet
from idn.evaluation.parts import PARTS, Part, Parts, strips
from idn.evaluation.perceptual import Inception, Lpips
from idn.evaluation.presence import faces_found, where_found
from idn.evaluation.protocol import PROTOCOL, Models, Protocol, checksum, describe_protocol
from idn.evaluation.recogniser import Gallery, Judge, check_independent
from idn.evaluation.record import Record
from idn.evaluation.timeline import Past, Timeline, Track
from idn.files.atomic import remove_drafts
from idn.files.folders import make_writable
from idn.files.option_checks import require_bool, require_int
from idn.types import IdentityEncoder, IdentityFeatures


@dataclass
class Evaluation:
    """What is evaluated, on what, and by whom it is judged.

    pair_set: the pairs.
    methods: in the order of reports; all answer the same pairs.
    teacher: name of the method that the others are compared with; None if there is none.
    encoder: that serves students and teachers: their identities are what it sees.
    recogniser: that judges; it must not have taught.
    landmarks: finds 68 landmarks, None where nothing can; no_landmarks: the reason.
    lpips: tells how far pictures are apart for people, None where nothing can; no_lpips: the reason.
    extractor: whose features FID and KID compare; None takes the recogniser's.
    networks: published ones that read faces, by the metric that they serve; no_networks: which are
        not measured, and why.
    same_recogniser: take a recogniser that taught all the same, and say it in every output.
    detector: looks whether there is a face in a swap, None where nobody asks.
    out: folder, which is made. An evaluation that was stopped goes on there.
    batch: pairs at a time.
    device: where networks run.
    Raises UserError for methods without names of their own, a recogniser that taught, and a folder that holds another
    evaluation.
    """

    pair_set: PairSet
    methods: Sequence[Method]
    teacher: str | None
    encoder: IdentityEncoder
    recogniser: IdentityEncoder
    out: Path
    batch: int = 8
    device: torch.device | str = "cpu"
    landmarks: Landmarks | None = None
    no_landmarks: str = "not asked for"
    lpips: Lpips | None = None
    no_lpips: str = "not asked for"
    extractor: Inception | None = None
    networks: Mapping[str, FaceNetwork] = field(default_factory=dict)
    no_networks: Sequence[str] = ()
    same_recogniser: bool = False
    detector: Detector | None = None

    def __post_init__(self) -> None:
        require_int("batch", self.batch, 1)
        require_bool("same_recogniser", self.same_recogniser)
        check_names(self.methods)
        self.taught = check_independent(self.recogniser, self.methods, self.same_recogniser)
        make_writable("out", self.out)
        remove_drafts(self.out, self.out / PARTS)
        for network in (self.encoder, self.recogniser, self.lpips, self.extractor, *self.networks.values()):
            if isinstance(network, nn.Module):
                network.to(self.device)

    @property
    def chunks(self) -> int:
        """How many chunks of pairs there are."""
        return -(-len(self.pair_set) // self.batch)

    @torch.no_grad()
    def run(self) -> Protocol:
        """Judge whatever is not judged yet. Returns the protocol, which is stored with the methods beside the parts."""
        first = self._load(range(1))
        for method in self.methods:  # what cannot answer says so before anything takes long
            method.swap(first, self.encoder(first.batch.source))
        protocol = self._protocol()
        self._begin(protocol)
        gallery = self._gallery()
        parts = Parts(self.out)
        judge = Judge(gallery, self.pair_set.names)
        timeline = Timeline(self.pair_set.runs)
        with closing(self._chunks("judging")) as chunks:
            for number, rows in chunks:
                if not parts.done(number):
                    parts.write(number, self._judged(rows, judge, timeline))
        return protocol

    def _chunks(self, what: str) -> Generator[tuple[int, range], None, None]:
        """The chunks with the numbers of their pairs, and a bar that shows how far it is."""
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task(what, total=len(self.pair_set))
            for number in range(self.chunks):
                start = number * self.batch
                rows = range(start, min(start + self.batch, len(self.pair_set)))
                yield number, rows
                progress.advance(task, len(rows))

    def _load(self, rows: range) -> Pairs:
        pairs = self.pair_set.load(rows)
        return pairs._replace(batch=pairs.batch.to(self.device))

    def _gallery(self) -> Gallery:
        """What the recogniser sees in sources and targets, kept in the folder with the targets' features."""
        kept = KeptGallery(self.out, self._gallery_key())
        if not kept.whole:
            with closing(self._chunks("looking")) as chunks:
                for number, rows in chunks:
                    if not kept.has(number):
                        kept.keep(number, *self._looked(rows))
            kept.join(self.chunks)
        return kept.read()

    def _looked(self, rows: range) -> tuple[Look, float]:
        """What is seen in a chunk, and how many seconds that took."""
        start = time.perf_counter()
        batch = self._load(rows).batch
        source, target = self.recogniser(batch.source), self.recogniser(batch.target)
        look = Look(source.embedding, target.embedding, self._features(batch.target, target))
        return look, time.perf_counter() - start

    def _gallery_key(self) -> str:
        facts = [self.pair_set.digest(), self.pair_set.size, self.pair_set.template, checksum(self.recogniser)]
        facts += [self.pair_set.name, dict(self.pair_set.facts)]
        facts += [None if self.extractor is None else self.extractor.facts]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _answer(self, rows: range, clock: "_Clock") -> "_Answered":
        """What every method makes of one chunk, and where its landmarks are."""
        with clock("pairs"):
            pairs = self._load(rows)
        with clock("encoder"):
            who = self.encoder(pairs.batch.source)
        swaps: dict[str, Swaps] = {}
        for method in self.methods:
            with clock(method.name):
                swaps[method.name] = method.swap(pairs, who)
        points, find, found = pairs.batch.landmarks, self.landmarks, {}
        if self.detector is not None:
            with clock("detector"):
                found = {name: faces_found(self.detector, mine.image, points) for name, mine in swaps.items()}
        if find is None:
            return _Answered(pairs, swaps, found, None, {})
        with clock("landmarks"):
            seen = {name: where_found(find(mine.image, points), found.get(name)) for name, mine in swaps.items()}
            return _Answered(pairs, swaps, found, find(pairs.batch.target, points), seen)

    def _judged(self, rows: range, judge: Judge, timeline: Timeline) -> Part:
        """Every method on one chunk."""
        clock = _Clock()
        if missed := timeline.missed(rows):
            _follow(timeline, missed, self._answer(missed, clock))
        answered = self._answer(rows, clock)
        pasts = _follow(timeline, rows, answered)
        teacher = None if self.teacher is None else answered.swaps[self.teacher].image
        with clock("face networks"):
            targets = self._read(answered.pairs.batch.target, answered.pairs)
        found, features = [], {}
        for name, swaps in answered.swaps.items():
            with clock("recogniser"):
                looked = self.recogniser(swaps.image)
            with clock("face networks"):
                read = self._read(swaps.image, answered.pairs)
            with clock("metrics"):
                seen = Seen(
                    image=swaps.image,
                    batch=answered.pairs.batch,
                    who=judge(looked.embedding, rows),
                    answer=None if name == self.teacher else teacher,
                    landmarks=answered.landmarks.get(name),
                    target_landmarks=answered.target_landmarks,
                    found=answered.found.get(name),
                    past=pasts.get(name),
                    lpips=self.lpips,
                    read={key: net.distance(read[key], targets[key]) for key, net in self.networks.items()},
                )
                found += _rows_of(name, answered.pairs, swaps, measured(seen, swaps.problems))
            kept = [row for row, problem in enumerate(swaps.problems) if problem is None]
            with clock("features"):
                features[name] = self._features(swaps.image, looked)[kept]
        with clock("pictures"):
            batch = answered.pairs.batch
            shown = strips([batch.source, batch.target, *map(_shown, answered.swaps.values())])
        return Part(found, clock.seconds, features, shown)

    def _read(self, images: Tensor, pairs: Pairs) -> dict[str, Tensor]:
        """What every network reads of pictures that were made of these pairs."""
        return {key: network(images, pairs.batch.landmarks) for key, network in self.networks.items()}

    def _features(self, images: Tensor, looked: IdentityFeatures) -> Tensor:
        """What FID and KID compare, (N, C) on the CPU. looked: what the recogniser saw."""
        found = looked.features.float().mean((2, 3)) if self.extractor is None else self.extractor(images)
        return found.cpu()

    def _protocol(self) -> Protocol:
        landmarks, lpips = (self.landmarks, self.no_landmarks), (self.lpips, self.no_lpips)
        networks = self.extractor, self.networks, self.no_networks
        models = Models(self.recogniser, self.taught, *landmarks, *lpips, *networks, detector=self.detector)
        return describe_protocol(self.pair_set, models)

    def _begin(self, protocol: Protocol) -> None:
        """Store protocol and methods. Raises UserError if the folder holds parts of another evaluation."""
        record = Record(self.batch, self.teacher, [{"name": method.name, **method.facts} for method in self.methods])
        before = Record.read(self.out)
        if before is not None and (self.out / PROTOCOL).is_file():
            if others := Protocol.read(self.out).differences(protocol):
                raise UserError(
                    f"out={self.out} holds an evaluation by another protocol ({others[0]}): give another folder"
                )
            if said := before.difference(record):
                raise UserError(f"out={self.out} holds an evaluation {said}: give another folder")
        elif other := next((path.name for path in self.out.iterdir() if not path.name.startswith(".")), None):
            raise OptionError(
                "out", self.out, f"is no evaluation and holds other files, such as {other}: give a new one"
            )
        protocol.write(self.out)
        record.write(self.out)


class _Answered(NamedTuple):
    """One chunk, and what all methods made of it."""

    pairs: Pairs
    swaps: Mapping[str, Swaps]
    found: Mapping[str, Tensor]
    """By method, (N,) float: 1 where a detector sees a face; empty where nobody asks."""
    target_landmarks: Tensor | None
    """(N, 68, 2), where they are looked for."""
    landmarks: Mapping[str, Tensor]
    """The same by method, NaN where no face is seen; empty where nobody looks."""


def _follow(timeline: Timeline, rows: range, answered: _Answered) -> Mapping[str, Past]:
    """What came before these frames, by method; nothing without landmarks, along which frames are compared."""
    if answered.target_landmarks is None:
        return {}
    tracks = {}
    for name, swaps in answered.swaps.items():
        bad = torch.tensor([problem is not None for problem in swaps.problems])
        points = answered.landmarks[name]
        tracks[name] = Track(swaps.image, points.masked_fill(bad.to(points.device)[:, None, None], float("nan")))
    return timeline.follow(rows, Track(answered.pairs.batch.target, answered.target_landmarks), tracks)


class _Clock:
    """Adds up what takes how long."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - start


def _shown(swaps: Swaps) -> Tensor:
    """The pictures, grey where there is none."""
    none = torch.tensor([problem is not None for problem in swaps.problems], device=swaps.image.device)
    return torch.where(none.view(-1, 1, 1, 1), 0.5, swaps.image)


def _rows_of(name: str, pairs: Pairs, swaps: Swaps, values: Sequence[Mapping[str, float]]) -> list[dict[str, object]]:
    return [
        {
            "pair": pair.result,
            "source_person": pair.source_person,
            "target_person": pair.target_person,
            "method": name,
            "problem": problem,
            "values": known,
        }
        for pair, problem, known in zip(pairs.names, swaps.problems, values, strict=True)
    ]
