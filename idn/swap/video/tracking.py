"""Tracking: faces from frame to frame by close-ups, gaps bridged between two sightings, jitter filtered out."""

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from idn.data.alignment.detector import Face
from idn.data.alignment.every_face import EveryFace
from idn.files.option_checks import require_bool, require_int
from idn.swap.choose import assign
from idn.swap.photo import Swapping
from idn.swap.video.picture import FramePicture
from idn.swap.video.smoothing import OneEuro
from idn.types import IdentityFeatures

_FAVOUR = 1.2
"""By how much larger a face counts that is swapped already, so that two of one size do not take turns."""


@dataclass(frozen=True)
class Following:
    """How faces are followed.

    every: frames from one search of the whole picture to the next; in between, close-ups follow the chosen faces.
    gap: frames for which a face may be lost; where it comes back in time, it is put where it must have been.
    smooth: whether landmarks are filtered over time.
    search: pixels of the longer side of the copy that is searched.
    Raises OptionError for what these cannot be.
    """

    every: int = 10
    gap: int = 5
    smooth: bool = True
    search: int = 640

    def __post_init__(self) -> None:
        require_int("every", self.every, 1)
        require_int("gap", self.gap, 0)
        require_bool("smooth", self.smooth)
        require_int("search", self.search, 64)


@dataclass
class _Track:
    """One person on the way through the video."""

    number: int
    source: int
    face: Face
    missing: int = 0
    """Frames since it was last seen."""


@dataclass
class Followed:
    """A frame, and where the faces are that are swapped in it."""

    picture: FramePicture
    wanted: bool
    """Whether it is written; others only tell where faces come from."""
    found: int = 0
    """Faces seen in it."""
    places: dict[int, Tensor] = field(default_factory=dict)
    """Number of the track -> landmarks, (5, 2)."""
    sources: dict[int, int] = field(default_factory=dict)
    """Number of the track -> number of its source."""
    aside: int = 0
    """Chosen faces that are turned too far to a side."""


