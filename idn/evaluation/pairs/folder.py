"""Pairs of a folder of aligned crops: drawn from held-out people, or as a list in a file says."""

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import compress
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from idn.data.loaders import check_size
from idn.data.photo_folder import FaceFolder
from idn.data.regions import FaceRegions, LandmarkRegions
from idn.errors import OptionError
from idn.evaluation.pairs.pair_set import PairName, Pairs, PairSet
from idn.files.option_checks import require_int
from idn.files.photos import UnreadablePhoto
from idn.geometry.templates import template_points
from idn.images import from_uint8
from idn.types import SwapBatch, join_batches

_SPLIT = 4
"""People that a split into those who train and those who are held out takes."""
Numbered = tuple[int, int]
"""Numbers of the photographs of a target and a source."""


class FolderPairs(PairSet):
    """Pairs of photographs by their numbers in a folder of crops.

    name: of the protocol.
    folder: the crops.
    wanted: a target and a source per pair.
    facts: see `PairSet`.
    left_out: see `PairSet`; pairs of photographs that cannot be read are added here.
    regions: where the face is; None lays a face shape over the landmarks.
    runs: see `PairSet`, for every pair that is wanted; a pair that is left out cuts its run in two.
    Raises OptionError if fewer than two pairs are left.
    """

    def __init__(
        self,
        name: str,
        folder: FaceFolder,
        wanted: Sequence[Numbered],
        facts: dict[str, Any],
        left_out: dict[str, int],
        regions: FaceRegions | None = None,
        runs: Sequence[int] | None = None,
    ) -> None:
        damaged = {number for number in {n for pair in wanted for n in pair} if not _readable(folder, number)}
        usable = [damaged.isdisjoint(pair) for pair in wanted]
        kept = list(compress(wanted, usable))
        if len(kept) < len(wanted):
            left_out = {**left_out, "pairs with a photograph that cannot be read": len(wanted) - len(kept)}
        if len(kept) < 2:
            raise OptionError("root", folder.root, _too_few(len(kept), left_out))
        people = {number: who for who, numbers in folder.identities.items() for number in numbers}
        names = [PairName(*(_stem(folder.names[n]) for n in pair), *(_stem(people[n]) for n in pair)) for pair in kept]
        facts = {**facts, "pictures_sha256": _content(folder, kept)}
        runs = None if runs is None else _cut(runs, usable)
        super().__init__(name, names, folder.size, folder.template, True, facts, left_out, runs)
        self.folder, self._numbers = folder, kept
        self._regions = LandmarkRegions(folder.template) if regions is None else regions

    def load(self, rows: range) -> Pairs:
        """See `PairSet`."""
        template = template_points(self.template)
        samples = []
        for target_number, source_number in (self._numbers[row] for row in rows):
            source, target = (from_uint8(self.folder.read(n)[None]) for n in (source_number, target_number))
            known = self.folder.landmarks(target_number)
            face = self._regions(target, None if known is None else known[None])
            points = (template if known is None else known).float()
            samples.append(SwapBatch(source, target, face, torch.tensor([False]), landmarks=points[None]))
        return Pairs([self.names[row] for row in rows], join_batches(samples))


