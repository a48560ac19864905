"""What training gained on the gold solutions, and the share of it that an effect accounts for."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pandas as pd

from kdprobe.probing.interventions.forward import TARGETS
from kdprobe.probing.interventions.sweep import Array, Sign
from kdprobe.probing.tables import POOLED
from kdprobe.stats.bootstrap import Means, bootstrap, means_over_problems, percentiles


class Gain:
    """Log-probability under a trained student minus that under the first one.

    Args:
        trained: `[problem, target]`, in nats.
        first: The same of the first student.
        seed: Of the bootstrap.
    """

    def __init__(self, trained: Array, first: Array, seed: int) -> None:
        self.by_problem = trained - first
        self.seed = seed

    @cached_property
    def means(self) -> Means:
        """Per target, with intervals over problems."""
        return means_over_problems(self.by_problem, self.seed)

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
        """Effects relative to the gain; their intervals use the same resampled problems for both.

        Args:
            effects: `[problem, ..., target]`, in nats, in the direction of the gain.

        Returns:
            `[..., target]`; NaN if the gain is not significantly different from zero.
        """
        problems = len(effects)
        gain = self.by_problem.reshape(problems, *[1] * (effects.ndim - 2), -1)

        def share(counts: Array) -> Array:
            drawn: Array = np.tensordot(counts, effects, axes=1) / np.tensordot(counts, gain, axes=1)
            return drawn

        with np.errstate(divide="ignore", invalid="ignore"):
            value = effects.mean(axis=0) / gain.mean(axis=0)
            low, high = percentiles(bootstrap(share, problems, seed=self.seed))
        return Means(*(np.where(self.differs, part, np.nan) for part in (value, low, high)))

    def sentence(self, trained: str, first: str) -> str:
        """The gain as a sentence."""
        value, low, high = (float(part[0]) for part in (self.means.value, self.means.low, self.means.high))
        interval = f" ({low:+.2f} to {high:+.2f})" if np.isfinite(low) else ""
        gain = f"log p(gold solution) of {trained} minus that of {first}: {value:+.2f} nats{interval}"
        if self.differs[0]:
            return f"{gain}."
        if not np.isfinite(low):
            return f"{gain}; one problem gives no interval, so shares of it are not reported."
        return f"{gain}; not significantly different from zero, so shares of it are not reported."


def gain_table(student: str, against: str, gain: Gain, problems: list[str]) -> pd.DataFrame:
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
