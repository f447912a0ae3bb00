"""Shuffling by windows: people are drawn out of a few shards at a time, so that each shard is read once per round."""

import numpy as np
import torch

from idn.data.packed import Runs
from idn.data.stable_draws import seed_of

_LEAST = 2
"""People of a window: a pair takes two."""


class Windows:
    """Which people the item of a stream is drawn from; depends on nothing but the shards, the stream and the number.

    A round shows the shards in an order of its own, some of them at a time, with as many items as these have
    photographs.
    """

    def __init__(self, people: Runs, shards: np.ndarray, width: int, stream: str) -> None:
        """people: of one part. shards: (P,) the shard of every photograph. width: shards of a window.

        stream: what the order of the shards depends on, with the round.
        """
        self.people, self.width, self.stream = people, width, stream
        owners = shards[people.begins]
        self._by_shard = np.argsort(owners, kind="stable")
        self.shards, first, self._people_in = np.unique(owners[self._by_shard], return_index=True, return_counts=True)
        self._first = first
        self._photos_in = np.add.reduceat(people.sizes()[self._by_shard], first)
        self._round, self._ends, self._windows = -1, np.empty(0, np.int64), []
        self._place, self._drawn = (-1, -1), people

    def draw_from(self, item: int) -> tuple[Runs, list[int]]:
        """The people of an item, and the shards that come after theirs, to be fetched early; an empty list if they are
        the same as of the item asked for before."""
        turn, rest = divmod(item, int(self._photos_in.sum()))
        if turn != self._round:
            self._round, (self._windows, self._ends) = turn, self._order(turn)
        window = int(np.searchsorted(self._ends, rest, side="right"))
        if (turn, window) == self._place:
            return self._drawn, []
        self._place, self._drawn = (turn, window), self._people_of(self._windows[window])
        following = self._windows[window + 1 : window + 2] or self._order(turn + 1)[0][:1]
        return self._drawn, self.shards[following[0]].tolist()

    def _order(self, turn: int) -> tuple[list[np.ndarray], np.ndarray]:
        """The windows of a round, each the places of its shards, and the number of items up to the end of each."""
        generator = torch.Generator().manual_seed(seed_of(f"{self.stream}/shards/{turn}"))
        order = torch.randperm(len(self.shards), generator=generator).numpy()
        windows: list[np.ndarray] = []
        for begin in range(0, len(order), self.width):
            window = order[begin : begin + self.width]
            if windows and min(self._people_in[window].sum(), self._people_in[windows[-1]].sum()) < _LEAST:
                window = np.concatenate([windows.pop(), window])
            windows.append(window)
        return windows, np.cumsum([self._photos_in[window].sum() for window in windows])

    def _people_of(self, window: np.ndarray) -> Runs:
        places = [self._by_shard[self._first[k] : self._first[k] + self._people_in[k]] for k in window]
        return self.people.take(np.sort(np.concatenate(places)))
