"""The runs of a sweep (`idn VERB -m`): each tells how it ended, one that fails stops nobody, a table at the end."""

import contextlib
import math
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from idn.cli.instantiate import run_dir
from idn.cli.options.typed import SWEEPING
from idn.errors import Hopeless, UserError
from idn.sweeps.outcomes import Notes, Outcome, Reached, remove_products


class Sweep:
    """The runs of a sweep: one that fails is noted, and the others go on.

    verb: which they obey.
    names: of the options in which its runs differ.
    notes: file of the outcomes, where launchers that work in other processes write them, too.
    explain: one sentence for an error that a user can mend, None for others.
    keep_losers: whether runs that are not the best keep their checkpoints and products.
    """

    def __init__(
        self,
        verb: str,
        names: Sequence[str],
        notes: Path,
        explain: Callable[[Exception], str | None],
        keep_losers: bool = True,
    ) -> None:
        self.verb, self.names, self.explain, self.keep_losers = verb, set(names), explain, keep_losers
        self.notes = Notes(notes)

    def tried(self, run: Callable[[], Any]) -> Any:
        """The result of one run; NaN, which sweepers that search take for a failure, if it has none."""
        outcome, began = self._begun(), time.monotonic()
        self.notes.add(outcome)

        def ended(**changes: Any) -> Outcome:
            fields = vars(outcome) | {"minutes": round((time.monotonic() - began) / 60, 3)} | changes
            made = Outcome(**fields)
            self.notes.add(made)
            if not self.keep_losers:
                self._clear()
            return made

        try:
            result = run()
            if not isinstance(result, Reached):
                ended(state="finished")
                return result
            ended(state="finished", values=result.values, objectives=result.objectives)
            numbers = [result.values[key] for key in result.objectives]
            return numbers[0] if len(numbers) == 1 else numbers
        except Hopeless as end:
            ended(state="hopeless", reason=str(end))
        except Exception as error:  # whatever it is, the other runs go on
            reason = self.explain(error)
            if reason is None:
                traceback.print_exc()
                reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'see above'}"
            failure = ended(state="failed", reason=reason)
            print(f"idn: {failure.line(self.notes.path.parent)}", file=sys.stderr)
        return math.nan

    def _begun(self) -> Outcome:
        """What is known of the run that begins."""
        typed = HydraConfig.get().overrides.task
        folder, root = run_dir(), self.notes.path.parent
        name = str(folder.relative_to(root)) if folder.is_relative_to(root) else str(folder)
        options = [word for word in typed if word.partition("=")[0] in self.names]
        command = [self.verb, *(word for word in typed if not word.startswith((*SWEEPING, "resume=")))]
        return Outcome(name, options, command)

    def _clear(self) -> None:
        """Leave products to the best alone."""
        from idn.sweeps.ranking import best

        outcomes = self.notes.read()
        with contextlib.suppress(UserError):  # of runs that cannot be compared, which the end of the sweep tells
            remove_products(self.notes.path.parent, outcomes, best(outcomes))

    def finish(self) -> None:
        """Print the table. Raises UserError, with a line for each run that failed, or if none has ended."""
        outcomes = self.notes.read()
        ended = [one for one in outcomes if one.state != "unfinished"]
        if not ended:
            raise UserError("no run has told how it ended: see what its launcher says of it")
        if any(one.objectives for one in ended):
            from idn.sweeps.table import print_sweep

            print_sweep(outcomes)
            print(f"more: idn sweep-report {self.notes.path.parent}")
        if failures := [one for one in ended if one.state == "failed"]:
            lines = "".join(f"\n  {failure.line(self.notes.path.parent)}" for failure in failures)
            raise UserError(f"{len(failures)} of {len(ended)} runs failed:{lines}")
