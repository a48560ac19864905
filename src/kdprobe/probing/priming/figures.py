"""Figures of `priming_map`: means by part and by position, and every token of a few responses."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from kdprobe.console.streams import visible
from kdprobe.probing.analysis import Figure
from kdprobe.probing.figures import error_bars
from kdprobe.probing.priming.measured import PrimingMap, position_name
from kdprobe.probing.priming.parts import PARTS, POSITIONS
from kdprobe.probing.priming.tables import mean_row

_SHOWN = 4
"""Responses of each strategy that are shown token by token."""
_LEAST = -4
"""The power of ten, in nats, up to which divergences have the same colour."""
_INTERVALS = "Error bars are 95% intervals over problems."


def figures(maps: Sequence[PrimingMap], decode: Callable[[int], str]) -> list[Figure]:
    """Bars for all strategies, and a map of tokens for each that changes anything.

    Args:
        maps: The measurements.
        decode: Maps a token's id to its text.
    """
    positions = [position_name(first, last) for first, last in POSITIONS]
    return [
        Figure(
            "KL(primed || bare) of the teacher, by part of the response",
            f"Mean per token, in nats, on the responses of each strategy. {_INTERVALS}",
            _bars(maps, "part", PARTS),
        ),
        Figure(
            "KL(primed || bare) of the teacher, by position in the response",
            f"Mean per token, in nats; positions count tokens from 1. {_INTERVALS}",
            _bars(maps, "position", positions),
        ),
        *(_token_map(each, decode) for each in maps if each.responses and not each.alike),
    ]


def _bars(maps: Sequence[PrimingMap], by: str, cells: Sequence[str]) -> dict[str, Any]:
    figure = go.Figure()
    for mapped in maps:
        rows = [row for cell in cells if (row := mean_row(mapped, by, cell))]
        figure.add_bar(
            x=[row["cell"].replace("_", " ") for row in rows],
            y=[row["value"] for row in rows],
            name=html.escape(mapped.strategy),
            error_y=error_bars(rows),
        )
    axis = {"type": "category", "categoryorder": "array", "categoryarray": [cell.replace("_", " ") for cell in cells]}
    figure.update_layout(barmode="group", yaxis_title="nats per token", xaxis=axis)
    data: dict[str, Any] = figure.to_plotly_json()
    return data


def _token_map(mapped: PrimingMap, decode: Callable[[int], str]) -> Figure:
    """Tokens are escaped, because plotly interprets HTML in labels. A log scale shows small changes, too."""
    shown = mapped.responses[:_SHOWN]
    width = max(len(each.ids) for each in shown)
    largest = max(float(each.changes.kl.max()) for each in shown)
    highest = max(0, math.ceil(math.log10(max(largest, 10.0**_LEAST))))
    heat = go.Heatmap(
        x=list(range(1, width + 1)),
        y=[html.escape(visible(each.problem)) for each in shown],
        z=[
            [*np.log10(each.changes.kl.clip(10.0**_LEAST)).tolist(), *[None] * (width - len(each.ids))]
            for each in shown
        ],
        customdata=[[*each.changes.kl.tolist(), *[None] * (width - len(each.ids))] for each in shown],
        text=[
            [*(html.escape(visible(repr(decode(id_))[1:-1])) for id_ in each.ids), *[""] * (width - len(each.ids))]
            for each in shown
        ],
        zmin=_LEAST,
        zmax=highest,
        colorscale="Viridis",
        colorbar={"title": "log10 nats"},
        hoverongaps=False,
        hovertemplate="%{y}, token %{x} “%{text}”: %{customdata:.4g}<extra></extra>",
    )
    figure = go.Figure(heat)
    figure.update_layout(
        xaxis={"title": "position in the response"},
        yaxis={"type": "category", "autorange": "reversed", "automargin": True},
    )
    return Figure(
        f"KL(primed || bare) of the teacher, token by token: {mapped.strategy}",
        "The first responses, one per row, on a log scale. Point at a cell to read the token.",
        figure.to_plotly_json(),
    )
