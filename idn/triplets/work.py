"""What makes triplets: numbered jobs, each of which answers with pictures and with what is known of them."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from idn.data.fstriplets.manifest import Triplet


@dataclass
class Made:
    """What a job made, nothing of it on disk yet; paths are relative to the folder of the triplets."""

    status: str = "ok"
    """"ok", or in a word why there is nothing."""
    reason: str | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    """Path -> content."""
    links: dict[str, str] = field(default_factory=dict)
    """Path -> that of `files` with the same content."""
    triplets: list[Triplet] = field(default_factory=list)
    landmarks: dict[str, list[list[float]]] = field(default_factory=dict)
    """Five (x, y) in normalised coordinates, by picture."""
    passed_over: dict[str, str] = field(default_factory=dict)
    """Edits that could not be made, and why."""


class Work(Protocol):
    """Jobs of one kind. A job depends on nothing but its number and what the work was built of."""

    photographs: bool
    """Whether it shows more than drawn faces."""

    def jobs(self) -> list[str]:
        """Names of all jobs, in order, unique among all works."""
        ...

    def make(self, job: int) -> Made:
        """Do one."""
        ...

    def facts(self) -> dict[str, Any]:
        """What the pixels depend on beside the seed, the size and the template, as plain values."""
        ...


def rounded(points: Any) -> list[list[float]]:
    """Landmarks, (5, 2), as a manifest has them."""
    return [[round(float(v), 5) for v in point] for point in points]
