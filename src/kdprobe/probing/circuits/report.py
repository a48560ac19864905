"""The results of `circuits`, in sentences and for JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from kdprobe.probing.circuits.arms import SWITCHED, Arm, Direction, arms_of, students_of, towards
from kdprobe.probing.circuits.groups import EVERYTHING, REST
from kdprobe.probing.circuits.leading import CIRCUITS, LAYERS, Family
from kdprobe.probing.circuits.measured import MeasuredStudent
from kdprobe.probing.interventions.sweep import Array
from kdprobe.words import counted, enumerated


def statements(arms: Sequence[Arm], seed: int) -> list[str]:
    """How it was done, and what the groups, layers and single circuits of every student or arm do."""
    folds = int(arms[0].selection.folds.max()) + 1
    first = (
        f" The problems are divided into {folds} folds: on each fold, the part that ranks first on the earlier "
        "folds is measured, so nothing is tested on problems that were used to select it. The first fold is used only "
        "for selection."
        if folds > 1
        else ""
    )
    seeds = (
        " Results of arms with several seeds are averaged over the seeds." if any(arm.combined for arm in arms) else ""
    )
    how = (
        "What training changed (the update) is divided into circuits: the weights of Q and O by query head, those of K "
        "and V by key-value head, and MLPs by layer. Each part of the update has two effects: the mean change in log "
        f"p(gold solution) over {counted(len(arms[0].gain.by_problem), 'problem')} when the part is switched on alone "
        "in the base, and when it is switched off in the student. Where circuits interact, the two effects may differ, "
        f"and the effects of all parts need not add up to the gain from training in either direction.{first}{seeds}"
    )
    return [how, *(sentence for arm in arms for sentence in _of_arm(arm, seed))]


def summary(students: Sequence[MeasuredStudent]) -> dict[str, Any]:
    """Effects on log p(gold solution), means over problems: of all groups, and of the single circuits run exactly.

    Of every student, and of arms with several seeds.
    """
    found = {}
    for each in (*students_of(students), *arms_of(students)):
        groups = [{"group": group.name, "layer": group.layer} for group in each.groups]
        circuits = [{"circuit": kind, "layer": layer, "index": head} for kind, layer, head in each.selection.chosen]
        found[each.name] = {
            "against": each.against,
            "seeds": len(each.members),
            "gain": float(each.gain.means.value[0]),
            "groups": _with_effects(each, groups, each.group_effects),
            "circuits": _with_effects(each, circuits, each.exact_effects),
        }
    return {"students": found}


def _with_effects(arm: Arm, names: list[dict[str, Any]], both: Callable[[Direction], Array]) -> list[dict[str, Any]]:
    rows = [dict(name) for name in names]
    for switched in SWITCHED:
        effects = both(switched)[:, :, : len(names)]
        shares = arm.gain.share_without_interval(towards(switched, effects))[:, 0].tolist()
        for row, effect, share in zip(rows, effects[..., 0].mean(axis=(0, 1)).tolist(), shares, strict=True):
            row[switched] = effect
            row[f"share_{switched}"] = share if np.isfinite(share) else None
    return rows


def _of_arm(arm: Arm, seed: int) -> Iterator[str]:
    name = arm.title
    if arm.same:
        yield f"{name}: training changed no weights, so there is no gain to divide, and all effects are exactly zero."
        return
    yield arm.gain.sentence(name, arm.against)
    closely = f"to within {arm.error:.1g} nats" if arm.error else "exactly"
    yield (
        f"{name}: with the whole update switched on, the base equals the student; with the whole update off, the "
        f"student equals the base ({closely}). {_changed(arm)}"
    )
    groups = [(index, group) for index, group in enumerate(arm.groups) if not group.is_empty]
    parts = [index for index, group in groups if group.layer is None and group.name != EVERYTHING]
    by_layer = [index for index, group in groups if group.layer is not None]
    selection, labels = arm.selection, [group.label for group in arm.groups]
    for switched in SWITCHED:
        family = Family(arm, switched, labels, arm.group_effects(switched), seed)
        yield f"{family.start} {family.listed(parts)}."
        if by_layer:
            before = [by_layer] * len(selection.before)
            yield family.largest(LAYERS, by_layer, before, "groups of circuits, by kind and by layer")
    chosen = range(len(selection.chosen))
    if not chosen:
        return
    for switched in SWITCHED:
        family = Family(arm, switched, [circuit.label for circuit in arm.exact], arm.exact_effects(switched), seed)
        before = [[arm.exact.index(circuit) for circuit in circuits] for circuits in selection.before]
        yield family.largest(CIRCUITS, chosen, before, "single circuits", is_tested=not arm.is_selected)
    if arm.is_selected:
        was, those = ("was", "the one that ranks") if len(chosen) == 1 else ("were", "those that rank")
        folds = "either on all problems or on only the earlier folds" if selection.before else "on all problems"
        yield (
            f"{name}: {len(chosen)} of {counted(len(arm.screened), 'single circuit')} {was} switched: {those} highest "
            f"by a gradient-based estimate, {folds}. Effects are not tested on the problems that were "
            "used for this selection."
        )


def _changed(arm: Arm) -> str:
    """What training left as it was, and what the rest is."""
    unchanged = [
        group.label.removeprefix("all ")
        for group in arm.groups
        if group.layer is None and group.is_empty and group.name not in {EVERYTHING, REST, "attention"}
    ]
    sentences = []
    if unchanged:
        sentences.append(f"Training did not change {enumerated(unchanged)}.")
    if any(group.name == REST and not group.is_empty for group in arm.groups):
        sentences.append(f"Outside the circuits, training changed {enumerated(arm.rest_kinds)}.")
    else:
        sentences.append("Training changed nothing outside the circuits.")
    return " ".join(sentences)
