"""Procedural pairs for evaluation: drawn people whom no training and no validation shows, with the exact swap."""

from typing import Any

from idn.data.loaders import check_size, check_template
from idn.data.procedural import FaceRenderer, ProceduralSwaps
from idn.evaluation.pairs.pair_set import PairName, Pairs, PairSet
from idn.files.option_checks import require_int
from idn.types import join_batches

EVALUATION_SEED = 2_000_003
"""Added to the seed, so that no item of a training or of its validation repeats these people."""
_TOGETHER = 8
"""People who are drawn together: each is the source of one pair and the target of another."""


class ProceduralPairs(PairSet):
    """Pairs of drawn people, each of whom is a source once, with the exact swap and the exact face region."""

    def __init__(self, renderer: FaceRenderer, pairs: int, size: int, template: str, seed: int) -> None:
        """pairs: how many.
        renderer: what draws them.
        size, template: of the crops.
        seed: which people.
        Raises OptionError for a template in which nothing is drawn, and for numbers that cannot be.
        """
        check_template(renderer, template)
        check_size(size)
        require_int("pairs", pairs, 2)
        require_int("seed", seed)
        names = [_name(number) for number in range(pairs)]
        facts: dict[str, Any] = {"seed": seed, "glasses": renderer.glasses, "occluders": renderer.occluders}
        super().__init__("procedural", names, size, template, False, facts, {})
        self._items = ProceduralSwaps(renderer, size, _TOGETHER, seed + EVALUATION_SEED, same_ratio=0.0)

    def load(self, rows: range) -> Pairs:
        """See `PairSet`. Numbers from the middle of those who are drawn together cost as much as all of them."""
        samples, drawn, item = [], None, -1
        for row in rows:
            if row // _TOGETHER != item:
                item = row // _TOGETHER
                drawn = self._items[item]
            place = row % _TOGETHER
            samples.append(drawn.take(slice(place, place + 1)))
        return Pairs([self.names[row] for row in rows], join_batches(samples))


def _name(number: int) -> PairName:
    item, place = divmod(number, _TOGETHER)
    source, target = (f"p{item * _TOGETHER + (place + step) % _TOGETHER:06d}" for step in (0, 1))
    return PairName(target, source, target, source)
