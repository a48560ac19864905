"""The results of trials, the best of them, and what can be said about it."""

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
from kdprobe.words import counted

NAMES: dict[Criterion, str] = {"accuracy": "accuracy", "log-p-gold-value": "log p(gold value)"}


@dataclass(frozen=True)
class Trial:
    """One set of options and its results.

    Attributes:
        number: Counted from 0; `None` for the current options if they lie outside the space.
        choice: The values tried, by the names of the space.
        options: All options given to the distiller.
        failure: Why it produced no student, or `None`.
        n: Number of validation problems.
        correct: Number of problems solved.
        accuracy: Share of problems solved.
        interval: 95% interval of the accuracy.
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
        """This trial with its student's results on the validation problems."""
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
        """The criterion; larger is better."""
        return self.accuracy if by == "accuracy" else self.log_p_gold_value


@dataclass(frozen=True)
class Gain:
    """The best trial compared with the current options on the same validation problems."""

    test: PairedTest
    log_p_difference: float
    log_p_interval: Interval

    def shown(self, by: Criterion) -> bool:
        """Whether the interval of the difference in the criterion is above 0."""
        return (self.test.interval if by == "accuracy" else self.log_p_interval).low > 0


@dataclass(frozen=True)
class Tuned:
    """A finished search.

    Attributes:
        study: Its name.
        database: The file it is stored in.
        strategy: The strategy whose transfer set was used.
        distiller: The distiller that was tuned.
        by: The criterion.
        trials: All of them, in order.
        current: The config's own options.
        best: The best of the trials and the current options; the current options if nothing beats them.
        gain: The best compared with the current options; `None` if these are the best or failed.
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
            return [f"No trial beat the current options on {NAMES[self.by]}.", "The test problems were not used."]
        if self.gain is None:
            sentences = [f"Trial {self.best.number} is the best; the current options failed: {self.current.failure}."]
        else:
            sentences = _sentences(self.best, self.gain, self.by)
        best = "The trial" if len(self.trials) == 1 else f"The best of {len(self.trials)} trials"
        return [
            *sentences,
            f"{best} was chosen on these same problems, so its results are biased upwards.",
            "No interval here accounts for that choice, or for the single seed all trials were trained with.",
            "The test problems were not used. Evaluate the best options on them with `kdprobe run`.",
        ]

    def remark(self) -> str:
        """Where the tuned config comes from, for its first line."""
        source = f"trial {self.best.number} of {len(self.trials)}" if self.improved else "no better options"
        return (
            f"kdprobe tune, study {self.study}: {source}, judged by {NAMES[self.by]} on {self.best.n} validation "
            f"problems (strategy {self.strategy})."
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
        KdprobeError: No trial produced a student.
    """
    students = [trial for trial in (current, *trials) if trial.failure is None]
    if not students:
        raise KdprobeError(
            f"No trial of {study} produced a student; the run with the current options also failed: {current.failure}.",
            "Check the options that are not tuned, or try lower learning rates.",
        )
    # Ties go to the current options, which come first.
    best = max(students, key=lambda trial: trial.value(by))
    gain = None if best is current or current.failure else _gain(best.records, current.records)
    return Tuned(study, database, strategy, distiller, by, trials, current, best, gain)


def _sentences(best: Trial, gain: Gain, by: Criterion) -> list[str]:
    test, between = gain.test, gain.log_p_interval
    interval = f"{between.low:+.3f} to {between.high:+.3f}" if between.known else "no interval"
    sentence = (
        f"Trial {best.number} against the current options, on the same {test.n} validation problems: "
        f"{test.difference * 100:+.1f} points of accuracy (95% interval {test.interval.low * 100:+.1f} to "
        f"{test.interval.high * 100:+.1f}; {counted(test.only_a, 'problem')} solved only by trial {best.number}, "
        f"{test.only_b} only by the current options), "
        f"{gain.log_p_difference:+.3f} nats of log p(gold value) ({interval})."
    )
    sentences = [sentence]
    if not gain.shown(by):
        sentences.append(
            f"The interval of the difference in {NAMES[by]} includes 0, so the difference may well be due to chance."
        )
    if by == "log-p-gold-value" and test.difference < 0:
        sentences.append(
            f"Trial {best.number} solves fewer problems than the current options; read some of its answers first."
        )
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
