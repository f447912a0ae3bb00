"""The search of a sweep: Optuna's ask and tell around Hydra's launcher; a killed one goes on where it was."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from filelock import FileLock, Timeout
from hydra.core.utils import JobStatus
from omegaconf import DictConfig

from idn.cli.next_commands import spelled
from idn.cli.options.typed import SWEEPING
from idn.cli.sweeps.search import STUDY, directions, open_storage, search_space, storage_url
from idn.errors import OptionError, UserError
from idn.files.option_checks import require_int
from idn.files.run_folder import newest_checkpoint
from idn.sweeps.outcomes import NOTES, Notes, remove_states

if TYPE_CHECKING:
    import optuna

STOPPED, FOLDER, CONTINUES, WORDS = "stopped", "folder", "continues", "words"
"""What is noted of trials, and of the study: that a kill ended it; whose it is; whose state it goes on from; what was
typed."""

Launch = Callable[[Sequence[Sequence[str]], int], Sequence[Any]]
"""Runs with options of their own, the number of the first of them -> what Hydra says of each."""


class Settings(Protocol):
    """What a sweeper is given; see `OptunaSweeper`."""

    sampler: Any
    pruner: Any
    study_name: str | None
    trials: int
    parallel: int
    config: DictConfig


class Search:
    """A search in the folder of a sweep.

    sweeper: with its options and the whole config.
    options: what is searched, and what is the same for all runs.
    folder: of the sweep.
    Raises UserError for options that cannot be searched with, a storage that cannot be opened, and for a study that
    was begun with others.
    """

    def __init__(self, sweeper: Settings, options: Sequence[str], folder: Path) -> None:
        for name in ("trials", "parallel"):
            require_int(f"hydra.sweeper.{name}", getattr(sweeper, name), 1)
        config = sweeper.config
        if "metric" not in config:
            raise UserError("a search needs a verb that trains, which reaches something")
        self.trials, self.parallel, self.folder = sweeper.trials, sweeper.parallel, folder.resolve()
        self.keep_losers = bool(config.keep_losers)
        self.space, self.fixed = search_space(options)
        wanted = directions(config.metric)
        if len(wanted) > 1 and sweeper.pruner is not None:
            raise UserError("with several metrics no run is ended early: add hydra.sweeper.pruner=null")
        self.study = self._study(sweeper, wanted)
        self._check_same(sorted(word for word in options if not word.startswith(SWEEPING)))

    def _study(self, sweeper: Settings, wanted: Sequence[str]) -> "optuna.Study":
        url = storage_url(sweeper.config.hydra)
        storage = open_storage(url)
        import optuna

        try:
            return optuna.create_study(
                storage=storage,
                study_name=sweeper.study_name or STUDY,
                sampler=sweeper.sampler,
                pruner=sweeper.pruner,
                directions=wanted,
                load_if_exists=True,
            )
        except ValueError as error:
            raise OptionError("hydra.sweeper.storage", url, f"holds a study of another kind ({error})") from error

    def _check_same(self, words: list[str]) -> None:
        """Raise UserError if the study that goes on was begun with other options, which its trials would not share."""
        known = self.study.user_attrs.get(WORDS)
        if known is None:
            self.study.set_user_attr(WORDS, words)
        elif known != words:
            changed = " ".join(sorted({*known} ^ {*words}))
            raise UserError(
                f"this search was begun with other options (now different: {changed}): give those of then, or another "
                "hydra.sweep.dir"
            )

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While nobody else works in the folder of this sweep. Raises UserError if somebody does."""
        lock = FileLock(self.folder / ".search.lock", timeout=0)
        try:
            with lock:
                yield
        except Timeout:
            raise UserError(f"another process works on the sweep in {self.folder}: wait for it, or end it") from None

    def run(self, launch: Launch) -> None:
        """Try until there are enough trials. Raises UserError if the launcher cannot start any."""
        self._take_up()
        while (left := self.trials - self._count()) > 0:
            asked = [self.study.ask(self.space) for _ in range(min(self.parallel, left))]
            for trial in asked:
                trial.set_user_attr(FOLDER, str(self.folder))
                self._note_killed(trial)
            try:
                returned = launch([self._job(trial) for trial in asked], asked[0].number)
            except Exception as error:  # of a launcher: one of its runs was killed, or it does not work at all
                self._tell_broken(asked, error)
                continue
            for trial, job in zip(asked, returned, strict=True):
                self._tell(trial, job._return_value if job.status == JobStatus.COMPLETED else None)

    def _take_up(self) -> None:
        """Ask anew for what was going on when this sweep was killed; its runs go on from their last states.

        The sampler begins with another seed: with that of before it would propose the first trials once more.
        """
        from optuna.trial import TrialState

        if self.study.get_trials(deepcopy=False):
            self.study.sampler.reseed_rng()
        for trial in self.study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            if trial.user_attrs.get(FOLDER, str(self.folder)) != str(self.folder):  # of another sweep, that lives
                continue
            self.study.enqueue_trial(trial.params, {CONTINUES: trial.number})
            self.study._storage.set_trial_user_attr(trial._trial_id, STOPPED, True)
            self.study.tell(trial.number, state=TrialState.FAIL)

    def _killed(self, trial: Any) -> "Iterator[optuna.trial.FrozenTrial]":
        """The trials that a trial goes on from: the last one that was killed, and those before it."""
        while (before := trial.user_attrs.get(CONTINUES)) is not None:
            trial = self.study.get_trials(deepcopy=False)[before]
            yield trial

    def _note_killed(self, trial: "optuna.Trial") -> None:
        """Say of the run that this one goes on from which one that is."""
        killed, notes = next(self._killed(trial), None), Notes(self.folder / NOTES)
        for outcome in notes.read() if killed is not None else ():
            if outcome.folder == str(killed.number):
                notes.add(replace(outcome, reason=f"was killed, and went on as run {trial.number}"))

    def _count(self) -> int:
        """Trials that have ended, but for those that were stopped and asked for anew."""
        ended = [trial for trial in self.study.get_trials(deepcopy=False) if trial.state.is_finished()]
        return sum(STOPPED not in trial.user_attrs for trial in ended)

    def _job(self, trial: "optuna.Trial") -> list[str]:
        """The options of a run."""
        given = [
            f"{name}={value if isinstance(value, str) else spelled(value)}" for name, value in trial.params.items()
        ]
        saved = (newest_checkpoint(self.folder / str(before.number)) for before in self._killed(trial))
        state = next(filter(None, saved), None)
        resumed = [] if state is None else [f"resume={spelled(str(state))}"]
        return [*self.fixed, *given, *resumed, f"hydra.sweep.subdir={trial.number}"]

    def _tell(self, trial: "optuna.Trial", value: Any) -> None:
        """What a run has reached, NaN or anything else for one that failed; of one that was ended early it is known."""
        from optuna.trial import TrialState

        for killed in self._killed(trial) if not self.keep_losers else ():
            remove_states(self.folder / str(killed.number))
        values = value if isinstance(value, list) else [value]
        if all(isinstance(one, int | float) and math.isfinite(one) for one in values):
            self.study.tell(trial, [float(one) for one in values], skip_if_finished=True)
        else:
            self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)

    def _tell_broken(self, asked: Sequence["optuna.Trial"], error: Exception) -> None:
        """Of runs whose launcher broke off, those that have ended count. Raises UserError if none had begun."""
        known = {one.folder: one for one in Notes(self.folder / NOTES).read()}
        begun = [known[str(trial.number)] for trial in asked if str(trial.number) in known]
        said = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        for trial in asked:
            outcome = known.get(str(trial.number))
            ended = outcome is not None and outcome.state == "finished"
            self._tell(trial, [outcome.values[key] for key in outcome.objectives] if ended else None)
        if not begun:
            raise UserError(f"the launcher could not start a run ({type(error).__name__}: {said})") from error
        notes = Notes(self.folder / NOTES)
        for outcome in begun:
            if outcome.state == "unfinished":
                reason = f"its process has ended ({said})"
                notes.add(replace(outcome, state="failed", reason=reason))
