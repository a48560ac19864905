"""Sentences, figures and JSON of `drift`."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.colors import qualitative

from kdprobe.files import clean
from kdprobe.probing.analysis import Figure
from kdprobe.probing.drift.measured import Measured, strategies
from kdprobe.probing.drift.prompts import KINDS, Kind
from kdprobe.probing.drift.sampling import Sample
from kdprobe.probing.drift.tables import BOTH, DIRECTIONS, drift_rows, pair_rows
from kdprobe.probing.figures import error_bars
from kdprobe.probing.options import DriftOptions
from kdprobe.words import counted

_TEXTS: dict[Kind, str] = {"task": "the task's prompts", "neutral": "neutral prompts"}
_TITLES = {
    "forward": "Drift on the untrained model's text",
    "reverse": "Drift on the students' own text",
}


def statements(
    measured: Sequence[Measured],
    written: Mapping[str, Sequence[Sample]],
    untrained: str,
    options: DriftOptions,
    seed: int,
) -> list[str]:
    """What was measured on which text, each student's or strategy's drift, and what is wrong with the text."""
    rows = {(row["student"], row["direction"], row["text"]): row for row in shown_rows(measured, untrained)}
    names = list(dict.fromkeys(name for name, _, _ in rows))
    return [
        _text_sentence(written[untrained], untrained, options, seed),
        *(_drift_sentence(name, rows, untrained) for name in names),
        *_fault_sentences(written, options),
    ]


def figures(measured: Sequence[Measured], untrained: str) -> list[Figure]:
    """The drift of all students in each direction, with intervals."""
    rows = shown_rows(measured, untrained)
    captions = {
        "forward": f"KL({untrained} || student) per token, in nats, on text that {untrained!r} wrote, the same for all "
        "students.",
        "reverse": f"KL(student || {untrained}) per token, in nats, on text that each student wrote.",
    }
    return [
        Figure(
            _TITLES[direction],
            f"{caption} Error bars are 95% intervals over prompts, and over seeds where a strategy has several.",
            _bars([row for row in rows if row["direction"] == direction]),
        )
        for direction, caption in captions.items()
    ]


def summary(measured: Sequence[Measured], untrained: str) -> dict[str, Any]:
    """The tables `drift` and `drift_pairs` for JSON."""
    return {
        "untrained": untrained,
        "drift": clean(drift_rows(measured, untrained)),
        "pairs": clean(pair_rows(measured)),
    }


def shown_rows(measured: Sequence[Measured], untrained: str) -> list[dict[str, Any]]:
    """A row per strategy with at least three seeds, and one per student of any other arm."""
    combined = strategies([each for each in measured if (each.direction, each.kind) == (DIRECTIONS[0], KINDS[0])])
    members = {each.student for several in combined.values() for each in several}
    rows = [row for row in drift_rows(measured, untrained) if row["over"] == BOTH or row["student"] not in members]
    # In the order of the students, not with all strategies last.
    order = list(dict.fromkeys(each.arm if each.student in members else each.student for each in measured))
    return sorted(rows, key=lambda row: order.index(row["student"]))


def _text_sentence(samples: Sequence[Sample], untrained: str, options: DriftOptions, seed: int) -> str:
    parts = []
    for kind in KINDS:
        of_kind = [sample for sample in samples if sample.prompt.kind == kind]
        prompts = len({sample.prompt.id for sample in of_kind})
        noun, about = ("test prompt", "") if kind == "task" else ("neutral prompt", " (unrelated to the task)")
        tokens = sum(len(sample.tokens) for sample in of_kind)
        parts.append(f"{tokens:,} tokens in all after {counted(prompts, noun)}{about}")
    return (
        f"After each prompt, {untrained!r} wrote {counted(options.samples, 'sample')} of up to "
        f"{options.max_new_tokens} tokens at temperature 1 (seed {seed}): {' and '.join(parts)}. "
        f"KL({untrained} || student) is measured on this text. KL(student || {untrained}) is measured on text that "
        "each student wrote in the same way."
    )


def _drift_sentence(name: str, rows: Mapping[tuple[str, str, str], Mapping[str, Any]], untrained: str) -> str:
    parts = [
        f"KL({of}) per token is "
        + " and ".join(f"{_value(rows[name, direction, kind])} on {_TEXTS[kind]}" for kind in KINDS)
        for direction, of in (("forward", f"{untrained} || {name}"), ("reverse", f"{name} || {untrained}"))
    ]
    seeds = rows[name, "forward", "task"]["seeds"]
    over = f" (mean of {seeds} seeds)" if seeds > 1 else ""
    return f"{name}{over}: {'; '.join(parts)}."


def _value(row: Mapping[str, Any]) -> str:
    interval = f"{row['low']:.3g} to {row['high']:.3g}" if math.isfinite(row["low"]) else "no interval"
    return f"{row['value']:.3g} nats ({interval})"


def _fault_sentences(written: Mapping[str, Sequence[Sample]], options: DriftOptions) -> list[str]:
    cut = {name: sum(not sample.finished for sample in samples) for name, samples in written.items()}
    empty = {name: sum(sample.empty for sample in samples) for name, samples in written.items()}
    sentences = []
    if any(cut.values()):
        listed = ", ".join(f"{name} {count} of {len(written[name])}" for name, count in cut.items() if count)
        sentences.append(
            f"Samples cut off at {options.max_new_tokens} tokens: {listed}. Drift after that point is not measured."
        )
    if any(empty.values()):
        listed = ", ".join(f"{name} {count} of {len(written[name])}" for name, count in empty.items() if count)
        sentences.append(f"Samples with nothing but the end of the turn, which count as one token: {listed}.")
    return sentences


def _bars(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    figure = go.Figure()
    for index, kind in enumerate(KINDS):
        of_kind = [row for row in rows if row["text"] == kind]
        figure.add_bar(
            x=[html.escape(row["student"]) for row in of_kind],
            y=[row["value"] for row in of_kind],
            name=_TEXTS[kind],
            marker={"color": qualitative.D3[index]},
            error_y=error_bars(of_kind),
        )
    figure.update_layout(barmode="group", yaxis_title="nats per token", xaxis={"type": "category"})
    data: dict[str, Any] = figure.to_plotly_json()
    return data
