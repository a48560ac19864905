"""The analysis `attention`: what chosen heads attend to, token by token, on one problem."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from torch import Tensor

from kdprobe.errors import UsageError
from kdprobe.probing.analysis import AnalysisContext, AnalysisResult, Figure
from kdprobe.probing.attention.moved import ranked
from kdprobe.probing.labels import Head, head_label
from kdprobe.probing.options import AttentionOptions
from kdprobe.probing.patterns.real_keys import sink_sentences
from kdprobe.words import counted

if TYPE_CHECKING:
    from kdprobe.students.bridge import BridgedStudent

Patterns = NDArray[np.float32]
"""Attention of one student on one sequence, `[layer, head, query, key]`."""
Shown = tuple[list[str], dict[str, Patterns], dict[str, float]]
"""Tokens; patterns and the share of attention that goes to learned sinks, by student or file."""

_SHOWN = 3


class AttentionAnalysis:
    """A query-by-key map for each chosen head, with a menu of students."""

    def __init__(self, options: AttentionOptions) -> None:
        self.options = options

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Shows one problem, or one prompt of the pattern files."""
        tokens, patterns, sinks = (
            _from_files(context, self.options.problem)
            if context.patterns
            else _from_students(context, self.options.problem)
        )
        layers, heads = next(iter(patterns.values())).shape[:2]
        chosen = self.options.heads or _most_varied(patterns)
        if wrong := [head for head in chosen if head[0] >= layers or head[1] >= heads or min(head) < 0]:
            raise UsageError(f"There is no {head_label(*wrong[0])}: the model has {layers} layers of {heads} heads.")
        figures = [_figure(tokens, patterns, head) for head in chosen]
        table = pd.concat([_table(tokens, patterns, head) for head in chosen], ignore_index=True)
        labels = "; ".join(head_label(*head) for head in chosen)
        statements = [f"Shown: {labels}.", *sink_sentences(sinks, "the maps show")]
        return AnalysisResult({"attention": table}, figures, statements)


def build(options: AttentionOptions) -> AttentionAnalysis:
    """The analysis."""
    return AttentionAnalysis(options)


def patterns_on(bridged: BridgedStudent, ids: Sequence[int]) -> tuple[Patterns, float]:
    """A student's attention on one sequence, `[layer, head, query, key]`, float32, and the share that sinks get."""
    from kdprobe.probing.patterns.stream import read

    layers: list[Patterns] = []

    def keep(_row: int, _layer: int, pattern: Tensor) -> None:
        layers.append(pattern.cpu().numpy().copy())

    shares = read(bridged, [ids], keep)
    return np.stack(layers), float(np.mean(shares))


def _from_files(context: AnalysisContext, problem: int) -> Shown:
    first, *others = context.patterns
    _refuse_beyond(problem, len(first.prompts))
    shown = [first, *(file for file in others if file.reads_like(first))]
    patterns = {file.name: file.prompts[problem].pattern for file in shown}
    return [str(position) for position in range(first.prompts[problem].pattern.shape[-1])], patterns, {}


def _refuse_beyond(problem: int, count: int) -> None:
    if problem >= count:
        there = f"there {'is' if count == 1 else 'are'} {counted(count, 'problem')}"
        raise UsageError(f"There is no problem {problem}: {there}, numbered from 0.")


def _from_students(context: AnalysisContext, problem: int) -> Shown:
    _refuse_beyond(problem, len(context.sequences))
    ids = context.sequences[problem].ids
    patterns: dict[str, Patterns] = {}
    sinks: dict[str, float] = {}
    tokens: list[str] = []
    for student in context.students:
        bridged = context.bridges.boot(student.name)
        patterns[student.name], sinks[student.name] = patterns_on(bridged, ids)
        tokens = tokens or [bridged.tokenizer.decode([id_]) for id_ in ids]
    return tokens, patterns, sinks


def _most_varied(patterns: Mapping[str, Patterns]) -> list[Head]:
    if len(patterns) == 1:
        raise UsageError(
            "With a single student, the heads must be named.", "For example: --option attention.heads=[[22,6]]."
        )
    return ranked(np.stack(list(patterns.values())).var(axis=0, dtype=np.float64).mean(axis=(-2, -1)))[:_SHOWN]


def _figure(tokens: Sequence[str], patterns: Mapping[str, Patterns], head: Head) -> Figure:
    """One map with a menu of students. Tokens are escaped, because plotly interprets HTML in labels."""
    # Each label starts with its position, because an axis of words would merge equal words.
    labels = [f"{position} {html.escape(repr(token)[1:-1])}" for position, token in enumerate(tokens)]
    figure = go.Figure()
    for index, (name, pattern) in enumerate(patterns.items()):
        figure.add_heatmap(
            z=np.round(pattern[head], 4).tolist(),
            x=labels,
            y=labels,
            zmin=0,
            zmax=1,
            colorscale="Blues",
            visible=index == 0,
            name=name,
            hovertemplate="from %{y} to %{x}: %{z:.3f}<extra></extra>",
        )
    buttons = [
        {
            "label": html.escape(name),
            "method": "update",
            "args": [{"visible": [index == other for other in range(len(patterns))]}],
        }
        for index, name in enumerate(patterns)
    ]
    figure.update_layout(
        xaxis={"title": "key", "showticklabels": False},
        yaxis={"title": "query", "autorange": "reversed", "showticklabels": False},
        updatemenus=[{"buttons": buttons, "x": 1, "xanchor": "right", "y": 1.15, "type": "dropdown"}],
    )
    caption = "Attention from each token (rows) to earlier tokens (columns); the menu switches between students."
    return Figure(f"Attention of {head_label(*head)}", caption, figure.to_plotly_json())


def _table(tokens: Sequence[str], patterns: Mapping[str, Patterns], head: Head) -> pd.DataFrame:
    query, key = np.tril_indices(len(tokens))
    frames = [
        pd.DataFrame(
            {
                "student": name,
                "layer": head[0],
                "head": head[1],
                "query": query,
                "key": key,
                "query_token": [tokens[position] for position in query.tolist()],
                "key_token": [tokens[position] for position in key.tolist()],
                "weight": pattern[head][query, key],
            }
        )
        for name, pattern in patterns.items()
    ]
    return pd.concat(frames, ignore_index=True)
