"""Report of a swap: faces and frames, identity similarity, where the time went, and what failed."""

from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table
from rich.text import Text

from idn.files.photos import printable
from idn.swap.timing import PARTS, Parts


@dataclass
class Report:
    """What was done.

    parts: where the time went.
    """

    parts: Parts = field(default_factory=Parts)
    written: list[str] = field(default_factory=list)
    """Files, in order."""
    pictures: int = 0
    """Photographs and frames of videos that were gone through."""
    earlier: int = 0
    """Of them, frames that an earlier run had done."""
    without_face: int = 0
    """Of them, those in which nothing was swapped."""
    faces: int = 0
    """That were found."""
    swapped: int = 0
    aside: int = 0
    """Chosen ones that stay as they are, because they are turned too far to a side."""
    similarity: list[float] = field(default_factory=list)
    """Cosines of swapped faces to their source, by the model's own encoder; a sample of those of a video."""
    before: list[float] = field(default_factory=list)
    """The same of the faces that they replaced."""
    failed: list[tuple[str, str]] = field(default_factory=list)
    """Files and the reason."""
    notes: list[str] = field(default_factory=list)
    """What else there is to say, a sentence each."""
    seconds: float = 0.0

    def table(self) -> Table:
        """For a console."""
        table = Table("", "", show_header=False)
        now = self.pictures - self.earlier
        per_second = f", {now / self.seconds:.1f} per second" if self.seconds else ""
        before = f", and {self.earlier} by an earlier run" if self.earlier else ""
        table.add_row("pictures", f"{now} in {self.seconds:.1f} s{per_second}{before}")
        if self.without_face:
            table.add_row("nothing swapped in", str(self.without_face))
        table.add_row("faces", f"{self.faces} found, {self.swapped} swapped")
        if self.aside:
            table.add_row("profiles", f"{self.aside} turned too far to a side, left as they were")
        table.add_row("identity", self._identity())
        processor, wall = self.parts.processor, self.parts.wall
        for part in PARTS:
            if wall[part]:
                each = 1000 / max(1, now)
                said = f"{processor[part] * each:.1f} ms of processor, {wall[part] * each:.1f} ms of time per picture"
                table.add_row(part, said)
        for name, reason in self.failed:
            table.add_row("failed", Text(printable(f"{name}: {reason}")))
        for note in self.notes:
            table.add_row("note", Text(printable(note)))
        return table

    def _identity(self) -> str:
        if not self.similarity:
            return "not measured: nothing was swapped, or no encoder is there to ask"
        after = sum(self.similarity) / len(self.similarity)
        known = f", {sum(self.before) / len(self.before):.3f} before" if self.before else ""
        return f"cosine to the source {after:.3f}{known}"

    def show(self) -> None:
        """Print it."""
        Console().print(self.table())
        for path in self.written[:3]:
            print(f"written    {printable(path)}")
        if len(self.written) > 3:
            print(f"           and {len(self.written) - 3} others")
