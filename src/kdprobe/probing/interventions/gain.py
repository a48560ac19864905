"""What training gained on the gold solutions, and the share of it that an effect accounts for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pandas as pd

from kdprobe.probing.interventions.forward import TARGETS
from kdprobe.probing.interventions.sweep import Array, Sign
from kdprobe.probing.tables import POOLED
from kdprobe.stats.bootstrap import Means
from kdprobe.stats.crossed_means import estimated_means, ratio_of_means


class Gain:
    """Log-probability under a trained student minus that under the first one.

    Args:
        by_seed: The difference, `[seed, problem, target]`, in nats; one seed, or at least three.
    """

    def __init__(self, by_seed: Array) -> None:
        self.by_seed = by_seed

    @classmethod
    def between(cls, trained: Array, first: Array) -> Gain:
        """The gain of one student, from both log-probabilities, `[problem, target]`."""
        return cls((trained - first)[None])

    @classmethod
    def over_seeds(cls, gains: Sequence[Gain]) -> Gain:
        """The gain of a strategy with at least three seeds, or that of its only student."""
        return cls(np.concatenate([gain.by_seed for gain in gains]))

    def on(self, problems: np.ndarray) -> Gain:
        """The gain on some of the problems, given by their indices."""
        return Gain(self.by_seed[:, problems])

    @property
    def by_problem(self) -> Array:
        """The mean over seeds, `[problem, target]`."""
        mean: Array = self.by_seed.mean(axis=0)
        return mean

    @cached_property
    def means(self) -> Means:
        """Per target, with intervals over problems, and over seeds where there are several."""
        return estimated_means(self.by_seed).means

    @property
    def sign(self) -> Sign:
        """Whether training raised or lowered the log-probability of the solutions."""
        return -1 if self.means.value[0] < 0 else 1

    @property
    def differs(self) -> np.ndarray:
        """Whether the gain differs from zero, so that shares exist: its interval excludes zero, `[target]`."""
        differs: np.ndarray = (self.means.low > 0) | (self.means.high < 0)
        return differs

    def share(self, effects: Array) -> Means:
        """Effects relative to the gain, with Fieller's intervals, which are valid with few problems.

        Args:
            effects: `[seed, problem, ..., target]`, in nats, in the direction of the gain.

        Returns:
            `[..., target]`; NaN if the gain is not significantly different from zero.
        """
        seeds, problems = effects.shape[:2]
        gain = self.by_seed.reshape(seeds, problems, *[1] * (effects.ndim - 3), -1)
        found = ratio_of_means(effects, gain)
        return Means(*(np.where(self.differs, part, np.nan) for part in (found.value, found.low, found.high)))

    def share_without_interval(self, effects: Array) -> Array:
        """The same without intervals, which take longer to find, `[..., target]`."""
        with np.errstate(divide="ignore", invalid="ignore"):
            value: Array = effects.mean(axis=(0, 1)) / self.means.value
        return np.where(self.differs, value, np.nan)

    def sentence(self, trained: str, first: str) -> str:
        """The gain as a sentence."""
        value, low, high = (float(part[0]) for part in (self.means.value, self.means.low, self.means.high))
        interval = f" ({low:+.2f} to {high:+.2f})" if np.isfinite(low) else ""
        gain = f"log p(gold solution) of {trained} minus that of {first}: {value:+.2f} nats{interval}"
        if self.differs[0]:
            return f"{gain}."
        if not np.isfinite(low):
            return f"{gain}; with one problem there is no interval, so effects are not given as shares of this gain."
        return f"{gain}; not significantly different from zero, so effects are not given as shares of this gain."


def gain_table(student: str, against: str, gain: Gain, problems: Sequence[str]) -> pd.DataFrame:
    """Columns student, against, metric, problem, value, low, high."""
    rows = []
    for target, name in enumerate(TARGETS):
        metric = f"log_p_gold_{name}"
        interval = (gain.means.value[target], gain.means.low[target], gain.means.high[target])
        rows.append((student, against, metric, POOLED, *interval))
        rows += [
            (student, against, metric, problem, value, np.nan, np.nan)
            for problem, value in zip(problems, gain.by_problem[:, target], strict=True)
        ]
    return pd.DataFrame(rows, columns=["student", "against", "metric", "problem", "value", "low", "high"])
