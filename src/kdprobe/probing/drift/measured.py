"""What was measured of each student: sums of divergences and token counts of every sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kdprobe.probing.drift.prompts import Kind
from kdprobe.probing.drift.sampling import Sample
from kdprobe.stats.clustered import ClusteredMean, clustered_mean
from kdprobe.stats.crossed_means import crossed_difference, crossed_mean
from kdprobe.students.replicates import with_enough_seeds

Direction = Literal["forward", "reverse"]
Array = NDArray[np.float64]
_FEWEST = 2


@dataclass(frozen=True)
class Measured:
    """The divergence of one student in one direction, on text after one kind of prompt.

    Attributes:
        student: The student's name.
        arm: Its arm.
        seed: Its training seed.
        direction: `forward`, KL(untrained || student) on text of the untrained model; or `reverse`, KL(student ||
            untrained) on text of the student.
        kind: The kind of prompt.
        samples: The text.
        sums: The sum of the divergence over the tokens of each sample, `[sample]`, in nats.
    """

    student: str
    arm: str
    seed: int
    direction: Direction
    kind: Kind
    samples: Sequence[Sample]
    sums: Array

    @property
    def prompts(self) -> int:
        """The number of prompts."""
        return len({sample.prompt for sample in self.samples})

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of tokens of each sample."""
        return np.array([len(sample.tokens) for sample in self.samples])

    @property
    def by_prompt(self) -> tuple[Array, NDArray[np.int64]]:
        """Sums and numbers of tokens of each prompt, `[prompt]`."""
        sums, lengths = self.sums.reshape(self.prompts, -1), self.lengths.reshape(self.prompts, -1)
        return sums.sum(axis=1), lengths.sum(axis=1)

    @property
    def mean(self) -> ClusteredMean:
        """The mean per token, in nats, with its interval over prompts; no divergence is below 0."""
        return clustered_mean(*self.by_prompt)

    @property
    def noise(self) -> float:
        """The standard error that comes from sampling text, with these prompts; NaN with one sample per prompt."""
        residuals = (self.sums - self.mean.value * self.lengths).reshape(self.prompts, -1)
        count = residuals.shape[1]
        if count < _FEWEST:
            return np.nan
        return float(np.sqrt(count * residuals.var(axis=1, ddof=1).sum()) / self.lengths.sum())


def difference(a: Measured, b: Measured) -> ClusteredMean:
    """The mean of one student minus that of another on the same text, paired by prompt."""
    (sums, sizes), (others, _) = a.by_prompt, b.by_prompt
    return clustered_mean(sums - others, sizes)


def strategy_mean(members: Sequence[Measured]) -> ClusteredMean:
    """The mean of a strategy's students, three or more, with its interval over seeds and prompts."""
    return crossed_mean(*_stacked(members))


def strategy_difference(a: Sequence[Measured], b: Sequence[Measured]) -> ClusteredMean:
    """The mean of one strategy's students minus that of another's on the same text."""
    return crossed_difference(_stacked(a), _stacked(b))


def strategies(measured: Sequence[Measured]) -> dict[str, list[Measured]]:
    """The arms with enough students for an interval over seeds; at least two prompts are also needed."""
    arms = with_enough_seeds(measured)
    return {arm: members for arm, members in arms.items() if members[0].prompts >= _FEWEST}


def _stacked(members: Sequence[Measured]) -> tuple[Array, NDArray[np.int64]]:
    totals = [each.by_prompt for each in members]
    return np.stack([sums for sums, _ in totals]), np.stack([sizes for _, sizes in totals])
