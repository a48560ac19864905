"""Sentences about the parts of an update that carry most of the gain.

The part that ranks first on some problems looks larger there than it is, so its effect is measured on others: on each
fold of the problems, the part that ranks first on the earlier folds is measured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from kdprobe.probing.circuits.arms import Arm, Direction, adjusted_p, means_of, towards
from kdprobe.probing.circuits.selection import first_before
from kdprobe.probing.interventions.sweep import Array
from kdprobe.stats.bootstrap import Means
from kdprobe.stats.least import FEWEST_PROBLEMS
from kdprobe.stats.p_values import SIGNIFICANT
from kdprobe.words import counted

_NAMED = 3
LAYERS = ("attention block or MLP", "attention blocks and MLPs")
CIRCUITS = ("single circuit", "single circuits")
"""Candidates, in the singular and in the plural."""
_DONE = {"on": "with each part switched on alone in the base", "off": "with each part switched off in the student"}
_WAY = {"on": "in the direction of the gain", "off": "against the gain"}


@dataclass(frozen=True)
class Family:
    """Updates that are tested together, switched in one direction.

    Attributes:
        arm: The student, or the arm.
        switched: The direction.
        labels: The updates.
        effects: `[seed, problem, update, target]`, in nats; sentences are about the gold solution.
        seed: Of intervals and tests.
    """

    arm: Arm
    switched: Direction
    labels: Sequence[str]
    effects: Array
    seed: int

    @property
    def start(self) -> str:
        """How sentences begin."""
        return f"{self.arm.title}, {_DONE[self.switched]}:"

    def listed(self, chosen: Sequence[int]) -> str:
        """Effects with intervals and shares."""
        means = means_of(self.effects, self.seed)
        shares = self.arm.gain.share_without_interval(towards(self.switched, self.effects))
        return "; ".join(f"{self.labels[index]} ({', '.join(_sized(means, shares, index))})" for index in chosen)

    def largest(
        self,
        what: tuple[str, str],
        candidates: Collection[int],
        before: Sequence[Collection[int]],
        family: str,
        *,
        is_tested: bool = True,
    ) -> str:
        """The updates that carry most, if their effects are significant, and that of the first on other problems.

        Args:
            what: What the candidates are, in the singular and in the plural.
            candidates: The updates in question.
            before: For each fold but the first, those that may rank first on the earlier folds.
            family: All that are tested together, in words.
            is_tested: Whether their effects may be tested on all problems, since they were not selected on these.
        """
        shift, everyone = f"log p {_WAY[self.switched]}", f"the {len(candidates)} {what[1]}"
        sizes = self.arm.gain.sign * towards(self.switched, self.effects[..., 0]).mean(axis=(0, 1))
        order = [index for index in sorted(candidates, key=lambda index: -sizes[index]) if sizes[index] > 0]
        problems = self.effects.shape[1]
        few = f"{counted(problems, 'problem')} {'is' if problems == 1 else 'are'} too few for a test"
        if len(candidates) == 1 and (is_tested or not before) and problems < FEWEST_PROBLEMS:
            return (
                f"{self.start} {self.listed([*candidates])} {'shifts' if order else 'does not shift'} {shift}; {few}."
            )
        if not before:
            many, verb = len(order) or "none", "shift" if len(order) > 1 else "shifts"
            named = f": {self._named(order)}" if order else ""
            return f"{self.start} {many} of {everyone} {verb} {shift}{named}. {few}."
        first = f"the {what[0]} that ranks first on the earlier folds {self._on_later_folds(before)}."
        if not is_tested or problems < FEWEST_PROBLEMS:
            return f"{self.start} {first}"
        p = adjusted_p(self.effects, self.seed)[:, 0]
        significant = [index for index in order if p[index] < SIGNIFICANT]
        test = f"sign-flip test over problems{self._seeds}, adjusted for all {family}"
        if len(candidates) == 1:
            verb = "significantly shifts" if significant else "does not significantly shift"
            return f"{self.start} {self.listed([*candidates])} {verb} {shift} ({test})."
        if not significant:
            return f"{self.start} none of {everyone} significantly shifts {shift} ({test})."
        verb = "shifts" if len(significant) == 1 else "shift"
        found = f"{self.start} {len(significant)} of {everyone} significantly {verb} {shift} ({test})"
        return f"{found}: {self._named(significant)}. T{first[1:]}"

    def _named(self, order: Sequence[int]) -> str:
        """The first labels, which can contain commas."""
        most = "most of all " if len(order) > _NAMED else ""
        return most + "; ".join(self.labels[index] for index in order[:_NAMED])

    def _on_later_folds(self, before: Sequence[Collection[int]]) -> str:
        """What the update that ranks first on the earlier folds does on the later ones."""
        folds, gain = self.arm.selection.folds, self.arm.gain
        mean = towards(self.switched, self.effects[..., 0].mean(axis=0))
        picked = first_before(mean, gain.by_problem[:, 0], folds, before)
        problems = np.flatnonzero(picked >= 0)
        effects = self.effects[:, problems, picked[problems]]
        means = means_of(effects, self.seed)
        shares = gain.on(problems).share_without_interval(towards(self.switched, effects))
        carries = gain.sign * towards(self.switched, means.value[0]) > 0
        way = _WAY[self.switched if carries else "off" if self.switched == "on" else "on"]
        counts = Counter(int(picked[folds == fold][0]) for fold in range(1, len(before) + 1))
        names = [
            self.labels[index] + (f" for {counted(count, 'fold')}" if len(counts) > 1 else "")
            for index, count in counts.most_common()
        ]
        what, (size, *known) = f"({'; '.join(names)})", _sized(means, shares, ())
        size += f" ({', '.join(known)})" if known else ""
        if len(problems) < FEWEST_PROBLEMS:
            few = f"{counted(len(problems), 'problem')} {'is' if len(problems) == 1 else 'are'} too few for a test"
            return f"{what} shifts log p by {size} on the later folds; {few}"
        p = float(adjusted_p(effects[:, :, None], self.seed)[0, 0])
        test = f"sign-flip test over {len(problems)} problems{self._seeds}, p = {p:.2g}"
        if p < SIGNIFICANT:
            return f"{what} significantly shifts log p {way} on the later folds, by {size} ({test})"
        return f"{what} does not significantly shift log p on the later folds: {size} ({test})"

    @property
    def _seeds(self) -> str:
        return ", for these seeds" if self.arm.combined else ""


def _sized(means: Means, shares: Array, index: int | tuple[()]) -> list[str]:
    """An effect on log p(gold solution), and its interval and share if they are known."""
    value, low, high, share = (
        float(np.asarray(part[..., 0])[index]) for part in (means.value, means.low, means.high, shares)
    )
    interval = [f"{low:+.2f} to {high:+.2f}"] if np.isfinite(low) else []
    # Without a negative zero.
    of_gain = [f"{round(share, 2) + 0.0:.0%} of the gain"] if np.isfinite(share) else []
    return [f"{value:+.2f} nats", *interval, *of_gain]
