"""A folder of results made elsewhere: pictures called `<target>_<source>`, or listed by a CSV."""

import csv
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from idn.errors import UserError
from idn.evaluation.methods.method import Method, Swaps
from idn.evaluation.pairs.pair_set import PairName, Pairs, result_name
from idn.files.photos import UnreadablePhoto, list_photos, read_photo
from idn.images import from_uint8, resize
from idn.types import IdentityFeatures

NO_RESULT = "no result"


class ResultsMethod(Method):
    """Pictures that somebody else's program made of the same pairs, in the framing of the crops that it was given.

    name: see `Method`.
    path: a folder with one picture per pair, called as `PairName.result` says, or a CSV with the columns target, source
        and file, the last one relative to the CSV.
    wanted: the pairs. Those without a picture count as failures; pictures of other pairs are counted and passed over.
    Raises UserError where there is no picture of any of the pairs.
    """

    def __init__(self, name: str, path: Path, wanted: Sequence[PairName]) -> None:
        self.root, self._files = _listed(path) if path.suffix.lower() == ".csv" else _found(path)
        names = {pair.result for pair in wanted}
        self.missing = len(names - self._files.keys())
        self.extra = len(self._files.keys() - names)
        if self.missing == len(names):
            example = next(iter(wanted)).result
            raise UserError(
                f"{path} has no picture of any of the {len(names)} pairs: they are called <target>_<source>, such as "
                f"{example}.png"
            )
        super().__init__(name, {"kind": "results", "missing": self.missing, "extra": self.extra})

    def swap(self, pairs: Pairs, who: IdentityFeatures) -> Swaps:
        """See `Method`. A square picture of another size is resized, and that is no problem."""
        found = [self._read(pair, target) for pair, target in zip(pairs.names, pairs.batch.target, strict=True)]
        return Swaps(torch.stack([image for image, _ in found]), [problem for _, problem in found])

    def _read(self, pair: PairName, target: Tensor) -> tuple[Tensor, str | None]:
        """A picture, (3, S, S), or the target with the reason why there is none."""
        file = self._files.get(pair.result)
        if file is None:
            return target, NO_RESULT
        try:
            pixels = read_photo(self.root / file)
        except (UnreadablePhoto, OSError):
            return target, "a result that cannot be read"
        if pixels.shape[1] != pixels.shape[2]:
            return target, "a result that is not square"
        return resize(from_uint8(pixels[None]), target.shape[-1])[0].to(target), None


def _found(folder: Path) -> tuple[Path, dict[str, str]]:
    if not folder.is_dir():
        raise UserError(f"{folder} is neither a folder with results nor a CSV that lists them: check the path")
    return folder, {str(PurePosixPath(name).with_suffix("")): name for name in list_photos(folder).names}


def _listed(path: Path) -> tuple[Path, dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [(row["target"], row["source"], row["file"]) for row in csv.DictReader(file)]
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): check the path") from error
    except (KeyError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no list of results: it needs the columns target, source and file") from error
    return path.parent, {result_name(target, source): file for target, source, file in rows}
