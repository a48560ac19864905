"""The Optuna study behind `kdprobe tune`, in SQLite: what to try next, and how it turned out.

An interruption loses nothing: an unfinished trial is handed out again with the same choice. The sampler is seeded anew
for every trial, from the study's seed and the number of trials before it, so that an interrupted study asks for the
same trials as an uninterrupted one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdprobe.errors import KdprobeError
from kdprobe.experiment.integrity.upkeep import exclusive
from kdprobe.experiment.tune.config import RANGES
from kdprobe.experiment.tune.space import LOGARITHMIC, Space

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

STARTUP = 10
"""Random trials before TPE starts: Optuna's own default, fixed here because it determines what is tried."""


@dataclass(frozen=True)
class Tried:
    """A finished trial.

    Attributes:
        number: Counted from 0.
        choice: The choice that was tried, as the sampler proposed it.
        value: The criterion, or `None` if the trial failed.
        failure: Why it failed, or `None`.
    """

    number: int
    choice: dict[str, Any]
    value: float | None
    failure: str | None


@dataclass(frozen=True)
class Asked:
    """A trial in progress: its number, its choice, and Optuna's own number."""

    number: int
    choice: dict[str, Any]
    handle: int


class Study:
    """Asks Optuna what to try, and reports back how it turned out.

    Args:
        study: Optuna's study, which maximises.
        space: What is varied; the config's own options are tried first if they lie in it.
        sampler: `tpe` or `random`.
        seed: The seed of the sampler.
    """

    def __init__(self, study: optuna.Study, space: Space, sampler: str, seed: int) -> None:
        self._study, self._space, self._sampler, self._seed = study, space, sampler, seed
        self._distributions = {name: _distribution(name, values) for name, values in space.varied.items()}

    def tried(self) -> list[Tried]:
        """The finished trials, in order."""
        reasons = self._study.user_attrs
        return [
            Tried(number, dict(trial.params), trial.value, reasons.get(_failure(trial.number)))
            for number, trial in enumerate(self._in("COMPLETE", "PRUNED"))
        ]

    def ask(self) -> Asked:
        """The next trial: one that was interrupted, if any; otherwise a new one.

        The first trial has the config's own options, if the space contains them; the sampler proposes the others.
        """
        number = len(self._in("COMPLETE", "PRUNED"))
        for trial in self._in("RUNNING"):
            if set(trial.params) == set(self._distributions):
                return Asked(number, dict(trial.params), trial.number)
            # Killed before its choice was recorded: nothing was done, and it does not count.
            self._tell(trial.number, "FAIL")
        if number == 0 and self._space.holds_current() and not self._in("WAITING"):
            self._study.enqueue_trial(self._space.current)
        self._study.sampler = _sampler(self._sampler, self._seed, number)
        asked = self._study.ask(self._distributions)
        return Asked(number, dict(asked.params), asked.number)

    def tell(self, asked: Asked, value: float) -> None:
        """Records a finished trial with its value of the criterion."""
        self._study.tell(asked.handle, value)

    def tell_failed(self, asked: Asked, reason: str) -> None:
        """Records a trial that failed; the sampler treats it as worse than any other."""
        self._study.set_user_attr(_failure(asked.handle), reason)
        # Optuna ignores failed trials and would propose similar ones again; it does learn from pruned ones.
        self._tell(asked.handle, "PRUNED")

    def _tell(self, handle: int, state: str) -> None:
        from optuna.trial import TrialState

        self._study.tell(handle, state=TrialState[state])

    def _in(self, *states: str) -> list[FrozenTrial]:
        from optuna.trial import TrialState

        return self._study.get_trials(deepcopy=False, states=tuple(TrialState[state] for state in states))


@contextmanager
def open_study(file: Path, name: str, space: Space, *, sampler: str, seed: int) -> Iterator[Study]:
    """Opens or starts a study; meanwhile no other process works on studies in this file.

    Args:
        file: The database.
        name: The study's name, which depends on everything that determines its trials.
        space: What is varied.
        sampler: `tpe` or `random`.
        seed: The seed of the sampler.

    Raises:
        KdprobeError: The database cannot be read.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    waiting = f"Another process is tuning {file.stem}; waiting for it."
    with exclusive(file.with_suffix(".lock"), waiting), _hushed():
        import optuna

        try:
            storage = optuna.storages.RDBStorage(f"sqlite:///{file.absolute()}")
            study = optuna.create_study(
                storage=storage,
                study_name=name,
                direction="maximize",
                pruner=optuna.pruners.NopPruner(),
                load_if_exists=True,
            )
        except Exception as error:
            # Three libraries may raise here, all for the same reason: not a study database, or another version's.
            raise KdprobeError(
                f"Cannot read the study database {file} ({type(error).__name__}).",
                "Move it elsewhere and rerun: the stages of its trials are kept, so the study catches up quickly.",
            ) from error
        try:
            yield Study(study, space, sampler, seed)
        finally:
            storage.remove_session()
            storage.engine.dispose()


@contextmanager
def _hushed() -> Iterator[None]:
    """Silences Optuna's reports on every trial, since kdprobe prints its own."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _distribution(name: str, values: list[Any]) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if name in RANGES:
        return FloatDistribution(values[0], values[1], log=name in LOGARITHMIC)
    return CategoricalDistribution(values)


def _sampler(kind: str, seed: int, number: int) -> BaseSampler:
    from optuna.samplers import RandomSampler, TPESampler

    own = int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:4])
    return TPESampler(seed=own, n_startup_trials=STARTUP) if kind == "tpe" else RandomSampler(seed=own)


def _failure(handle: int) -> str:
    return f"failure-{handle}"
