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

from kdprobe.console import progress
from kdprobe.errors import UsageError
from kdprobe.probing.analysis import AnalysisContext, AnalysisResult, Figure
from kdprobe.probing.attention.moved import ranked
from kdprobe.probing.figures import menu
from kdprobe.probing.labels import Head, head_label
from kdprobe.probing.options import AttentionOptions
from kdprobe.probing.patterns.pairwise import students_side_by_side
from kdprobe.probing.patterns.real_keys import sink_sentences
from kdprobe.probing.patterns.stream import read
from kdprobe.words import counted

if TYPE_CHECKING:
    from kdprobe.probing.patterns.files import PatternFile
    from kdprobe.students.sequence import ProblemSequence

Patterns = dict[Head, NDArray[np.float32]]
"""Attention of the shown heads of one student on one sequence, `[query, key]`."""

_SHOWN = 3


class AttentionAnalysis:
    """A query-by-key map for each chosen head, with a menu of students."""

    def __init__(self, options: AttentionOptions) -> None:
        self.options = options

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Shows one problem, or one prompt of the pattern files; only the shown heads' patterns are kept."""
        problem, heads = self.options.problem, self.options.heads
        if context.patterns:
            tokens, patterns, sinks = _from_files(context.patterns, problem, heads)
        else:
            tokens, patterns, sinks = _from_students(context, problem, heads)
        chosen = list(next(iter(patterns.values())))
        figures = [_figure(tokens, patterns, head) for head in chosen]
        table = pd.concat([_table(tokens, patterns, head) for head in chosen], ignore_index=True)
        labels = "; ".join(head_label(*head) for head in chosen)
        statements = [f"Shown: {labels}.", *sink_sentences(sinks, "the maps show")]
        return AnalysisResult({"attention": table}, figures, statements)


def build(options: AttentionOptions) -> AttentionAnalysis:
    """The analysis."""
    return AttentionAnalysis(options)


def _from_files(
    files: Sequence[PatternFile], problem: int, heads: Sequence[Head]
) -> tuple[list[str], dict[str, Patterns], dict[str, float]]:
    first, *others = files
    _refuse_beyond(problem, len(first.prompts))
    shown = {
        file.name: file.prompts[problem].pattern for file in (first, *others) if file is first or file.reads_like(first)
    }
    _refuse_other_heads(heads, {first.name: first.heads})
    if not heads:
        _refuse_single(shown)
        heads = _first([_variance([pattern[layer] for pattern in shown.values()]) for layer in range(first.heads[0])])
    patterns = {name: {head: pattern[head] for head in heads} for name, pattern in shown.items()}
    return [str(position) for position in range(first.prompts[problem].pattern.shape[-1])], patterns, {}


def _variance(patterns: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Population variance of a layer's patterns, `[head, query, key]`, over students, mean over cells, `[head]`."""
    variance: NDArray[np.float64] = np.stack(patterns).var(axis=0, dtype=np.float64).mean(axis=(-2, -1))
    return variance


def _refuse_beyond(problem: int, count: int) -> None:
    if problem >= count:
        there = f"there {'is' if count == 1 else 'are'} {counted(count, 'problem')}"
        raise UsageError(f"There is no problem {problem}: {there}, numbered from 0.")


def _from_students(
    context: AnalysisContext, problem: int, heads: Sequence[Head]
) -> tuple[list[str], dict[str, Patterns], dict[str, float]]:
    _refuse_beyond(problem, len(context.sequences))
    sequence = context.sequences[problem]
    booted = {student.name: context.bridges.boot(student.name) for student in context.students}
    shapes = {name: (each.bridge.cfg.n_layers, each.bridge.cfg.n_heads) for name, each in booted.items()}
    _refuse_other_heads(heads, shapes)
    heads = heads or _most_varied(context, sequence, shapes)
    patterns: dict[str, Patterns] = {}
    sinks: dict[str, float] = {}
    for name, bridged in booted.items():
        kept: Patterns = {}

        def keep(_row: int, layer: int, pattern: Tensor, *, kept: Patterns = kept) -> None:
            kept.update({head: pattern[head[1]].cpu().numpy().copy() for head in heads if head[0] == layer})

        sinks[name] = float(np.mean(read(bridged, [sequence.ids], keep)))
        patterns[name] = {head: kept[head] for head in heads}
    tokenizer = next(iter(booted.values())).tokenizer
    return [tokenizer.decode([id_]) for id_ in sequence.ids], patterns, sinks


def _refuse_other_heads(heads: Sequence[Head], shapes: Mapping[str, tuple[int, int]]) -> None:
    for name, (layers, count) in shapes.items():
        if wrong := [head for head in heads if head[0] >= layers or head[1] >= count or min(head) < 0]:
            raise UsageError(f"There is no {head_label(*wrong[0])}: {name} has {layers} layers of {count} heads.")


def _refuse_single(shown: Mapping[str, object]) -> None:
    if len(shown) == 1:
        raise UsageError(
            "With a single student, the heads must be named.", "For example: --option attention.heads=[[22,6]]."
        )


def _most_varied(
    context: AnalysisContext, sequence: ProblemSequence, shapes: Mapping[str, tuple[int, int]]
) -> list[Head]:
    """The heads that vary most between students, who are read one after the other."""
    _refuse_single(shapes)
    if len(set(shapes.values())) > 1:
        raise UsageError(
            "The students differ in their number of layers or heads, so the heads must be named.",
            "For example: --option attention.heads=[[22,6]].",
        )
    with progress("Heads that vary most", 1, unit="tok") as bar:
        found = students_side_by_side(context.bridges, context.students, [sequence], batch_size=1, bar=bar)
    return _first(found.variance[0])


def _first(variance: Sequence[NDArray[np.float64]] | NDArray[np.float64]) -> list[Head]:
    return ranked(np.asarray(variance))[:_SHOWN]


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
    figure.update_layout(
        xaxis={"title": "key", "showticklabels": False},
        yaxis={"title": "query", "autorange": "reversed", "showticklabels": False},
        updatemenus=menu(list(patterns)),
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
