"""A folder of results made elsewhere: pictures called `<target>_<source>`, or listed by a CSV."""

import csv
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from idn.errors import UserError
from idn.evaluation.methods.method import Method, Swaps
from idn.evaluation.pairs.pair_set import PairName, Pairs, result_name
from idn.files.digests import file_sha256
from idn.files.photos import UnreadablePhoto, list_photos, photo_size, read_photo
from idn.images import from_uint8, resize
from idn.types import IdentityFeatures

NO_RESULT = "no result"


class ResultsMethod(Method):
    """Pictures that somebody else's program made of the same pairs, in the framing of the crops that it was given.

    name: see `Method`.
    path: a folder with one picture per pair, called as `PairName.result` says, or a CSV with the columns target, source
        and file, the last one relative to the CSV.
    wanted: the pairs. Those without a picture count as failures; pictures of other pairs are counted and passed over.
    size: pixels of the pairs; results of another size are counted and resized.
    Raises UserError where there is no picture of any of the pairs, or are two of one.
    """

    def __init__(self, name: str, path: Path, wanted: Sequence[PairName], size: int) -> None:
        listed = path.suffix.lower() == ".csv"
        files = _listed(path) if listed else _found(path)
        names = list(dict.fromkeys(pair.result for pair in wanted))
        self._files = {name: files[name] for name in names if name in files and files[name].is_file()}
        if not self._files:
            called = "its rows name target, source and file" if listed else "they are called <target>_<source>"
            example = f"{wanted[0].target},{wanted[0].source},FILE" if listed else f"{names[0]}.png"
            raise UserError(
                f"{path} has no picture of any of the {len(names)} pairs: {called}, such as {example}; NAME.png, .jpg, "
                ".webp and the like are pictures"
            )
        facts = {
            "kind": "results",
            "missing": len(names) - len(self._files),
            "extra": len(files.keys() - set(names)),
            "resized": sum(_is_resized(file, size) for file in self._files.values()),
            "sha256": file_sha256(*self._files.values()),
        }
        super().__init__(name, facts)

    def swap(self, pairs: Pairs, who: IdentityFeatures) -> Swaps:
        """See `Method`."""
        found = [self._read(pair, target) for pair, target in zip(pairs.names, pairs.batch.target, strict=True)]
        return Swaps(torch.stack([image for image, _ in found]), [problem for _, problem in found])

    def _read(self, pair: PairName, target: Tensor) -> tuple[Tensor, str | None]:
        """A picture, (3, S, S), or the target with the reason why there is none."""
        file = self._files.get(pair.result)
        if file is None:
            return target, NO_RESULT
        try:
            pixels = read_photo(file)
        except (UnreadablePhoto, OSError):
            return target, "a result that cannot be read"
        if pixels.shape[1] != pixels.shape[2]:
            return target, "a result that is not square"
        return resize(from_uint8(pixels[None]), target.shape[-1])[0].to(target), None


def _found(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise UserError(f"{folder} is neither a folder with results nor a CSV that lists them: check the path")
    names = list_photos(folder).names
    return _by_pair(folder, [(str(PurePosixPath(name).with_suffix("")), folder / name) for name in names])


def _listed(path: Path) -> dict[str, Path]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # with the mark that Excel puts first, or without
            rows = [(row["target"], row["source"], row["file"]) for row in csv.DictReader(file)]
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): check the path") from error
    except (KeyError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no list of results: it needs the columns target, source and file") from error
    whole = [(target, source, name) for target, source, name in rows if target and source and name]
    return _by_pair(path, [(result_name(target, source), path.parent / name) for target, source, name in whole])


def _by_pair(path: Path, found: Sequence[tuple[str, Path]]) -> dict[str, Path]:
    """The pictures by the pairs that they show. Raises UserError for two of one."""
    files: dict[str, Path] = {}
    for name, file in found:
        if files.setdefault(name, file) != file:
            raise UserError(f"{path} has two pictures of {name}, {files[name].name} and {file.name}: keep one")
    return files


def _is_resized(file: Path, size: int) -> bool:
    """Whether a picture is square, and of another size."""
    try:
        width, height = photo_size(file)
    except (UnreadablePhoto, OSError):
        return False
    return width == height != size
