"""The results of `circuits`, in sentences and for JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdprobe.probing.circuits.effects import Switched
from kdprobe.probing.circuits.groups import EVERYTHING, REST
from kdprobe.probing.circuits.measured import MeasuredStudent
from kdprobe.probing.circuits.tables import SWITCHED, tested, towards
from kdprobe.probing.interventions.sweep import Array
from kdprobe.stats.bootstrap import means_over_problems
from kdprobe.stats.least import FEWEST_PROBLEMS
from kdprobe.stats.p_values import SIGNIFICANT
from kdprobe.words import counted, enumerated

_NAMED = 3
_DONE = {"on": "switched on alone in the base", "off": "switched off in the student"}
_WAY = {"on": "in the direction of the gain", "off": "against the gain"}


def statements(students: Sequence[MeasuredStudent], seed: int) -> list[str]:
    """How it was done, and for each student what its groups, layers and single circuits do."""
    how = (
        "What training changed is divided into circuits: the weights of Q and O by query head, those of K and V by "
        "key-value head, and MLPs by layer. Effects are mean changes in log p(gold solution) over "
        f"{counted(len(students[0].gain.by_problem), 'problem')} when such an update is switched on alone in the base, "
        "and when it is switched off in the student. Where circuits interact, the two may differ, and the "
        "effects of parts need not add up to the gain in either direction."
    )
    return [how, *(sentence for each in students for sentence in _of_student(each, seed))]


def summary(students: Sequence[MeasuredStudent]) -> dict[str, Any]:
    """Effects on log p(gold solution), means over problems: of all groups, and of the single circuits run exactly."""
    found = {}
    for each in students:
        groups = [{"group": group.name, "layer": group.layer} for group in each.groups]
        circuits = [{"circuit": kind, "layer": layer, "index": head} for kind, layer, head in each.chosen]
        found[each.student] = {
            "against": each.against,
            "gain": float(each.gain.means.value[0]),
            "groups": _with_effects(each, groups, each.group_effects),
            "circuits": _with_effects(each, circuits, each.exact_effects),
        }
    return {"students": found}


def _with_effects(measured: MeasuredStudent, names: list[dict[str, Any]], both: Switched) -> list[dict[str, Any]]:
    rows = [dict(name) for name in names]
    for switched in SWITCHED:
        effects = getattr(both, switched)[:, : len(names)]
        shares = measured.gain.share(towards(switched, effects)[None]).value[:, 0].tolist()
        for row, effect, share in zip(rows, effects[..., 0].mean(axis=0).tolist(), shares, strict=True):
            row[switched] = effect
            row[f"share_{switched}"] = share if np.isfinite(share) else None
    return rows


@dataclass(frozen=True)
class _Family:
    """Updates that are tested together, switched in one direction.

    Attributes:
        measured: The student.
        switched: `on` or `off`.
        labels: The updates.
        effects: On log p(gold solution), `[problem, update]`, in nats.
        shares: Of the gain, `[update]`; NaN without one.
        p: Adjusted for all updates, `[update]`.
        seed: Of intervals.
    """

    measured: MeasuredStudent
    switched: str
    labels: Sequence[str]
    effects: Array
    shares: Array
    p: Array
    seed: int

    @property
    def start(self) -> str:
        """How sentences begin."""
        return f"{self.measured.student}, {_DONE[self.switched]}:"

    def listed(self, chosen: Sequence[int]) -> str:
        """Effects with intervals and shares."""
        means = means_over_problems(self.effects, self.seed)
        parts = []
        for index in chosen:
            known = np.isfinite(means.low[index])
            interval = f", {means.low[index]:+.2f} to {means.high[index]:+.2f}" if known else ""
            # Without a negative zero.
            share = round(float(self.shares[index]), 2) + 0.0
            of_gain = f", {share:.0%} of the gain" if np.isfinite(share) else ""
            parts.append(f"{self.labels[index]} ({means.value[index]:+.2f} nats{interval}{of_gain})")
        return "; ".join(parts)

    def largest(self, chosen: Sequence[int], what: str, family: str, *, is_tested: bool = True) -> str:
        """The updates that carry most, if their effects are significant.

        Args:
            chosen: The updates in question.
            what: What they are, in words.
            family: All that are tested together, in words.
            is_tested: Whether a test is valid.
        """
        start, shift = f"{self.start} of {what},", f"log p {_WAY[self.switched]}"
        sizes = self.measured.gain.sign * towards(self.switched, self.effects).mean(axis=0)
        order = [index for index in sorted(chosen, key=lambda index: -sizes[index]) if sizes[index] > 0]
        problems = len(self.effects)
        if not is_tested or problems < FEWEST_PROBLEMS:
            if len(chosen) == 1:
                start, most = self.start, f"{self.listed(chosen)} {'shifts' if order else 'does not shift'} {shift}"
            elif not order:
                most = f"none shifts {shift}"
            elif len(order) == 1:
                most = f"only {self.listed(order)} shifts {shift}"
            else:
                most = f"those that shift {shift} most are {self.listed(order[:_NAMED])}"
            too_few = f"; {counted(problems, 'problem')} {'is' if problems == 1 else 'are'} too few for a test"
            return f"{start} {most}{too_few if is_tested else ''}."
        significant = [index for index in order if self.p[index] < SIGNIFICANT]
        if not significant:
            return f"{start} none significantly shifts {shift}."
        verb, most = ("shifts", ":") if len(significant) == 1 else ("shift", ", most of all")
        return (
            f"{start} {len(significant)} of {len(chosen)} significantly {verb} {shift} (sign-flip test over problems, "
            f"adjusted for all {family}){most} {self.listed(significant[:_NAMED])}."
        )


def _family(measured: MeasuredStudent, switched: str, both: Switched, labels: Sequence[str], seed: int) -> _Family:
    effects = getattr(both, switched)
    shares = measured.gain.share(towards(switched, effects)[None]).value[:, 0]
    return _Family(measured, switched, labels, effects[..., 0], shares, tested(effects, seed)[:, 0], seed)


def _of_student(measured: MeasuredStudent, seed: int) -> Iterator[str]:
    name = measured.student
    if measured.same:
        yield f"{name}: training changed no weights, so there is no gain to divide, and all effects are exactly zero."
        return
    yield measured.gain.sentence(name, measured.against)
    closely = f"to within {measured.error:.1g} nats" if measured.error else "exactly"
    yield (
        f"{name}: with everything switched on, the base equals the student, and with everything off, the student "
        f"equals the base ({closely}). {_changed(measured)}"
    )
    groups = [(index, group) for index, group in enumerate(measured.groups) if not group.is_empty]
    parts = [index for index, group in groups if group.layer is None and group.name != EVERYTHING]
    by_layer = [index for index, group in groups if group.layer is not None]
    for switched in SWITCHED:
        labels = [group.label for group in measured.groups]
        family = _family(measured, switched, measured.group_effects, labels, seed)
        yield f"{family.start} {family.listed(parts)}."
        if by_layer:
            yield family.largest(by_layer, "the layers' attention and MLPs", "groups")
    chosen = list(range(len(measured.chosen)))
    if chosen:
        for switched in SWITCHED:
            labels = [circuit.label for circuit in measured.exact]
            family = _family(measured, switched, measured.exact_effects, labels, seed)
            yield family.largest(chosen, _singly(measured), "single circuits", is_tested=not measured.is_selected)
    if chosen and measured.is_selected:
        was, their, they_are = ("was", "its", "it is") if len(chosen) == 1 else ("were", "their", "they are")
        yield (
            f"{name}: {len(chosen)} of {counted(len(measured.screened), 'single circuit')} {was} switched, selected by "
            f"gradient on the problems that {their} effects are measured on, so {they_are} not tested."
        )


def _singly(measured: MeasuredStudent) -> str:
    """Which single circuits were switched."""
    if not measured.is_selected:
        return "the single circuits"
    return f"the {counted(len(measured.chosen), 'single circuit')} that were switched"


def _changed(measured: MeasuredStudent) -> str:
    """What training left as it was, and what the rest is."""
    unchanged = [
        group.label.removeprefix("all ")
        for group in measured.groups
        if group.layer is None and group.is_empty and group.name not in {EVERYTHING, REST, "attention"}
    ]
    sentences = []
    if unchanged:
        sentences.append(f"Training did not change {enumerated(unchanged)}.")
    if any(group.name == REST and not group.is_empty for group in measured.groups):
        sentences.append(f"The rest, outside the circuits, is {enumerated(measured.rest_kinds)}.")
    else:
        sentences.append("It changed nothing outside the circuits.")
    return " ".join(sentences)
