"""What priming does to each head beyond what neutral texts do, and which heads it moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kdprobe.probing.attention.moved import p_over_problems, ranked
from kdprobe.probing.labels import Head
from kdprobe.probing.priming.heads.attending import DIVERGENCE, LEARNED_SINK, MEASURES, PRIMING
from kdprobe.stats.bootstrap import Means, known_mean, means_over_problems
from kdprobe.stats.least import FEWEST_PROBLEMS
from kdprobe.stats.p_values import FEWEST_DRAWS, SIGNIFICANT
from kdprobe.stats.permutations.one_among import one_among

Array = NDArray[np.float64]
TESTED = (DIVERGENCE, PRIMING)
"""The measures by which a head may be moved."""
COMPARED = ("question", "response")
"""The shares on whose keys the divergence is computed."""
BARE, PRIMED, NEUTRAL = 0, 1, 2
"""The index of the bare prompt, of the primed one, and of the first with a neutral text."""
_DECIMALS = 6
"""Digits of a measure that are not rounding errors of float32."""
_PERMUTATIONS = 10_000


@dataclass(frozen=True)
class PrimedHeads:
    """What the teacher's heads attend to under one strategy.

    Attributes:
        strategy: Its name.
        problems: Ids of the problems that were read.
        located: Ids of those in which the question's tokens are found in both prompts.
        priming: Number of tokens that the priming adds, by problem; 0 where the question is not found.
        tokens: Number of tokens of each response.
        values: `[problem, prompt, measure, layer, head]`, measures as in `MEASURES`: after the bare prompt, after the
            primed one, and after those with neutral texts in place of the priming. There are none of these if the
            question is not found for some problem, and then no share of the question or the priming is known.
        smallest: The smallest effect beyond neutral texts that is of interest, by tested measure.
        unprimed: Whether all primed prompts are the bare ones.
        seed: Seed of intervals and permutations.
    """

    strategy: str
    problems: Sequence[str]
    located: Sequence[str]
    priming: Sequence[int]
    tokens: Sequence[int]
    values: Array
    smallest: Mapping[str, float]
    unprimed: bool
    seed: int

    @property
    def neutral_texts(self) -> int:
        """The number of neutral texts."""
        return int(self.values.shape[1]) - NEUTRAL

    @property
    def controlled(self) -> bool:
        """Whether priming can be compared with neutral texts: its tokens are known."""
        return self.neutral_texts > 0

    @property
    def decidable(self) -> bool:
        """Whether any head could count as moved: both tests can reach a small p."""
        return len(self.problems) >= FEWEST_PROBLEMS and self.neutral_texts >= FEWEST_DRAWS

    def of(self, measure: str) -> Array:
        """One measure, `[problem, prompt, layer, head]`."""
        return self.values[:, :, MEASURES.index(measure)]

    def mean(self, measure: str, prompt: int) -> Array:
        """The mean of a measure after a prompt over problems, `[layer, head]`; NaN where it is not known."""
        return known_mean(self.of(measure)[:, prompt], 0)

    def neutral(self, measure: str) -> Array:
        """The mean of a measure over neutral texts and problems, `[layer, head]`; NaN without any."""
        return known_mean(self.neutral_by_problem(measure), 0)

    def beyond(self, measure: str) -> Means:
        """The measure after the primed prompt minus its mean after neutral texts, with intervals over problems."""
        return means_over_problems(self._beyond(measure), self.seed)

    def change(self, measure: str) -> Means:
        """The measure after the primed minus that after the bare prompt, with intervals over problems."""
        values = self.of(measure)
        return means_over_problems(values[:, PRIMED] - values[:, BARE], self.seed)

    @cached_property
    def p_over_problems(self) -> Mapping[str, Array]:
        """P of a sign-flip test over problems by measure, adjusted for all heads and both measures, `[layer, head]`."""
        differences = np.concatenate([self._beyond(measure) for measure in TESTED], axis=1).round(_DECIMALS)
        p = p_over_problems(differences, _PERMUTATIONS, self.seed)
        return dict(zip(TESTED, np.split(p, len(TESTED)), strict=True))

    @cached_property
    def p_over_texts(self) -> Mapping[str, Array]:
        """P of the priming among neutral texts by measure, adjusted for all heads and both measures, `[layer, head]`.

        NaN without neutral texts, and for heads in which a value is not known.
        """
        means = np.stack([self.of(measure)[:, PRIMED:] for measure in TESTED]).mean(axis=1).round(_DECIMALS)
        by_text = np.moveaxis(means, 1, 0)
        known = np.isfinite(by_text).all(axis=0)
        p = np.full(known.shape, np.nan)
        if self.controlled:
            smallest = np.broadcast_to(np.reshape([self.smallest[each] for each in TESTED], (-1, 1, 1)), known.shape)
            p[known] = one_among(by_text[:, known], smallest[known])
        return dict(zip(TESTED, p, strict=True))

    def moved(self, measure: str) -> NDArray[np.object_]:
        """Whether priming moves each head by a tested measure, `[layer, head]`; None if this cannot be told."""
        over_problems, over_texts = self.p_over_problems[measure], self.p_over_texts[measure]
        effect = self.beyond(measure).value
        found = np.full(effect.shape, None, dtype=object)
        if self.unprimed:
            found[:] = False
        elif self.decidable:
            known = np.isfinite(over_problems) & np.isfinite(over_texts)
            significant = (over_problems <= SIGNIFICANT) & (over_texts <= SIGNIFICANT)
            found[known] = (significant & (effect >= self.smallest[measure]) & (effect > 0))[known]
        return found

    def moved_heads(self, measure: str) -> list[Head]:
        """The heads that priming moves by a measure, the largest effect first."""
        found = self.moved(measure)
        return [head for head in ranked(self.beyond(measure).value) if found[head]]

    def neutral_by_problem(self, measure: str) -> Array:
        """The mean of a measure over neutral texts, `[problem, layer, head]`; NaN without any."""
        values = self.of(measure)[:, NEUTRAL:]
        return values.mean(axis=1) if self.controlled else np.full_like(self.of(measure)[:, BARE], np.nan)

    def divided_out(self, prompt: int) -> float:
        """The mean share of attention after a prompt that is on keys which the divergence does not compare."""
        shares = [np.nan_to_num(self.of(measure)[:, prompt]) for measure in COMPARED]
        return float(1 - np.sum(shares, axis=0).mean())

    @property
    def sinks(self) -> bool:
        """Whether heads give attention to learned sinks, which are no tokens."""
        return bool(self.of(LEARNED_SINK).any())

    def _beyond(self, measure: str) -> Array:
        return self.of(measure)[:, PRIMED] - self.neutral_by_problem(measure)
