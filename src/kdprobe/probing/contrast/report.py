"""Sentences and JSON of `contrast`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kdprobe.files import clean
from kdprobe.probing.contrast.measured import ContrastedStudent, Group, shown
from kdprobe.probing.contrast.pairs import ALL, Pairs
from kdprobe.probing.contrast.sites import Site, parts_in
from kdprobe.probing.contrast.tables import change_rows, mean_rows
from kdprobe.stats.least import FEWEST_PROBLEMS
from kdprobe.stats.p_values import SIGNIFICANT
from kdprobe.words import counted

_NAMED = 3
"""Differences that a sentence names."""


def statements(
    found: Pairs, untrained: ContrastedStudent, students: Sequence[ContrastedStudent], layers: int, seed: int
) -> list[str]:
    """What was patched, where each student computes the answer, and where that differs from the untrained model.

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
            f"{student.student} against {untrained.student}: they have different layers or heads, so these cannot be "
            "compared."
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
    listed = ", ".join(f"{part.replace('_', ' ')} {mean:.1f}" for part, mean in differing.items() if mean)
    left_out = (
        f" {counted(len(found.left_out), 'problem')} without a counterfactual whose tokens align "
        f"{'is' if len(found.left_out) == 1 else 'are'} left out."
        if found.left_out
        else ""
    )
    return (
        f"{counted(len(found.pairs), 'pair')} of a problem and a counterfactual of equal length, which differ in these "
        f"numbers of tokens on average: {listed}.{left_out}"
    )


def _layers_sentences(untrained: ContrastedStudent, total: int) -> Iterator[str]:
    layers = sorted({site.layer for site in untrained.sites})
    if len(layers) < total:
        yield (
            f"{len(layers)} of {total} layers were patched: {', '.join(map(str, layers))}. Nothing is known about the "
            "others; `layers` patches more."
        )
    if not any(site.kind == "mlp" for site in untrained.sites):
        yield "MLPs were not patched: those of this architecture are not found, or also write the residual stream."


def _group_sentences(group: Group) -> Iterator[str]:
    name = _named(group)
    pairs, used = len(group.members[0].pairs), int(group.used("effect").sum())
    clean_runs = np.mean([(member.clean > 0).sum() for member in group.members])
    other_runs = np.mean([(member.other < 0).sum() for member in group.members])
    averaged = ", averaged over seeds" if group.combined else ""
    shares = (
        f"Shares are means over the {counted(used, 'problem')} on which it does both"
        f"{' with every seed' if group.combined else ''}; effects in nats are means over all."
        if used
        else "It does both on none of them, so there are only effects in nats, and no shares."
    )
    yield (
        f"{name} prefers the clean answer in {clean_runs:.3g} of {pairs} clean runs and the counterfactual answer in "
        f"{other_runs:.3g} of {pairs} counterfactual runs{averaged}. {shares}"
    )
    rows = {_site_of(row): row for row in mean_rows(group, "effect")}
    if not rows:
        return
    streams = [site for site in rows if site.kind == "residual" and site.part != ALL]
    first, last = (edge(site.layer for site in streams) for edge in (min, max))
    carried = [
        max((site for site in streams if site.layer == layer), key=lambda site: rows[site]["value"])
        for layer in dict.fromkeys((first, last))
    ]
    single = [
        max(
            (site for site in rows if site.kind == kind and site.part == ALL),
            key=lambda site: abs(rows[site]["value"]),
            default=None,
        )
        for kind in ("mlp", "head")
    ]
    named = [f"{site.label} ({_value(rows[site])})" for site in (*carried, *single) if site is not None]
    yield f"{name}: the largest shares of the difference between the runs are carried by {'; '.join(named)}."


def _change_sentence(group: Group, seed: int) -> str:
    against = group.against
    if against is None:
        raise ValueError("A change is against a student.")
    both = f"{_named(group)} against {against.student}"
    used = int(group.used("effect").sum())
    rows = list(change_rows(group, "effect", seed))
    if used < FEWEST_PROBLEMS:
        verb = "is" if used == 1 else "are"
        return (
            f"{both}: {counted(used, 'problem')} whose runs both tell apart {verb} too few to tell whether training "
            "changed where the answer is computed."
        )
    if not any(row["value"] or row["standard_error"] > 0 for row in rows):
        return f"{both}: no difference in where the answer is computed at any site."
    differing = sorted(
        (row for row in rows if row["p_over_problems"] < SIGNIFICANT), key=lambda row: -abs(row["value"])
    )
    if not differing:
        largest = max(rows, key=lambda row: abs(row["value"]))
        return (
            f"{both}: no difference in where the answer is computed is shown at any of {len(rows)} sites (sign-flip "
            f"test over {used} problems, adjusted for all sites). The largest is at {_site_of(largest).label}: "
            f"{_value(largest, '+.2f')}."
        )
    tested = f"sign-flip test over {used} problems{', for these seeds' if group.combined else ''}"
    named = "; ".join(f"{_site_of(row).label} ({_value(row, '+.2f')})" for row in differing[:_NAMED])
    return (
        f"{both}: the share that a site carries differs at {len(differing)} of {len(rows)} sites ({tested}, adjusted "
        f"for all sites), most at {named}."
    )


def _site_of(row: dict[str, Any]) -> Site:
    return Site(row["kind"], row["layer"], row["head"], row["part"])


def _named(group: Group) -> str:
    return f"{group.name} ({len(group.members)} seeds)" if group.combined else group.name


def _value(row: dict[str, Any], form: str = ".2f") -> str:
    interval = f", {row['low']:{form}} to {row['high']:{form}}" if math.isfinite(row["low"]) else ""
    return f"{row['value']:{form}}{interval}"
