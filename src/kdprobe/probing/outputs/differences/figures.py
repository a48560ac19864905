"""Figures of `output_divergence`: means by part of the text, and every token of one problem."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

import plotly.graph_objects as go

from kdprobe.console.streams import visible
from kdprobe.probing.analysis import Figure
from kdprobe.probing.figures import error_bars
from kdprobe.probing.outputs.differences.measured import Group, Measure, Pair, shown
from kdprobe.probing.outputs.differences.parts import PARTS
from kdprobe.probing.outputs.differences.tables import mean_row

_INTERVALS = "Error bars are 95% intervals over problems, and over seeds where a strategy has several."


def figures(pairs: Sequence[Pair], untrained: str, decode: Callable[[int], str]) -> list[Figure]:
    """Both divergences by part of the text, and the tokens of the first problem.

    Args:
        pairs: The measurements.
        untrained: The untrained model's name.
        decode: Maps a token's id to its text.
    """
    groups = list(shown(pairs))
    with_direction = [group for group in groups if group.members[0].against_untrained]
    return [
        Figure(
            "Jensen-Shannon divergence of outputs, by part of the text",
            f"Mean per token, in nats, on the same text for all students. {_INTERVALS}",
            _bars(groups, "js"),
        ),
        Figure(
            f"KL({untrained} || student) of outputs, by part of the text",
            f"Mean per token, in nats, on the same text for all students. {_INTERVALS}",
            _bars(with_direction, "kl"),
        ),
        _token_map(pairs, decode),
    ]


def _bars(groups: Sequence[Group], measure: Measure) -> dict[str, Any]:
    figure = go.Figure()
    for group in groups:
        rows = [row for part in PARTS if (row := mean_row(group, measure, part))]
        figure.add_bar(
            x=[row["part"].replace("_", " ") for row in rows],
            y=[row["value"] for row in rows],
            name=html.escape(_label(group.name, group.members[0])),
            error_y=error_bars(rows),
        )
    figure.update_layout(barmode="group", yaxis_title="nats per token", xaxis={"type": "category"})
    data: dict[str, Any] = figure.to_plotly_json()
    return data


def _token_map(pairs: Sequence[Pair], decode: Callable[[int], str]) -> Figure:
    """Tokens are escaped, because plotly interprets HTML in labels."""
    text = pairs[0].texts[0]
    ids = text.sequence.ids[1:]
    # Each label starts with its position, because an axis of words would merge equal words.
    labels = [f"{index} {html.escape(visible(repr(decode(id_))[1:-1]))}" for index, id_ in enumerate(ids, start=1)]
    heat = go.Heatmap(
        x=labels,
        y=[html.escape(_label(pair.student, pair)) for pair in pairs],
        z=[pair.differences[0].js.tolist() for pair in pairs],
        zmin=0,
        colorscale="Viridis",
        colorbar={"title": "nats"},
        hovertemplate="%{y}, %{x}: %{z:.4g}<extra></extra>",
    )
    figure = go.Figure(heat)
    figure.update_layout(xaxis={"title": "token", "type": "category"}, yaxis={"type": "category"})
    return Figure(
        f"Jensen-Shannon divergence of outputs, token by token: problem {text.sequence.id}",
        "The divergence of the distributions that predict each token, given the text before it.",
        figure.to_plotly_json(),
    )


def _label(name: str, pair: Pair) -> str:
    return name if pair.against_untrained else f"{name} and {pair.against}"
