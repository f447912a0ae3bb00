"""FaceForensics++ layout: a folder of aligned frames per video, and the published list of pairs of videos."""

import hashlib
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

from idn.data.loaders import check_size
from idn.data.photo_folder import FaceFolder
from idn.data.regions import FaceRegions
from idn.errors import OptionError
from idn.evaluation.pairs.folder import FolderPairs, Numbered, passed_over, read_list
from idn.files.option_checks import require_int


def video_pairs(
    root: str,
    pairs_file: str,
    frames: int,
    size: int,
    template: str,
    stored_template: str | None = None,
    regions: FaceRegions | None = None,
) -> FolderPairs:
    """Evenly spaced frames of every pair of videos.

    root: folder with a folder of crops per video, at any depth, as `idn align` makes it of extracted frames.
    pairs_file: names of target and source per pair of videos: the published JSON lists, or lines `target_source`.
    frames: per video.
    size, template, stored_template: see `FaceFolder`.
    regions: where the face is; None lays a face shape over the landmarks.
    Frame k of a target takes frame k of its source. Raises OptionError for a folder or a list that cannot be used.
    """
    check_size(size)
    require_int("frames", frames, 1)
    folder = FaceFolder(root, size, template, stored_template, "flat")
    videos: dict[str, list[int]] = {}
    for number, name in enumerate(folder.names):
        videos.setdefault(PurePosixPath(name).parent.name, []).append(number)
    videos.pop("", None)
    if not videos:
        raise OptionError("root", root, "holds no folder of frames: give one with a folder of crops per video")
    folder.identities = videos
    path, left_out = Path(str(pairs_file)), Counter(passed_over(folder))
    wanted: list[Numbered] = []
    for target, source in read_list(path):
        chosen = [_spaced(videos.get(video, []), frames) for video in (target, source)]
        if reason := _unusable(chosen, frames):
            left_out[reason] += 1
        else:
            wanted += zip(*chosen, strict=True)
    facts: dict[str, Any] = {
        "folder": folder.root.name,
        "stored_template": folder.stored_template,
        "frames": frames,
        "list": path.name,
        "list_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    return FolderPairs("faceforensics", folder, wanted, facts, dict(left_out), regions)


def _spaced(numbers: list[int], count: int) -> list[int]:
    """`count` frames in the middle of as many equal parts of a video; all if there are fewer."""
    if len(numbers) <= count:
        return numbers
    return [numbers[int((k + 0.5) * len(numbers) / count)] for k in range(count)]


def _unusable(chosen: list[list[int]], frames: int) -> str | None:
    if not all(chosen):
        return "pairs of videos of which one is not in the folder"
    if any(len(numbers) < frames for numbers in chosen):
        return f"pairs of videos of which one has fewer than {frames} frames"
    return None
