"""Progress bars of a swap: pictures of a folder, or frames of a video with frames per second and the time left."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


class _Rate(ProgressColumn):
    """Units per second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        """Draw the figure."""
        return Text(f"{task.speed:.1f} {self._unit}/s" if task.speed else "")


@contextmanager
def bar(unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar while this lasts, and what tells it how many units are done, and how many there are, 0 for unknown."""
    columns = TextColumn("swapping"), BarColumn(), MofNCompleteColumn(), _Rate(unit), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("swapping", total=None)

        def tell(done: int, total: int) -> None:
            progress.update(task, completed=done, total=max(done, total) or None)

        yield tell
