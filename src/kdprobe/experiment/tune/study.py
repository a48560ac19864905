"""The Optuna study behind `kdprobe tune`, in SQLite: what to try next, and what became of it.

A kill loses nothing: a trial that was under way is handed out again with the same choice. The sampler is seeded for
every trial anew, from the study's seed and the number of trials before it, so that a study that was interrupted asks
for the same trials as one that was not.
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
"""Random trials before TPE begins, Optuna's own default; fixed here because it decides what is tried."""


@dataclass(frozen=True)
class Tried:
    """A trial that is over.

    Attributes:
        number: Counted from 0.
        choice: What was tried, as the sampler proposed it.
        value: The criterion, or `None` where the trial failed.
        failure: Why it failed, or `None`.
    """

    number: int
    choice: dict[str, Any]
    value: float | None
    failure: str | None


@dataclass(frozen=True)
class Asked:
    """A trial that is under way: its number, the choice to try, and Optuna's own number."""

    number: int
    choice: dict[str, Any]
    handle: int


class Study:
    """Asks Optuna what to try, and tells it what became of it.

    Args:
        study: Optuna's study, which maximises.
        space: What is varied; the config's own options are tried first where they lie in it.
        sampler: `tpe` or `random`.
        seed: Of the sampler.
    """

    def __init__(self, study: optuna.Study, space: Space, sampler: str, seed: int) -> None:
        self._study, self._space, self._sampler, self._seed = study, space, sampler, seed
        self._distributions = {name: _distribution(name, values) for name, values in space.varied.items()}

    def tried(self) -> list[Tried]:
        """The trials that are over, in order."""
        reasons = self._study.user_attrs
        return [
            Tried(number, dict(trial.params), trial.value, reasons.get(_failure(trial.number)))
            for number, trial in enumerate(self._in("COMPLETE", "PRUNED"))
        ]

    def ask(self) -> Asked:
        """What to try next: what a kill left under way, else the config's own options, else the sampler's proposal."""
        number = len(self._in("COMPLETE", "PRUNED"))
        for trial in self._in("RUNNING"):
            if set(trial.params) == set(self._distributions):
                return Asked(number, dict(trial.params), trial.number)
            # Killed before its choice was written down: nothing was done, and nothing is counted.
            self._tell(trial.number, "FAIL")
        if number == 0 and self._space.holds_current() and not self._in("WAITING"):
            self._study.enqueue_trial(self._space.current)
        self._study.sampler = _sampler(self._sampler, self._seed, number)
        asked = self._study.ask(self._distributions)
        return Asked(number, dict(asked.params), asked.number)

    def tell(self, asked: Asked, value: float) -> None:
        """A trial is over, with this value of the criterion."""
        self._study.tell(asked.handle, value)

    def tell_failed(self, asked: Asked, reason: str) -> None:
        """A trial is over without a value; the sampler takes it for worse than any other."""
        self._study.set_user_attr(_failure(asked.handle), reason)
        # Optuna leaves failed trials out of account and would propose their like again; pruned ones it learns from.
        self._tell(asked.handle, "PRUNED")

    def _tell(self, handle: int, state: str) -> None:
        from optuna.trial import TrialState

        self._study.tell(handle, state=TrialState[state])

    def _in(self, *states: str) -> list[FrozenTrial]:
        from optuna.trial import TrialState

        return self._study.get_trials(deepcopy=False, states=tuple(TrialState[state] for state in states))


@contextmanager
def open_study(file: Path, name: str, space: Space, *, sampler: str, seed: int) -> Iterator[Study]:
    """Opens a study, or begins it; no other process works on studies of this file meanwhile.

    Args:
        file: The database.
        name: Of the study; whatever decides its trials is in it.
        space: What is varied.
        sampler: `tpe` or `random`.
        seed: Of the sampler.

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
            # Errors of three libraries mean the same here: this is no database of studies, or of another version's.
            raise KdprobeError(
                f"The database of studies {file} cannot be read ({type(error).__name__}).",
                "Move it away; the stages of its trials are kept, and the study goes through them quickly.",
            ) from error
        try:
            yield Study(study, space, sampler, seed)
        finally:
            storage.remove_session()
            storage.engine.dispose()


@contextmanager
def _hushed() -> Iterator[None]:
    """Optuna tells every trial on stderr; kdprobe tells them itself."""
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
