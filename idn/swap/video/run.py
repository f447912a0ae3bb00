"""One video: decoded, swapped and encoded as a stream, in parts that survive a kill, and joined with its sound."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from idn.data.alignment.every_face import EveryFace
from idn.data.alignment.workers import one_thread
from idn.errors import DamagedFile
from idn.files.refused_disk import refused_disk
from idn.provenance.metadata import Lineage
from idn.provenance.stamp import Stamp
from idn.swap.photo import Swapping
from idn.swap.pictures import check_out, likeness
from idn.swap.report import Report
from idn.swap.turned_faces import facing
from idn.swap.video.picture import FramePicture
from idn.swap.video.stages import Stages
from idn.swap.video.tracking import Followed, Following, Tracker
from idn.swap.video.work_folder import Counted, WorkFolder
from idn.video.encoding import Encoding, PartWriter, fitting
from idn.video.muxing import check_container, join
from idn.video.planes import Colours
from idn.video.reading import VideoInfo, frames, read_info

SECONDS = 10.0
"""Length of a part: what a kill can cost at most."""
WARM_UP = 15
"""Frames before the first of a later part that tell where faces come from."""
_ASKED = 25
"""One of so many frames is asked who is on it."""


class Done(NamedTuple):
    """A frame on its way to the encoder."""

    followed: Followed
    similarity: tuple[float, float] | None


@dataclass
class VideoWork:
    """What is done to each video.

    swapping: see there.
    everyone: finds all faces of a picture.
    following: see there.
    encoding: of the result.
    stamp: what the result says about itself.
    overwrite, resume: whether files, or parts of them, that are there already are replaced, or gone on with.
    plan: JSON-able; all options that decide what frames look like.
    report: where it is counted.
    progress: called with the frames that are done, and that there are.
    sources: files that are never replaced.
    """

    swapping: Swapping
    everyone: EveryFace
    following: Following
    encoding: Encoding
    stamp: Stamp
    overwrite: bool
    resume: bool
    plan: dict[str, Any]
    report: Report
    progress: Callable[[int, int], None]
    sources: Sequence[Path] = ()

    def write(self, target: Path, out: Path) -> None:
        """Swap one video. Raises UserError for one that cannot be read or written, and where no face is ever swapped.

        Interrupted, it leaves what was done as a file that plays, with "partial" in its name, and can go on later.
        """
        check_out(target, out, self.overwrite, self.sources)
        info = read_info(target)
        self.encoding.check(info)
        check_container(info, out, self.encoding.codec)
        with one_thread():
            self._made(info, WorkFolder(out, self._plan(info), self.resume, self.overwrite), out)

    def _plan(self, info: VideoInfo) -> dict[str, Any]:
        known = info.path.stat()
        return {
            **self.plan,
            "target": [str(info.path.resolve()), known.st_size, known.st_mtime_ns],
            "following": list(astuple(self.following)),
            "encoding": [self.encoding.codec, self.encoding.crf, dict(self.encoding.options)],
        }

    def _made(self, info: VideoInfo, folder: WorkFolder, out: Path) -> None:
        run = _Run(self, info, folder, out)
        earlier = folder.counted.frames
        lineage = self.swapping.model.lineage
        try:
            run.encode()
        except KeyboardInterrupt:
            self._partial(info, folder, out, lineage)
            raise
        except BaseException:
            if not folder.counted.parts:
                folder.remove()
            raise
        self._count(folder.counted)
        self.report.earlier += earlier
        if not folder.counted.frames:
            folder.remove()
            raise DamagedFile(info.path, "holds no frame that can be decoded: give another video")
        with self.swapping.parts.measured("encode"), _disk(out):
            join(info, folder.parts(), out, self.stamp.tags(lineage))
            self.stamp.sign(out, lineage)
        folder.remove()
        self.report.written.append(str(out))
        self.report.notes += self._notes(info, folder.counted)

    def _notes(self, info: VideoInfo, counted: Counted) -> list[str]:
        """What there is to say of one video."""
        said = [f"{info.path}: {loss}" for loss in self.encoding.losses(info)]
        if not counted.swapped:
            shown = "the chosen faces from the side only" if counted.aside else "no face that is chosen"
            said.append(f"{info.path} shows {shown}: all frames are as they were")
        if self.encoding.size(info) != (info.width, info.height):
            width, height = self.encoding.size(info)
            said.append(
                f"{self.encoding.codec} wants even sides: {info.width} x {info.height} became {width} x {height} by "
                "repeating the last line or column"
            )
        if counted.damaged:
            said.append(f"{info.path} is damaged: {counted.damaged} packets could not be decoded, and are left out")
        end = float((counted.last - info.start + 1 / info.rate / info.time_base) * info.time_base)
        if info.seconds - end > max(1.0, 0.02 * info.seconds):
            said.append(f"{info.path}: its pictures end at {end:.1f} of {info.seconds:.1f} s")
        return said

    def _partial(self, info: VideoInfo, folder: WorkFolder, out: Path, lineage: Lineage) -> None:
        """Make a file that plays of what was done, and say where it is."""
        if not folder.counted.parts:
            folder.remove()
            print("\nstopped before the first frame was written", file=sys.stderr)
            return
        partial = out.with_name(f"{out.stem}.partial{out.suffix}")
        with _disk(partial):
            join(info, folder.parts(), partial, self.stamp.tags(lineage), until=folder.counted.last)
        print(
            f"\nstopped: {folder.counted.frames} frames are in {partial}; the same command with resume=true goes on",
            file=sys.stderr,
        )

    def _count(self, counted: Counted) -> None:
        report = self.report
        report.pictures += counted.frames
        report.without_face += counted.without_face
        report.faces += counted.faces
        report.swapped += counted.swapped
        report.aside += counted.aside


def _disk(out: Path) -> AbstractContextManager[None]:
    return refused_disk("out", out, "the finished parts", "go on with resume=true")


class _Run:
    """One pass over the frames that are still to be done."""

    def __init__(self, work: VideoWork, info: VideoInfo, folder: WorkFolder, out: Path) -> None:
        self._work, self._info, self._folder, self._out = work, info, folder, out
        self._format, self._size = work.encoding.pixel_format(info), work.encoding.size(info)
        self._colours = Colours.of(info, self._format)
        self._counted = replace(folder.counted)
        self._asked = 0

    def encode(self) -> None:
        """Encode all parts. Interrupted, it finishes the part that it is at, and raises KeyboardInterrupt."""
        stages = Stages()
        writer: PartWriter | None = None
        done = stages.run(self._decoded(), self._followed, self._swapped)
        try:
            for item in done:
                writer = self._write(item, writer)
            self._finish(writer)
        except KeyboardInterrupt:
            stages.stop()
            self._finish(writer)
            raise
        except BaseException:
            stages.stop()
            if writer is not None:
                writer.abandon()
            raise
        stages.stop()

    def _decoded(self) -> Iterator[tuple[FramePicture, bool]]:
        parts = self._work.swapping.parts
        given = frames(self._info, self._folder.counted.last, WARM_UP, self._damaged)
        while True:
            with parts.measured("decode"):
                entry = next(given, None)
                if entry is None:
                    return
                frame = fitting(entry[0], self._format, self._size)
            yield FramePicture(frame, self._info, self._colours), entry[1]

    def _damaged(self) -> None:
        self._counted.damaged += 1

    def _followed(self, given: Iterator[tuple[FramePicture, bool]]) -> Iterator[Followed]:
        tracker = Tracker(self._work.everyone, self._work.swapping, self._work.following)
        for picture, wanted in given:
            yield from tracker.follow(picture, wanted)
        yield from tracker.rest()

    def _swapped(self, given: Iterator[Followed]) -> Iterator[Done]:
        for followed in given:
            if followed.wanted:
                with torch.inference_mode():
                    done = Done(followed, self._swap(followed))
                yield done

    def _swap(self, followed: Followed) -> tuple[float, float] | None:
        """Put other faces into one frame. Returns how like the source one of them is, and was, now and then."""
        swapping, picture = self._work.swapping, followed.picture
        size = swapping.model.size
        crops: dict[int, tuple[Tensor, Tensor]] = {}
        with swapping.parts.measured("align"):
            shares = {n: facing(marks, swapping.most_yaw) for n, marks in followed.places.items()}
            followed.aside = sum(not share for share in shares.values())
            for number, landmarks in followed.places.items():
                if not shares[number]:
                    continue
                onto = picture.onto(landmarks, swapping.model.template, size)
                if onto is not None:
                    crops[number] = picture.crop(onto, size), onto
        similarity = None
        if crops:
            with swapping.parts.measured("paste"):
                picture.own()
        for number, (crop, onto) in crops.items():
            source = followed.sources[number]
            image, share = swapping.swapped(crop[None], swapping.sources[source])
            with swapping.parts.measured("paste"):
                picture.paste(image[0], share[0] * shares[number], onto)
            if similarity is None and self._asked % _ASKED == 0:
                after, before = likeness(swapping, image[0], crop, source)
                similarity = None if after is None else (after, before)
        self._asked += 1
        followed.places = {number: followed.places[number] for number in crops}
        return similarity

    def _write(self, done: Done, writer: PartWriter | None) -> PartWriter | None:
        """Encode one frame; begins a part where there is none, and ends one that is long enough."""
        work, picture = self._work, done.followed.picture
        with work.swapping.parts.measured("encode"), _disk(self._out):
            if writer is None:
                writer = PartWriter(self._folder.part(self._counted.parts), self._info, work.encoding)
            picture.stamp(work.stamp)
            writer.write(picture.frame)
        counted, swapped = self._counted, len(done.followed.places)
        counted.frames += 1
        counted.faces += max(done.followed.found, swapped + done.followed.aside)
        counted.swapped += swapped
        counted.aside += done.followed.aside
        counted.without_face += not swapped
        if done.similarity is not None:
            work.report.similarity.append(done.similarity[0])
            work.report.before.append(done.similarity[1])
        work.progress(counted.frames, self._info.frames)
        if float((writer.last - writer.first) * self._info.time_base) >= SECONDS:
            self._finish(writer)
            return None
        return writer

    def _finish(self, writer: PartWriter | None) -> None:
        if writer is None or not writer.frames:
            return
        with self._work.swapping.parts.measured("encode"), _disk(self._out):
            writer.close()
            self._counted.parts += 1
            self._counted.last = writer.last
            self._folder.finished(replace(self._counted))