class Tracker:
    """Follows the chosen faces.

    everyone: finds all faces of a picture.
    swapping: whose choice counts.
    following: see there.
    """

    def __init__(self, everyone: EveryFace, swapping: Swapping, following: Following) -> None:
        self._everyone, self._swapping, self._following = everyone, swapping, following
        self._tracks: list[_Track] = []
        self._waiting: deque[Followed] = deque()
        self._filters: dict[int, OneEuro] = {}
        self._numbers = itertools.count()
        self._since = following.every
        """Frames since the last search."""

    @torch.inference_mode()
    def follow(self, picture: FramePicture, wanted: bool) -> Iterator[Followed]:
        """Take in the next frame; gives those of which nothing more will be learned, in their order."""
        entry = Followed(picture, wanted)
        self._waiting.append(entry)
        with self._swapping.parts.measured("detect"):
            self._look(entry)
        self._bridge(entry)
        if len(self._waiting) > self._following.gap:
            yield self._released()

    def rest(self) -> Iterator[Followed]:
        """The frames that still wait, when there are no more."""
        while self._waiting:
            yield self._released()

    def _released(self) -> Followed:
        entry = self._waiting.popleft()
        if self._following.smooth:
            kept = {number: self._filters.get(number) or OneEuro() for number in entry.places}
            gone = {track.number for track in self._tracks} | {n for other in self._waiting for n in other.places}
            self._filters = {n: f for n, f in self._filters.items() if n in gone} | kept
            entry.places = {n: kept[n](marks, entry.picture.time) for n, marks in entry.places.items()}
        return entry

    def _look(self, entry: Followed) -> None:
        """Find the chosen faces of a frame, by close-ups, and by a search where it is time or one is missed."""
        following = self._following
        taken: list[Face] = []
        for track, face in zip(self._tracks, self._near(entry.picture), strict=True):
            if face is not None and any(_same(face, other) for other in taken):
                face = None  # after a cut, somebody who was lost there would be found in whoever is there now
            taken += [] if face is None else [face]
            track.missing = 0 if face is not None else track.missing + 1
            track.face = track.face if face is None else face
        self._since += 1
        lost = any(track.missing for track in self._tracks)
        if lost or not self._tracks or self._since >= following.every:
            self._search(entry.picture, turned=self._since >= following.every and not self._tracks)
        self._tracks = [track for track in self._tracks if track.missing <= following.gap]
        seen = [track for track in self._tracks if not track.missing]
        entry.found = max(len(seen), self._seen)
        entry.places = {track.number: track.face.landmarks for track in seen}
        entry.sources = {track.number: track.source for track in seen}

    _seen = 0
    """Faces that the last search found."""

    def _near(self, picture: FramePicture) -> list[Face | None]:
        """Every track's face in a close-up of where it was."""
        close = [picture.close_up(track.face.landmarks) for track in self._tracks]
        known = [pair for pair in close if pair is not None]
        if not known:
            return [None] * len(close)
        found = iter(self._everyone.in_close_ups(torch.stack([crop for crop, _ in known]), [m for _, m in known]))
        return [None if pair is None else next(found) for pair in close]

    def _search(self, picture: FramePicture, turned: bool) -> None:
        """Look for all faces, and choose anew who is swapped."""
        copy, scale = picture.searched(self._following.search)
        known = [track for track in self._tracks if not track.missing]

        def is_new(face: Face) -> bool:
            placed = picture.put_back(face, copy, scale)
            return not any(_same(placed, track.face) for track in known)

        fresh = [picture.put_back(face, copy, scale) for face in self._everyone(copy, turned, is_new) if is_new(face)]
        if turned or self._tracks:
            self._since = 0
        self._seen = len(known) + len(fresh)
        candidates = [track.face for track in known] + fresh
        chosen = self._assigned(picture, candidates, len(known))
        lost = [track for track in self._tracks if track.missing]
        self._tracks = []
        for place, source in chosen.items():
            if place < len(known):
                known[place].source = source
                self._tracks.append(known[place])
            else:
                self._tracks.append(self._begun(candidates[place], source, lost))
        self._tracks += lost

    def _assigned(self, picture: FramePicture, faces: Sequence[Face], known: int) -> dict[int, int]:
        """Number of the face -> its source. known: how many of the first ones are swapped already."""
        seen = None
        if self._swapping.choice.like is not None and faces:
            seen = torch.cat([self._who(picture, face).embedding.cpu() for face in faces])
        favoured = [_grown(face, _FAVOUR) if place < known else face for place, face in enumerate(faces)]
        return assign(self._swapping.choice, len(self._swapping.sources), favoured, seen)

    def _who(self, picture: FramePicture, face: Face) -> IdentityFeatures:
        model = self._swapping.model
        onto = picture.onto(face.landmarks, model.template, model.size)
        crop = torch.zeros(3, model.size, model.size) if onto is None else picture.crop(onto, model.size)
        return model.look(crop[None])

    def _begun(self, face: Face, source: int, lost: list[_Track]) -> _Track:
        """A track for a face: the one of somebody who was lost near there, or a new one."""
        for track in lost:
            if track.source == source and _same(track.face, face):
                lost.remove(track)
                track.face, track.missing = face, 0
                return track
        return _Track(next(self._numbers), source, face)

    def _bridge(self, entry: Followed) -> None:
        """Put faces that are seen again into the frames in between, on the straight way."""
        for number, landmarks in entry.places.items():
            waiting = list(self._waiting)[:-1]
            before = next((k for k in range(len(waiting) - 1, -1, -1) if number in waiting[k].places), None)
            if before is None:
                continue
            start, missed = waiting[before], waiting[before + 1 :]
            for one in missed:
                way = (one.picture.time - start.picture.time) / (entry.picture.time - start.picture.time)
                one.places[number] = torch.lerp(start.places[number], landmarks, way)
                one.sources[number] = entry.sources[number]


def _grown(face: Face, factor: float) -> Face:
    middle = (face.box[:2] + face.box[2:]) / 2
    return face._replace(box=(face.box - middle.repeat(2)) * factor + middle.repeat(2))


def _same(one: Face, other: Face) -> bool:
    """Whether two faces, of one frame or of two in a row, are in one place."""
    apart = (one.landmarks.mean(0) - other.landmarks.mean(0)).norm()
    return float(apart) < max(one.size, other.size) / 2
