"""Sentences and JSON of `contrast`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kdprobe.files import clean
from kdprobe.probing.contrast.measured import ContrastedStudent, Group, shown
from kdprobe.probing.contrast.pairs import ALL, Pairs
from kdprobe.probing.contrast.sites import PART_PHRASES, Site, parts_in
from kdprobe.probing.contrast.tables import change_rows, mean_rows
from kdprobe.stats.least import FEWEST_PROBLEMS
from kdprobe.stats.p_values import SIGNIFICANT
from kdprobe.words import counted, enumerated

_NAMED = 3
"""Differences that a sentence names."""


def statements(
    found: Pairs, untrained: ContrastedStudent, students: Sequence[ContrastedStudent], layers: int, seed: int
) -> list[str]:
    """What was patched, which sites carry the difference in each student, and where the untrained model differs.

    Args:
        found: The pairs.
        untrained: The untrained model.
        students: All others.
        layers: The number of layers of the untrained model.
        seed: Seed of the permutations.
    """
    groups = [Group(untrained.student, [untrained]), *shown(students)]
    return [
        _pairs_sentence(found),
        *_layers_sentences(untrained, layers),
        *(sentence for group in groups for sentence in _group_sentences(group)),
        *(_change_sentence(group, seed) for group in shown(students, untrained)),
        *(
            f"{student.student} compared with {untrained.student}: the patched layers or heads differ, so the two "
            "cannot be compared."
            for student in students
            if student.sites != untrained.sites
        ),
    ]


def summary(untrained: ContrastedStudent, students: Sequence[ContrastedStudent], seed: int) -> dict[str, Any]:
    """Shares and their differences, for JSON: the residual stream by part, everything else at all positions."""
    groups = [Group(untrained.student, [untrained]), *shown(students)]
    return {
        "untrained": untrained.student,
        "pairs": len(untrained.pairs),
        "effects": [
            {"student": group.name, **clean(row)}
            for group in groups
            for row in mean_rows(group, "effect")
            if _brief(row)
        ],
        "changes": [
            {"student": group.name, **clean(row)}
            for group in shown(students, untrained)
            for row in change_rows(group, "effect", seed)
            if _brief(row)
        ],
    }


def _brief(row: dict[str, Any]) -> bool:
    return bool(row["kind"] == "residual") != bool(row["part"] == ALL)


def _pairs_sentence(found: Pairs) -> str:
    parts = parts_in(found.pairs)
    differing = {part: np.mean([(pair.differing & pair.within(part)).sum() for pair in found.pairs]) for part in parts}
    listed = enumerated([f"{mean:.1f} at {PART_PHRASES[part]}" for part, mean in differing.items() if mean])
    left_out = (
        f" {counted(len(found.left_out), 'problem')} without a counterfactual whose tokens align "
        f"{'is' if len(found.left_out) == 1 else 'are'} left out."
        if found.left_out
        else ""
    )
    return (
        f"The students read {counted(len(found.pairs), 'pair')} of a problem and a counterfactual with the same number "
        f"of tokens. On average, {sum(differing.values()):.1f} tokens differ: {listed}.{left_out}"
    )


def _layers_sentences(untrained: ContrastedStudent, total: int) -> Iterator[str]:
    layers = sorted({site.layer for site in untrained.sites})
    if len(layers) < total:
        were = "was" if len(layers) == 1 else "were"
        yield (
            f"{len(layers)} of {total} layers {were} patched: {', '.join(map(str, layers))}. Nothing is known about "
            "any other layer; raise the option `layers` to patch more of them."
        )
    if not any(site.kind == "mlp" for site in untrained.sites):
        yield (
            "MLPs were not patched: kdprobe cannot find them in this architecture, or their output already includes "
            "the residual stream (as in BLOOM)."
        )


def _group_sentences(group: Group) -> Iterator[str]:
    name = _named(group)
    pairs, used = len(group.members[0].pairs), int(group.used("effect").sum())
    clean_runs = np.mean([(member.clean > 0).sum() for member in group.members])
    other_runs = np.mean([(member.other < 0).sum() for member in group.members])
    averaged = ", averaged over seeds" if group.combined else ""
    seeds = " with every seed" if group.combined else ""
    shares = (
        "Effects given as shares (of the difference between the original and the counterfactual run) are averaged "
        f"over the {counted(used, 'problem')} on which the student prefers the right answer in both runs{seeds}; "
        "effects in nats are averaged over all problems."
        if used
        else f"There is no problem on which the student prefers the right answer in both runs{seeds}, so effects are "
        "given only in nats, not as shares of the difference between the runs."
    )
    yield (
        f"{name} prefers the original problem's answer in {_number(clean_runs)} of {pairs:,} original "
        f"{'run' if pairs == 1 else 'runs'} and the counterfactual's answer in {_number(other_runs)} of {pairs:,} "
        f"counterfactual {'run' if pairs == 1 else 'runs'}{averaged}. {shares}"
    )
    # A site that few problems have may come first by chance.
    rows = {_site_of(row): row for row in mean_rows(group, "effect") if row["problems"] >= FEWEST_PROBLEMS}
    if not rows:
        if used:
            yield (
                f"{name}: {counted(used, 'problem')} on which it prefers the right answer in both runs{seeds} "
                f"{'is' if used == 1 else 'are'} too few to tell which sites carry most of the difference between the "
                f"runs; at least {FEWEST_PROBLEMS} are needed."
            )
        return
    streams = [site for site in rows if site.kind == "residual" and site.part != ALL]
    first, last = (edge(site.layer for site in streams) for edge in (min, max))
    carried = [
        max((site for site in streams if site.layer == layer), key=lambda site: rows[site]["value"])
        for layer in dict.fromkeys((first, last))
    ]
    (start, at), *later = [
        (f"before layer {site.layer}", f"at {PART_PHRASES[site.part]} ({_value(rows[site])})") for site in carried
    ]
    yield (
        f"{name}: {start}, the residual stream carries the largest share of the difference between the runs "
        f"{'; '.join([at, *map(', '.join, later)])}."
    )
    largest = []
    for kind, plural in (("mlp", "MLPs"), ("head", "heads")):
        if sites := [site for site in rows if site.kind == kind and site.part == ALL]:
            site = max(sites, key=lambda each: abs(rows[each]["value"]))
            largest.append(f"{site.what} has the largest effect of the patched {plural} ({_value(rows[site])})")
    if largest:
        yield f"{name}: patched at all positions, {', and '.join(largest)}."


def _change_sentence(group: Group, seed: int) -> str:
    against = group.against
    if against is None:
        raise ValueError("The group has no student to compare it with.")
    both = f"{_named(group)} compared with {against.student}"
    used = int(group.used("effect").sum())
    rows = list(change_rows(group, "effect", seed))
    if used < FEWEST_PROBLEMS:
        models = f"with every seed and by {against.student!r}" if group.combined else "by both models"
        told = "is told apart from its counterfactual" if used == 1 else "are told apart from their counterfactuals"
        return (
            f"{both}: {used} of {counted(len(against.pairs), 'problem')} {told} {models}. At least "
            f"{FEWEST_PROBLEMS} such problems are needed to test whether training changed which sites carry the "
            "difference between the runs."
        )
    if not rows:
        return f"{both}: every patched site carries the whole difference by construction, so nothing can differ."
    if not any(row["value"] or row["standard_error"] > 0 for row in rows):
        return f"{both}: no patched site carries a different share of the difference between the runs."
    differing = sorted(
        (row for row in rows if row["p_over_problems"] <= SIGNIFICANT), key=lambda row: -abs(row["value"])
    )
    tested = f"sign-flip test over {used} problems{_of_templates(group)}"
    if not differing:
        largest = max(rows, key=lambda row: abs(row["value"]))
        return (
            f"{both}: the share of the difference between the runs has not changed significantly at any of "
            f"{len(rows)} patched sites ({tested}, adjusted for all sites). The largest change is at "
            f"{_site_of(largest).label}: {_value(largest, '+.2f')}."
        )
    tested += ", for these seeds" if group.combined else ""
    named = "; ".join(f"{_site_of(row).label} ({_value(row, '+.2f')})" for row in differing[:_NAMED])
    most = ", most of all" if len(differing) > _NAMED else ""
    return (
        f"{both}: the share of the difference between the runs has changed significantly at {len(differing)} of "
        f"{len(rows)} patched sites ({tested}, adjusted for all sites){most}: {named}."
    )


def _of_templates(group: Group) -> str:
    """Says that problems stand for their templates alone, if several problems may share a template's effect."""
    names = np.array(group.templates or [])
    used = group.used("effect")
    templates = len(set(names[used].tolist())) if len(names) else int(used.sum())
    if templates == used.sum():
        return ""
    return f", which come from only {counted(templates, 'template')}"


def _site_of(row: dict[str, Any]) -> Site:
    return Site(row["kind"], row["layer"], row["head"], row["part"])


def _named(group: Group) -> str:
    return f"{group.name} ({len(group.members)} seeds)" if group.combined else group.name


def _number(mean: float) -> str:
    return f"{round(float(mean), 1):,g}"


def _value(row: dict[str, Any], form: str = ".2f") -> str:
    interval = f", {row['low']:{form}} to {row['high']:{form}}" if math.isfinite(row["low"]) else ""
    return f"{row['value']:{form}}{interval}"
