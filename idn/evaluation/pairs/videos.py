"""Videos as folders of aligned frames: FaceForensics++ and its published list of pairs, or any folder of such."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import torch

from idn.data.loaders import check_size
from idn.data.photo_folder import FaceFolder
from idn.data.regions import FaceRegions
from idn.errors import OptionError
from idn.evaluation.pairs.folder import FolderPairs, Numbered, passed_over, read_list
from idn.files.option_checks import require_int

_NUMBER = re.compile(r"(\d+)\D*$")
"""The number of a frame at the end of its name."""
Run = list[int]
"""Numbers of the photographs that show successive frames of a video, in order."""


class _Wanted(NamedTuple):
    """Frames that are asked of every video."""

    frames: int | None
    successive: int


def video_pairs(
    root: str,
    frames: int | None,
    size: int,
    template: str,
    successive: int = 1,
    pairs_file: str | None = None,
    seed: int = 0,
    stored_template: str | None = None,
    name: str = "faceforensics",
    regions: FaceRegions | None = None,
) -> FolderPairs:
    """Frames of every pair of videos, in order.

    root: folder with a folder of crops per video, at any depth, as `idn align` makes it of extracted frames.
    frames: evenly spaced places per video; None takes every frame of it.
    size, template, stored_template: see `FaceFolder`.
    successive: frames in a row at each of these places: jitter takes three, flicker two.
    pairs_file: names of target and source per pair of videos: the published JSON lists, or lines `target_source`; None
        takes each video as a target once, with another one that `seed` chooses.
    name: of the protocol.
    regions: where the face is; None lays a face shape over the landmarks.
    The frames of place k of a target take the middle frame of place k of its source, or, where every frame is taken,
    the middle frame of all. Raises OptionError for a folder or a list that cannot be used.
    """
    check_size(size)
    require_int("successive", successive, 1)
    if frames is not None:
        require_int("frames", frames, 1)
    folder = FaceFolder(root, size, template, stored_template, "flat")
    videos = _videos(folder)
    facts: dict[str, Any] = {"folder": Path(folder.root).name, "stored_template": folder.stored_template}
    facts |= {"frames": frames, "successive": successive if frames is not None else None}
    if pairs_file is None:
        named = _drawn(sorted(videos), seed)
        facts["seed"] = seed
    else:
        named, path = read_list(Path(str(pairs_file))), Path(str(pairs_file))
        facts |= {"list": path.name, "list_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    wanted, runs, left_out = _chosen(folder, videos, named, _Wanted(frames, successive))
    return FolderPairs(name, folder, wanted, facts, left_out + Counter(passed_over(folder)), regions, runs)


def _videos(folder: FaceFolder) -> dict[str, Run]:
    """The frames of every video by its name, which become the folder's people. Raises OptionError if there are none."""
    videos: dict[str, Run] = {}
    for number, name in enumerate(folder.names):
        videos.setdefault(PurePosixPath(name).parent.name, []).append(number)
    videos.pop("", None)
    if not videos:
        wanted = "holds no folder of frames: give one with a folder of crops per video"
        raise OptionError("root", folder.root, wanted)
    folder.identities = {name: sorted(run, key=lambda n: _order(folder.names[n])) for name, run in videos.items()}
    return folder.identities


def _chosen(
    folder: FaceFolder, videos: dict[str, Run], named: Sequence[tuple[str, str]], asked: _Wanted
) -> tuple[list[Numbered], list[int], Counter[str]]:
    """Targets and sources in order, the number of the run of each, and the pairs of videos left out, by reason."""
    places = {video: _places(folder, numbers, asked) for video, numbers in videos.items()}
    wanted: list[Numbered] = []
    runs: list[int] = []
    left_out: Counter[str] = Counter()
    for names in named:
        target, source = (places.get(video) for video in names)
        if reason := _unusable(target, source, asked):
            left_out[reason] += 1
            continue
        for place, run in enumerate(target):
            shown = videos[names[1]] if asked.frames is None else source[place]
            wanted += [(frame, shown[len(shown) // 2]) for frame in run]
            runs += [runs[-1] + 1 if runs else 0] * len(run)
    return wanted, runs, left_out


def _places(folder: FaceFolder, numbers: Run, asked: _Wanted) -> list[Run]:
    """The runs of a video that are asked: all of them, or evenly spaced ones of the wanted length."""
    whole = _successive(folder, numbers)
    if asked.frames is None:
        return whole
    length = asked.successive
    parts = [run[k : k + length] for run in whole for k in range(0, len(run) - length + 1, length)]
    return _spaced(parts, asked.frames)


def _successive(folder: FaceFolder, numbers: Run) -> list[Run]:
    """Frames in order, cut where one is missing, as where no face was found: where their numbers rise by more than
    they usually do. Names without numbers are taken as they follow each other."""
    order = [_order(folder.names[number])[0] for number in numbers]
    steps = [after - before for before, after in pairwise(order)]
    usual = Counter(steps).most_common(1)[0][0] if steps else 1
    runs = [[numbers[0]]]
    for number, step in zip(numbers[1:], steps, strict=True):
        if step == usual:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs


def _order(name: str) -> tuple[int, str]:
    """By which frames are sorted: 2 before 10."""
    found = _NUMBER.search(PurePosixPath(name).stem)
    return int(found[1]) if found else 0, name


def _spaced(parts: list[Run], count: int) -> list[Run]:
    """`count` of them in the middle of as many equal parts of a video; all if there are fewer."""
    if len(parts) <= count:
        return parts
    return [parts[int((k + 0.5) * len(parts) / count)] for k in range(count)]


def _unusable(target: list[Run] | None, source: list[Run] | None, asked: _Wanted) -> str | None:
    if target is None or source is None:
        return "pairs of videos of which one is not in the folder"
    if not (target and source):
        return f"pairs of videos of which one has no {asked.successive} successive frames"
    if asked.frames is not None and min(len(target), len(source)) < asked.frames:
        row = f" places with {asked.successive} successive" if asked.successive > 1 else ""
        return f"pairs of videos of which one has fewer than {asked.frames}{row} frames"
    return None


def _drawn(videos: Sequence[str], seed: int) -> list[tuple[str, str]]:
    """Every video as a target once, with the one beside it in a random circle. Raises OptionError for a single one."""
    require_int("seed", seed)
    if len(videos) < 2:
        raise OptionError("pairs_file", None, f"takes two videos, and {videos[0]} is the only one: add another")
    circle = torch.randperm(len(videos), generator=torch.Generator().manual_seed(seed)).tolist()
    after = dict(zip(circle, circle[1:] + circle[:1], strict=True))
    return [(name, videos[after[number]]) for number, name in enumerate(videos)]