def folder_pairs(
    root: str,
    pairs: int,
    size: int,
    template: str,
    seed: int,
    stored_template: str | None = None,
    layout: str = "auto",
    holdout: float | None = 0.05,
    pairs_file: str | None = None,
    name: str = "folder",
    regions: FaceRegions | None = None,
) -> FolderPairs:
    """Pairs of the photographs in a folder.

    root, size, template, stored_template, layout: see `FaceFolder`.
    pairs: how many at most; each photograph is a target once, and its source shows another person.
    seed: which ones.
    holdout: share of the people that a training held out, which are the only ones taken; null takes all.
    pairs_file: a list instead: a CSV with the columns target and source, or a line `target source` per pair.
    name: of the protocol.
    regions: where the face is; None lays a face shape over the landmarks.
    Raises OptionError for a folder or a list that cannot be used.
    """
    check_size(size)
    require_int("pairs", pairs, 2)
    require_int("seed", seed)
    folder = FaceFolder(root, size, template, stored_template, layout)
    left_out = passed_over(folder)
    facts: dict[str, Any] = {"folder": Path(folder.root).name, "stored_template": folder.stored_template}
    if pairs_file is None:
        people = _people(folder, holdout)
        facts |= {"seed": seed, "people": len(people), "holdout": holdout}
        return FolderPairs(name, folder, _drawn(people, pairs, seed), facts, left_out, regions)
    path = Path(str(pairs_file))
    wanted, missing = _numbered(read_list(path), folder)
    facts |= {"list": path.name, "list_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    if missing:
        left_out["pairs of the list whose pictures are not in the folder"] = missing
    if len(wanted) > pairs:
        left_out["pairs of the list beyond the first"] = len(wanted) - pairs
    return FolderPairs(name, folder, wanted[:pairs], facts, left_out, regions)


def passed_over(folder: FaceFolder) -> dict[str, int]:
    """How many pictures of a folder are not used, by reason; those of equal content are used once."""
    return {f"of the folder's pictures: {kind}": count for kind, count in folder.index.facts.left_out.items()}


def read_list(path: Path) -> list[tuple[str, str]]:
    """Names of target and source per pair.

    path: a CSV with the columns target and source; a JSON list of pairs, each of which stands for both directions, as
        FaceForensics++ publishes them; or lines `target source` or `target_source`.
    Raises OptionError for a file that is not there or holds something else.
    """
    if not path.is_file():
        raise OptionError("pairs_file", path, "is not a file: give a list of pairs")
    try:
        text = path.read_text(encoding="utf-8-sig")  # with the mark that Excel puts first, or without
        if path.suffix.lower() == ".json":
            return [pair for a, b in json.loads(text) for pair in ((str(a), str(b)), (str(b), str(a)))]
        if path.suffix.lower() == ".csv":
            return [(row["target"], row["source"]) for row in csv.DictReader(text.splitlines())]
        split = [
            line.replace("_", " ", 1).split() if " " not in line.strip() else line.split()
            for line in text.splitlines()
            if line.strip()
        ]
        return [(target, source) for target, source in split]
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        wanted = f"cannot be read as a list of pairs ({type(error).__name__}: {error}): write a target and a source per"
        raise OptionError("pairs_file", path, f"{wanted} line") from error


def _people(folder: FaceFolder, holdout: float | None) -> Sequence[Sequence[int]]:
    """Photographs by person, of those who are taken. Raises OptionError for fewer than two."""
    count = len(folder.identities)
    if count < 2:
        raise OptionError(
            "root", folder.root, f"shows {count} person, and a pair takes two{_because(passed_over(folder))}"
        )
    if holdout is None:
        return sorted(map(list, folder.identities.values()))
    if count < _SPLIT:
        wanted = f"holds nobody out of {count} people: give null, which takes all, or a folder with more"
        raise OptionError("holdout", holdout, wanted)
    return folder.split("val", holdout)


def _too_few(pairs: int, left_out: Mapping[str, int]) -> str:
    return f"gives {pairs} {'pair' if pairs == 1 else 'pairs'}, and two are the least{_because(left_out)}"


def _because(left_out: Mapping[str, int]) -> str:
    """What is not among the pairs, and what to do."""
    said = "; ".join(f"{count} {reason}" for reason, count in left_out.items())
    return f": add photographs (left out: {said})" if said else ": add photographs"


def _drawn(people: Sequence[Sequence[int]], count: int, seed: int) -> list[Numbered]:
    """Every photograph as a target, in random order, with a photograph of another person."""
    draw = torch.Generator().manual_seed(seed)
    owner = [(photo, k) for k, photos in enumerate(people) for photo in photos]
    chosen = []
    for place in torch.randperm(len(owner), generator=draw)[:count].tolist():
        target, who = owner[place]
        other = (who + 1 + int(torch.randint(len(people) - 1, (), generator=draw))) % len(people)
        photos = people[other]
        chosen.append((target, photos[int(torch.randint(len(photos), (), generator=draw))]))
    return chosen


def _numbered(wanted: Sequence[tuple[str, str]], folder: FaceFolder) -> tuple[list[Numbered], int]:
    """The pairs of a list by their numbers, and how many name a picture that is not there."""
    known = {name: n for n, name in enumerate(folder.names)} | {_stem(name): n for n, name in enumerate(folder.names)}
    found = [(known.get(a), known.get(b)) for a, b in wanted]
    whole = [(a, b) for a, b in found if a is not None and b is not None]
    return whole, len(found) - len(whole)


def _cut(runs: Sequence[int], usable: Sequence[bool]) -> list[int]:
    """The runs of the pairs that are usable, numbered anew so that none goes on behind one that is not."""
    holes, before, kept = 0, None, []
    for run, good in zip(runs, usable, strict=True):
        holes += run != before or not good
        before = run
        if good:
            kept.append(holes)
    return kept


def _readable(folder: FaceFolder, number: int) -> bool:
    try:
        folder.read(number)
    except UnreadablePhoto:
        return False
    return True


def _content(folder: FaceFolder, pairs: Sequence[Numbered]) -> str:
    """Checksum over all files of the pairs, 16 digits."""
    digest = hashlib.sha256()
    for number in sorted({number for pair in pairs for number in pair}):
        digest.update(folder.content(number))
    return digest.hexdigest()[:16]


def _stem(name: str) -> str:
    """A picture's name without its ending; a folder's name stays."""
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.suffix else name
