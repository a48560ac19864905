"""The analysis `attention`: what chosen heads look at, token by token, on one problem."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from torch import Tensor

from kdprobe.errors import UsageError
from kdprobe.probing.analysis import AnalysisContext, AnalysisResult, Figure, Need
from kdprobe.probing.attention.moved import ranked
from kdprobe.probing.options import AttentionOptions

Patterns = NDArray[np.float32]

_SHOWN = 3


class AttentionAnalysis:
    """A map of query by key for each chosen head, students side by side in one menu."""

    needs: frozenset[Need] = frozenset({"patterns"})

    def __init__(self, options: AttentionOptions) -> None:
        self.options = options

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Shows one problem, or the prompt that files are of."""
        tokens, patterns = _from_files(context) if context.patterns else _from_students(context, self.options.problem)
        layers, heads = next(iter(patterns.values())).shape[:2]
        chosen = self.options.heads or _most_varied(patterns)
        if wrong := [head for head in chosen if head[0] >= layers or head[1] >= heads or min(head) < 0]:
            raise UsageError(f"There is no layer {wrong[0][0]}, head {wrong[0][1]}: there are {layers} x {heads}.")
        figures = [_figure(tokens, patterns, head) for head in chosen]
        table = pd.concat([_table(tokens, patterns, head) for head in chosen], ignore_index=True)
        shown = "; ".join(f"layer {layer}, head {head}" for layer, head in chosen)
        return AnalysisResult({"attention": table}, figures, [f"Shown: {shown}."])


def build(options: AttentionOptions) -> AttentionAnalysis:
    """The analysis."""
    return AttentionAnalysis(options)


def _from_files(context: AnalysisContext) -> tuple[list[str], dict[str, Patterns]]:
    first = context.patterns[0].pattern
    alike = {file.name: file.pattern for file in context.patterns if file.pattern.shape == first.shape}
    return [str(place) for place in range(first.shape[-1])], alike


def _from_students(context: AnalysisContext, problem: int) -> tuple[list[str], dict[str, Patterns]]:
    from kdprobe.probing.patterns.stream import read

    if problem >= len(context.sequences):
        raise UsageError(f"There is no problem {problem}: there are {len(context.sequences)}, counted from 0.")
    ids = context.sequences[problem].ids
    patterns: dict[str, Patterns] = {}
    tokens: list[str] = []
    for student in context.students:
        bridged = context.bridges.boot(student.name)
        layers: list[Patterns] = []

        def keep(_row: int, _layer: int, pattern: Tensor, *, layers: list[Patterns] = layers) -> None:
            layers.append(pattern.cpu().numpy().copy())

        read(bridged, [ids], keep)
        patterns[student.name] = np.stack(layers)
        tokens = tokens or [bridged.tokenizer.decode([id_]) for id_ in ids]
    return tokens, patterns


def _most_varied(patterns: Mapping[str, Patterns]) -> list[tuple[int, int]]:
    if len(patterns) == 1:
        raise UsageError("With one student, say which heads.", "For example: --option attention.heads=[[22,6]].")
    return ranked(np.stack(list(patterns.values())).var(axis=0, dtype=np.float64).mean(axis=(-2, -1)))[:_SHOWN]


def _figure(tokens: Sequence[str], patterns: Mapping[str, Patterns], head: tuple[int, int]) -> Figure:
    """One map with a menu of students. Tokens are escaped: plotly reads HTML in labels."""
    # A number before each token: an axis of words would put equal words in one place.
    labels = [f"{place} {html.escape(repr(token)[1:-1])}" for place, token in enumerate(tokens)]
    figure = go.Figure()
    for place, (name, pattern) in enumerate(patterns.items()):
        figure.add_heatmap(
            z=np.round(pattern[head], 4).tolist(),
            x=labels,
            y=labels,
            zmin=0,
            zmax=1,
            colorscale="Blues",
            visible=place == 0,
            name=name,
            hovertemplate="from %{y} to %{x}: %{z:.3f}<extra></extra>",
        )
    buttons = [
        {
            "label": html.escape(name),
            "method": "update",
            "args": [{"visible": [place == other for other in range(len(patterns))]}],
        }
        for place, name in enumerate(patterns)
    ]
    figure.update_layout(
        xaxis={"title": "key", "showticklabels": False},
        yaxis={"title": "query", "autorange": "reversed", "showticklabels": False},
        updatemenus=[{"buttons": buttons, "x": 1, "xanchor": "right", "y": 1.15, "type": "dropdown"}],
    )
    caption = "Attention from each token (down) to those before it; the menu switches between students."
    return Figure(f"Attention of layer {head[0]}, head {head[1]}", caption, figure.to_plotly_json())


def _table(tokens: Sequence[str], patterns: Mapping[str, Patterns], head: tuple[int, int]) -> pd.DataFrame:
    query, key = np.tril_indices(len(tokens))
    frames = [
        pd.DataFrame(
            {
                "student": name,
                "layer": head[0],
                "head": head[1],
                "query": query,
                "key": key,
                "query_token": [tokens[place] for place in query.tolist()],
                "key_token": [tokens[place] for place in key.tolist()],
                "weight": pattern[head][query, key],
            }
        )
        for name, pattern in patterns.items()
    ]
    return pd.concat(frames, ignore_index=True)
