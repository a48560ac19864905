"""What trials came to, which of them is the best, and what may be said of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from kdprobe.errors import KdprobeError
from kdprobe.experiment.tune.config import Criterion
from kdprobe.stats.bootstrap import mean_interval
from kdprobe.stats.intervals import Interval, accuracy_interval
from kdprobe.stats.mcnemar import PairedTest, paired_test

NAMES: dict[Criterion, str] = {"accuracy": "accuracy", "log-p-gold-value": "log p(gold value)"}


@dataclass(frozen=True)
class Trial:
    """One set of options and what it came to.

    Attributes:
        number: Counted from 0; `None` for the current options where they lie outside the space.
        choice: What was tried, by the names of the space, as the options have it.
        options: All options of the distiller as they were given to it.
        failure: Why there is no student, or `None`.
        n: Validation problems.
        correct: How many were solved.
        accuracy: Their share.
        interval: Of the accuracy, at 95 %.
        log_p_gold_value: The mean over the problems, in nats.
        cut_off: Share of responses that reached the token budget.
        records: One per validation problem.
    """

    number: int | None
    choice: dict[str, Any]
    options: dict[str, Any]
    failure: str | None = None
    n: int = 0
    correct: int = 0
    accuracy: float = math.nan
    interval: Interval | None = None
    log_p_gold_value: float = math.nan
    cut_off: float = math.nan
    records: list[dict[str, Any]] = field(default_factory=list, repr=False)

    def with_records(self, records: list[dict[str, Any]]) -> Trial:
        """This trial with what its student did on the validation problems."""
        correct = int(sum(_column(records, "correct")))
        return replace(
            self,
            n=len(records),
            correct=correct,
            accuracy=correct / len(records),
            interval=accuracy_interval(correct, len(records)),
            log_p_gold_value=float(np.mean(_column(records, "log_p_gold_value"))),
            cut_off=float(np.mean(_column(records, "cut_off"))),
            records=records,
        )

    def value(self, by: Criterion) -> float:
        """The criterion; the larger, the better."""
        return self.accuracy if by == "accuracy" else self.log_p_gold_value


@dataclass(frozen=True)
class Gain:
    """The best trial against the current options, on the same validation problems."""

    test: PairedTest
    log_p_difference: float
    log_p_interval: Interval

    def shown(self, by: Criterion) -> bool:
        """Whether the interval of the criterion's difference is above 0."""
        return (self.test.interval if by == "accuracy" else self.log_p_interval).low > 0


@dataclass(frozen=True)
class Tuned:
    """A finished search.

    Attributes:
        study: Its name.
        database: Where it is kept.
        strategy: Whose transfer set was learned from.
        distiller: What was tuned.
        by: The criterion.
        trials: All of them, in order.
        current: The config's own options.
        best: The best of trials and current options; the current ones where nothing beats them.
        gain: Of the best over the current options, or `None` where these are the best, or failed.
    """

    study: str
    database: Path
    strategy: str
    distiller: str
    by: Criterion
    trials: list[Trial]
    current: Trial
    best: Trial
    gain: Gain | None

    @property
    def improved(self) -> bool:
        """Whether a trial beat the current options."""
        return self.best is not self.current

    def verdict(self) -> list[str]:
        """What the results show, and what they do not."""
        if not self.improved:
            sentences = [f"No trial beat the current options by {NAMES[self.by]}."]
        elif self.gain is None:
            sentences = [f"Trial {self.best.number} is the best; the current options failed: {self.current.failure}."]
        else:
            sentences = _sentences(self.best, self.gain, self.by)
        return [
            *sentences,
            f"The best of {len(self.trials)} trials was chosen by these very problems: its figures flatter it.",
            "No interval here allows for that choice, nor for the one seed that all trials trained with.",
            "The test problems took no part. `kdprobe run` with the best options says what they are worth.",
        ]

    def remark(self) -> str:
        """Where the tuned config comes from, for its first line."""
        source = f"trial {self.best.number} of {len(self.trials)}" if self.improved else "nothing better"
        return (
            f"kdprobe tune, study {self.study}: {source} by {NAMES[self.by]} on {self.best.n} validation problems "
            f"(strategy {self.strategy})."
        )


def result(
    *,
    study: str,
    database: Path,
    strategy: str,
    distiller: str,
    by: Criterion,
    trials: list[Trial],
    current: Trial,
) -> Tuned:
    """Finds the best trial and compares it with the current options.

    Raises:
        KdprobeError: Not one trial left a student.
    """
    students = [trial for trial in (current, *trials) if trial.failure is None]
    if not students:
        raise KdprobeError(
            f"No trial of {study} left a student; with the current options: {current.failure}.",
            "Look at the options that are not tuned, or at lower learning rates.",
        )
    # The first of equals: the current options are not given up for nothing.
    best = max(students, key=lambda trial: trial.value(by))
    gain = None if best is current or current.failure else _gain(best.records, current.records)
    return Tuned(study, database, strategy, distiller, by, trials, current, best, gain)


def _sentences(best: Trial, gain: Gain, by: Criterion) -> list[str]:
    test, between = gain.test, gain.log_p_interval
    interval = f"{between.low:+.3f} to {between.high:+.3f}" if between.known else "too few problems for an interval"
    sentence = (
        f"Trial {best.number} against the current options, on the same {test.n} validation problems: "
        f"{test.difference * 100:+.1f} points of accuracy (95 % interval {test.interval.low * 100:+.1f} to "
        f"{test.interval.high * 100:+.1f}; {test.only_a} problems solved only by it, {test.only_b} only by the other), "
        f"{gain.log_p_difference:+.3f} nats of log p(gold value) ({interval})."
    )
    sentences = [sentence]
    if not gain.shown(by):
        sentences.append(f"The interval of the difference in {NAMES[by]} holds 0: this may well be chance.")
    if by == "log-p-gold-value" and test.difference < 0:
        sentences.append("It solves fewer problems than the current options do: read some of its answers first.")
    return sentences


def _gain(best: list[dict[str, Any]], current: list[dict[str, Any]]) -> Gain:
    differences = np.asarray(_column(best, "log_p_gold_value")) - np.asarray(_column(current, "log_p_gold_value"))
    return Gain(
        test=paired_test(_column(best, "correct"), _column(current, "correct")),
        log_p_difference=float(differences.mean()),
        log_p_interval=mean_interval(differences),
    )


def _column(records: list[dict[str, Any]], name: str) -> list[Any]:
    return [record[name] for record in records]
