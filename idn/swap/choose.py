"""Choice of faces: which face of a picture gets which source, by place, by size, or like a person on a photograph."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from idn.errors import OptionError
from idn.files.option_checks import require_number, require_one_of

WORDS = ("largest", "all", "left_to_right")


class Placed(Protocol):
    """A face of whatever kind, in pixels of its picture."""

    box: Tensor
    """(4,): left, top, right, bottom."""

    @property
    def size(self) -> float:
        """Shorter side of the box."""
        ...


class Choice(NamedTuple):
    """The rule."""

    faces: str | tuple[int, ...] = "largest"
    """ "largest": the first source to the largest face, the next to the next; "all": one source to every face;
    "left_to_right": the first to the leftmost; numbers: the first source to the face of the first number, counted from
    the left, from 0 on."""
    like: Tensor | None = None
    """(P, D): embeddings of the people who are to be replaced, one per source; then `faces` does not count."""
    threshold: float = 0.35
    """Least cosine to such a person."""


def make_choice(
    faces: str | int | Sequence[int], sources: int, like: Tensor | None = None, threshold: float = 0.35
) -> Choice:
    """A rule for that many sources. Raises OptionError for one that cannot work."""
    require_number("threshold", threshold, -1, 1)
    if like is not None:
        if len(like) != sources:
            raise OptionError("like", len(like), f"people to replace, and {sources} sources: give one for each")
        return Choice("all", like, threshold)
    if isinstance(faces, str):
        require_one_of("faces", faces, WORDS)
        if faces == "all" and sources > 1:
            raise OptionError("faces", faces, f"and {sources} sources: choose largest, left_to_right or numbers")
        return Choice(faces)
    numbers = (faces,) if isinstance(faces, int) and not isinstance(faces, bool) else faces
    whole = isinstance(numbers, Sequence) and all(isinstance(n, int) and not isinstance(n, bool) for n in numbers)
    if not whole or not numbers or min(numbers) < 0 or len(set(numbers)) < len(numbers):
        raise OptionError(
            "faces", faces, f"must be one of {', '.join(WORDS)}, or numbers from 0 on, such as 0 or [0,2]"
        )
    if sources > 1 and len(numbers) != sources:
        raise OptionError("faces", list(numbers), f"and {sources} sources: give one number for each")
    return Choice(tuple(numbers))


def assign(choice: Choice, sources: int, faces: Sequence[Placed], seen: Tensor | None = None) -> dict[int, int]:
    """Number of the face -> number of its source, for the faces that are swapped.

    sources: how many there are.
    seen: (K, D) embeddings of the faces, where the choice asks who they are.
    """
    if choice.like is not None:
        return _alike(choice, seen) if len(faces) else {}
    if choice.faces == "all":
        return dict.fromkeys(range(len(faces)), 0)
    if choice.faces == "largest":
        order = sorted(range(len(faces)), key=lambda k: faces[k].size, reverse=True)
    else:
        order = sorted(range(len(faces)), key=lambda k: float(faces[k].box[0] + faces[k].box[2]))
    if isinstance(choice.faces, tuple):
        who = range(len(choice.faces)) if sources > 1 else [0] * len(choice.faces)
        return {order[n]: source for n, source in zip(choice.faces, who, strict=True) if n < len(order)}
    return dict(zip(order, range(sources), strict=False))


def _alike(choice: Choice, seen: Tensor) -> dict[int, int]:
    """The best pairs of faces and people to replace, the surest first, each of both once."""
    likeness = seen @ choice.like.mT
    found: dict[int, int] = {}
    order = likeness.flatten().argsort(descending=True).tolist()
    for face, person in (divmod(index, likeness.shape[1]) for index in order):
        sure = float(likeness[face, person]) >= choice.threshold
        if sure and face not in found and person not in found.values():
            found[face] = person
    return found
