"""Triplets of drawn people: exact swaps, and any row of their vectors edited with everything else kept."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from idn.data.fstriplets.layout import EDITED_TARGET, PAIRED
from idn.data.fstriplets.manifest import Triplet
from idn.data.loaders import check_template
from idn.data.procedural.parameters import ATTRIBUTES, IDENTITY, index
from idn.data.procedural.renderer import FaceRender, FaceRenderer
from idn.data.stable_draws import seed_of
from idn.errors import OptionError
from idn.files.option_checks import require_int
from idn.images import to_uint8
from idn.triplets.pictures import DRAWN, encode, encode_region
from idn.triplets.work import Made, rounded

_REACH = 5
"""Pixels around which a drawn pixel is mixed with its neighbours, rim and all: a face mask is widened by as much."""
Ranges = Mapping[str, Sequence[float]]


class DrawnPeople:
    """People by number. Each gives pictures with the exact swap of each, and one pair per edit."""

    photographs = False

    def __init__(
        self,
        people: int,
        size: int,
        template: str,
        seed: int,
        renderer: FaceRenderer,
        edits: Mapping[str, Mapping[str, Mapping[str, Ranges]]],
        pictures: int = 2,
    ) -> None:
        """people: how many.

        size, template: of the pictures.
        edits: kind, such as "target_as_gt" -> class -> "before" and "after" -> row of a vector -> lowest and highest
            value in [-1, 1]. Edits of the identity are of "source_as_gt", those of attributes of "target_as_gt".
        pictures: of each person, each with the same picture of somebody else, who is to be swapped for that person.
        Raises OptionError for edits that cannot be.
        """
        require_int("people", people, 1)
        require_int("pictures", pictures, 0)
        check_template(renderer, template)
        self.people, self.size, self.seed, self.renderer, self.pictures = people, size, seed, renderer, pictures
        self.edits = {
            f"{kind}/{name}": _checked(kind, name, versions)
            for kind, classes in edits.items()
            for name, versions in classes.items()
        }
        self.record = {kind: {name: dict(v) for name, v in classes.items()} for kind, classes in edits.items()}

    def jobs(self) -> list[str]:
        """One per person."""
        return [f"person {number:06d}" for number in range(self.people)]

    def facts(self) -> dict[str, Any]:
        """See Work. More people do not change those who were there."""
        drawer = {"drawn.renderer.glasses": self.renderer.glasses, "drawn.renderer.occluders": self.renderer.occluders}
        return {"drawn.edits": self.record, "drawn.pictures": self.pictures, **drawer}

    def make(self, job: int) -> Made:
        """Draw one person."""
        seed = seed_of(f"triplets/{self.seed}/person {job}")
        draw = torch.Generator().manual_seed(seed)
        made, who = Made(), f"person_{job:06d}"
        person, other = self.renderer.sample_identity(2, draw).split(1)
        self._swaps(made, who, seed, person, other, draw)
        for folder, (table, before, after) in self.edits.items():
            self._edit(made, who, seed, folder, (table, before, after), person, draw)
        return made

    def _swaps(self, made: Made, who: str, seed: int, person: Tensor, other: Tensor, draw: torch.Generator) -> None:
        """Pictures of a person, and the same of somebody else, who gives the target."""
        attributes = self.renderer.sample_attributes(self.pictures, draw)
        for number in range(self.pictures):
            shown = attributes[number : number + 1]
            result, target = (self.renderer.render(one, shown, self.size) for one in (person, other))
            region = _widened(torch.maximum(result.face, target.face))
            names = f"{EDITED_TARGET}/original/{who}/{number}.png", f"{EDITED_TARGET}/edited/{who}.other/{number}.png"
            where = f"regions/{EDITED_TARGET}/{who}/{number}.png"
            self._put(made, names, (result, target), (where, region))
            source = f"{EDITED_TARGET}/original/{who}/{(number + 1) % self.pictures}.png"
            made.triplets.append(Triplet(EDITED_TARGET, "swap", seed, {}, source, names[1], names[0], where))

    def _edit(
        self,
        made: Made,
        who: str,
        seed: int,
        folder: str,
        rows: tuple[Any, Ranges, Ranges],
        person: Tensor,
        draw: torch.Generator,
    ) -> None:
        """One picture before and after."""
        table, before, after = rows
        shown = self.renderer.sample_attributes(1, draw)
        random = torch.rand(len({*before, *after}), generator=draw).tolist()
        at = dict(zip(sorted({*before, *after}), random, strict=True))
        drawn: list[FaceRender] = []
        values: dict[str, dict[str, float]] = {"before": {}, "after": {}}
        for version, ranges in zip(values, (before, after), strict=True):
            vectors = {"identity": person.clone(), "attributes": shown.clone()}
            changed = vectors["identity" if table is IDENTITY else "attributes"]
            for row, (low, high) in ranges.items():
                changed[:, index(table, row)] = values[version][row] = round(low + (high - low) * at[row], 4)
            drawn.append(self.renderer.render(vectors["identity"], vectors["attributes"], self.size))
        names = tuple(f"{folder}/{who}.{version}.png" for version in ("original", "edited"))
        region = _widened(torch.maximum(drawn[0].face, drawn[1].face)) if table is IDENTITY else None
        where = None if region is None else f"regions/{folder}/{who}.png"
        self._put(made, names, (drawn[0], drawn[1]), None if region is None else (where, region))
        result = names[0] if table is IDENTITY else names[1]
        made.triplets.append(Triplet(folder, "drawn", seed, values, *names, result, where))

    def _put(
        self,
        made: Made,
        names: tuple[str, ...],
        drawn: tuple[FaceRender, FaceRender],
        region: tuple[str | None, Tensor] | None,
    ) -> None:
        """Add two pictures and the region in which they may differ."""
        for name, one in zip(names, drawn, strict=True):
            made.files[name] = encode(to_uint8(one.image)[0], DRAWN)
            made.landmarks[name] = rounded(one.landmarks[0])
        if region is not None:
            made.files[str(region[0])] = encode_region(region[1][0, 0])


def _widened(face: Tensor) -> Tensor:
    """A mask with a rim of the pixels that it is mixed with. (1, 1, S, S)."""
    return F.max_pool2d(face, _REACH, 1, _REACH // 2)


def _checked(kind: str, name: str, versions: Mapping[str, Ranges]) -> tuple[Any, Ranges, Ranges]:
    """The table whose rows an edit changes, and their ranges before and after. Raises OptionError."""
    where = f"edits.{kind}.{name}"
    if kind not in PAIRED or not isinstance(versions, Mapping) or set(versions) != {"before", "after"}:
        wanted = f"must be of {' or '.join(PAIRED)} and give rows before and after"
        raise OptionError(where, versions, wanted)
    table = IDENTITY if kind == "source_as_gt" else ATTRIBUTES
    known = [dim.name for dim in table]
    for ranges in versions.values():
        for row, span in ranges.items():
            if row not in known:
                what = "no row of an identity" if table is IDENTITY else "no row of the attributes"
                raise OptionError(f"{where}.{row}", list(span), f"is {what}: choose of {', '.join(known)}")
            if len(span) != 2 or not -1 <= span[0] <= span[1] <= 1:
                raise OptionError(f"{where}.{row}", list(span), "must be a lowest and a highest value from -1 to 1")
    return table, versions["before"], versions["after"]
