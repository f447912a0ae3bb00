"""Showing batches more than once: drawing them, and asking frozen networks about them, costs a third of a step.

Data echoing, Choi et al. (arXiv:1907.05550). What is kept of a batch in between: `idn.training.modules.frozen_answers`.
"""

from collections.abc import Iterable, Iterator

from idn.types import Kept, SwapBatch

WINDOW = 4
"""Steps with batches of their own before these are shown again."""


def window(times: int) -> int:
    """Steps with batches of their own in a row; 1 where nothing is shown again."""
    return WINDOW if times > 1 else 1


class ShownAgain:
    """The batches of `loader`, `window` of them in turn, each `times` times, with room for what is said of them.

    first: showings of the first window that are left out; its batches are loaded all the same.
    """

    def __init__(self, loader: Iterable[SwapBatch], times: int, window: int, first: int) -> None:
        self.loader, self.times, self.window, self.first = loader, times, window, first

    def __iter__(self) -> Iterator[SwapBatch]:
        """As many as the loader has."""
        batches, first = iter(self.loader), self.first
        while True:
            shown: list[SwapBatch] = []
            for showing in range(self.window * self.times):
                if showing < self.window:
                    batch = next(batches, None)
                    if batch is None:
                        return
                    shown.append(batch._replace(kept=Kept()))
                if showing >= first:
                    yield shown[showing % self.window]
            first = 0
