"""Sentences, figures and JSON of `logit_lens`."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.colors import qualitative

from kdprobe.files import clean
from kdprobe.probing.analysis import Figure
from kdprobe.probing.figures import band
from kdprobe.probing.outputs.differences.parts import SOLUTION
from kdprobe.probing.outputs.lens.measured import Group, LensedStudent, Measure, shown
from kdprobe.probing.outputs.lens.tables import change_rows, mean_rows
from kdprobe.stats.least import FEWEST_PROBLEMS
from kdprobe.stats.p_values import SIGNIFICANT
from kdprobe.words import counted

_TITLES: dict[Measure, str] = {
    "log_p": "Log-probability of the gold token through the logit lens, by layer",
    "kl": "KL from the final distribution to the logit lens, by layer",
}


def statements(untrained: LensedStudent, students: Sequence[LensedStudent], seed: int) -> list[str]:
    """What each student's layers predict, and where that differs from the untrained model's."""
    groups = shown(students)
    return [
        *(_layers_sentence(group) for group in [Group(untrained.student, [untrained]), *groups]),
        *(_change_sentence(group, untrained, seed) for group in groups),
    ]


def summary(untrained: LensedStudent, students: Sequence[LensedStudent], seed: int) -> dict[str, Any]:
    """Means and differences on the whole solutions, for JSON."""
    groups = shown(students)
    same = [group for group in groups if group.layers == untrained.layers]
    return {
        "untrained": untrained.student,
        "layers": [
            {"student": group.name, **clean(row)}
            for group in [Group(untrained.student, [untrained]), *groups]
            for measure in _TITLES
            for row in mean_rows(group, measure, SOLUTION)
        ],
        "changes": [
            {"student": group.name, **clean(row)}
            for group in same
            for measure in _TITLES
            for row in change_rows(group, measure, SOLUTION, untrained, seed)
        ],
    }


def figures(untrained: LensedStudent, students: Sequence[LensedStudent]) -> list[Figure]:
    """Both measures on the whole solutions, one curve per student."""
    groups = [Group(untrained.student, [untrained]), *shown(students)]
    caption = (
        "Mean per token of the gold solutions, in nats; the band is the 95% interval over problems, and over seeds "
    )
    return [
        Figure(title, f"{caption}where a strategy has several.", _curves(groups, measure))
        for measure, title in _TITLES.items()
    ]


def _layers_sentence(group: Group) -> str:
    log_p = list(mean_rows(group, "log_p", SOLUTION))
    kl = list(mean_rows(group, "kl", SOLUTION))
    last = len(kl) - 1
    before = f" and {_value(kl[last - 1])} after layer {last - 1}" if last > 1 else ""
    return (
        f"{_named(group)}: on the gold solutions, the logit lens gives the gold token a log-probability of "
        f"{_value(log_p[0])} after layer 0 and {_value(log_p[last])} after the last layer ({last}). The KL from the "
        f"final distribution to that of the logit lens is {_value(kl[0])} after layer 0{before}."
    )


def _change_sentence(group: Group, untrained: LensedStudent, seed: int) -> str:
    both = f"{_named(group)} compared with {untrained.student}"
    if group.layers != untrained.layers:
        return f"{both}: with {group.layers} and {untrained.layers} layers, they cannot be compared layer by layer."
    rows = list(change_rows(group, "log_p", SOLUTION, untrained, seed))
    if not any(row["value"] or row["standard_error"] > 0 for row in rows):
        return f"{both}: no difference in the log-probability of the gold token after any layer."
    largest = max(rows, key=lambda row: abs(row["value"]))
    most = f"The largest difference is after layer {largest['layer']}: {_value(largest, '+.3g')}."
    problems = largest["problems"]
    if problems < FEWEST_PROBLEMS:
        verb = "is" if problems == 1 else "are"
        few = f"{counted(problems, 'problem')} {verb} too few"
        return f"{both}: {few} to tell after which layers the two differ. {most}"
    differing = [row["layer"] for row in rows if row["p_over_problems"] < SIGNIFICANT]
    if not differing:
        return f"{both}: no significant difference in the log-probability of the gold token after any layer. {most}"
    tested = "sign-flip test over problems" + (", for these seeds" if group.combined else "")
    earliest = ", the earliest being layer" if len(differing) > 1 else ", layer"
    return (
        f"{both}: the log-probability of the gold token differs significantly after {len(differing)} of {len(rows)} "
        f"layers{earliest} {differing[0]} ({tested}, adjusted for all layers). {most}"
    )


def _named(group: Group) -> str:
    return f"{group.name} ({len(group.members)} seeds)" if group.combined else group.name


def _value(row: dict[str, Any], form: str = ".3g") -> str:
    known = math.isfinite(row["low"])
    interval = f"{row['low']:{form}} to {row['high']:{form}}" if known else "too few problems for an interval"
    return f"{row['value']:{form}} nats ({interval})"


def _curves(groups: Sequence[Group], measure: Measure) -> dict[str, Any]:
    figure = go.Figure()
    for index, group in enumerate(groups):
        rows = list(mean_rows(group, measure, SOLUTION))
        layers = [row["layer"] for row in rows]
        colour, name = qualitative.D3[index % len(qualitative.D3)], html.escape(group.name)
        if math.isfinite(rows[0]["low"]):
            figure.add_trace(band(layers, [row["low"] for row in rows], [row["high"] for row in rows], colour, name))
        figure.add_scatter(
            x=layers,
            y=[row["value"] for row in rows],
            mode="lines+markers",
            line={"color": colour},
            legendgroup=name,
            name=name,
        )
    figure.update_layout(xaxis_title="layer", yaxis_title="nats per token")
    data: dict[str, Any] = figure.to_plotly_json()
    return data
