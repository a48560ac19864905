"""Figures of heads: layer curves with bands, and layer x head maps."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.colors import qualitative

from kdprobe.probing.analysis import Figure
from kdprobe.probing.metrics.measure import Measured
from kdprobe.probing.metrics.metric import HeadMetric
from kdprobe.stats.bootstrap import means_over_problems

Array = NDArray[np.float64]

_COLOURS: Sequence[str] = qualitative.D3

OVER_PROBLEMS = "Mean over problems; one cell per head."
FROM_WEIGHTS = "Computed from the weights; one cell per head."
"""The caption of a map that involves no problems."""


def layer_curves(measured: Measured, metrics: Mapping[str, HeadMetric], seed: int) -> list[Figure]:
    """Each metric's mean over heads and problems by layer, one curve per student, with 95% bands over problems."""
    measuring = {name for values in measured.values() for name in values}
    return [
        _curves({student: values[name] for student, values in measured.items() if name in values}, metric, seed)
        for name, metric in metrics.items()
        if name in measuring
    ]


def _curves(values: Mapping[str, Array], metric: HeadMetric, seed: int) -> Figure:
    figure = go.Figure()
    for index, (student, value) in enumerate(values.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        curve = means_over_problems(value.mean(axis=2), seed)
        # A metric that uses the layer below has no value in layer 0.
        layers = np.flatnonzero(np.isfinite(curve.value))
        name = html.escape(student)
        if np.isfinite(curve.low[layers]).any():
            low, high = curve.low[layers].tolist(), curve.high[layers].tolist()
            figure.add_trace(band(layers.tolist(), low, high, colour, name))
        figure.add_scatter(
            x=layers.tolist(),
            y=curve.value[layers].tolist(),
            mode="lines+markers",
            line={"color": colour},
            legendgroup=name,
            name=student,
        )
    figure.update_layout(xaxis_title="layer", yaxis_title=html.escape(metric.unit or "value"))
    caption = "Mean over heads; the band is the 95% interval over problems."
    return Figure(f"{metric.summary}, by layer", caption, figure.to_plotly_json())


def band(layers: Sequence[int], low: Sequence[float], high: Sequence[float], colour: str, name: str) -> go.Scatter:
    """The intervals around a curve, without an entry of their own in the legend.

    Args:
        layers: The curve's layers.
        low: The lower end at each of them.
        high: The upper end.
        colour: The curve's colour.
        name: The curve's name, escaped.
    """
    return go.Scatter(
        x=[*layers, *layers[::-1]],
        y=[*high, *low[::-1]],
        fill="toself",
        fillcolor=colour,
        opacity=0.2,
        line={"width": 0},
        hoverinfo="skip",
        legendgroup=name,
        showlegend=False,
    )


def error_bars(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Bars' intervals, from rows with `value`, `low` and `high`; of no length where an interval is unknown."""
    known = [math.isfinite(row["low"]) for row in rows]
    return {
        "type": "data",
        "symmetric": False,
        "array": [row["high"] - row["value"] if k else 0 for row, k in zip(rows, known, strict=True)],
        "arrayminus": [row["value"] - row["low"] if k else 0 for row, k in zip(rows, known, strict=True)],
    }


def menu(names: Sequence[str]) -> list[dict[str, Any]]:
    """A menu that shows the traces of one name at a time, for `updatemenus` of a layout.

    Args:
        names: Each trace's name, such as a student's. Only the traces of the first name may be visible at first.
    """
    buttons = [
        {
            "label": html.escape(choice),
            "method": "update",
            "args": [{"visible": [name == choice for name in names]}],
        }
        for choice in dict.fromkeys(names)
    ]
    return [{"buttons": buttons, "x": 1, "xanchor": "right", "y": 1.15, "type": "dropdown"}]


def head_map(title: str, values: Array, unit: str, caption: str = OVER_PROBLEMS) -> Figure:
    """A heat map with one cell per head.

    Args:
        title: What it shows.
        values: `[layer, head]`.
        unit: Of the values, for the colour bar.
        caption: How to read it.
    """
    return _map(title, values, "Viridis", unit, caption)


def change_maps(
    changes: Mapping[str, Array], metric: str, against: str, unit: str, caption: str = OVER_PROBLEMS
) -> list[Figure]:
    """Heat maps of how much every head changed, one per arm, all on one colour scale around zero.

    Args:
        changes: Each arm's changes, `[layer, head]`.
        metric: What changed.
        against: The student that the arms are compared with.
        unit: Of the changes.
        caption: How to read them.
    """
    titled = {f"Change in {metric} by head: {arm} against {against}": change for arm, change in changes.items()}
    return signed_maps(titled, unit, caption)


def signed_maps(values: Mapping[str, Array], unit: str, caption: str = OVER_PROBLEMS) -> list[Figure]:
    """Maps with one cell per head around zero, on a common colour scale so that shades are comparable.

    Args:
        values: Titles mapped to `[layer, head]`.
        unit: Of the values.
        caption: How to read them.
    """
    limit = max((float(np.nanmax(np.abs(value))) for value in values.values()), default=1.0)
    return [_map(title, value, "RdBu", unit, caption, limit) for title, value in values.items()]


def change_against_effect(change: Array, effect: Array, *, change_title: str, effect_title: str) -> Figure:
    """One point per head: how much it changed against the size of its effect.

    Args:
        change: `[layer, head]`.
        effect: Likewise, such as the effect of ablating the head.
        change_title: What the change is, with its unit.
        effect_title: What the effect is, with its unit.
    """
    layer, head = np.indices(change.shape)
    points = go.Scatter(
        x=change.ravel().tolist(),
        y=effect.ravel().tolist(),
        mode="markers",
        marker={"color": layer.ravel().tolist(), "colorscale": "Viridis", "colorbar": {"title": "layer"}},
        customdata=np.stack([layer.ravel(), head.ravel()], axis=1).tolist(),
        hovertemplate="layer %{customdata[0]}, head %{customdata[1]}: %{x:.4f}, %{y:.4f}<extra></extra>",
    )
    figure = go.Figure(points)
    figure.update_layout(xaxis_title=html.escape(change_title), yaxis_title=html.escape(effect_title))
    return Figure(f"{effect_title} against {change_title}", "Each point is a head.", figure.to_plotly_json())


def _map(  # noqa: PLR0917
    title: str, values: Array, colours: str, unit: str, caption: str, limit: float | None = None
) -> Figure:
    bounds = {} if limit is None else {"zmin": -limit, "zmax": limit}
    heat = go.Heatmap(
        z=values.T.tolist(),
        colorscale=colours,
        colorbar={"title": html.escape(unit)},
        hovertemplate="layer %{x}, head %{y}: %{z:.4g}<extra></extra>",
        **bounds,
    )
    figure = go.Figure(heat)
    figure.update_layout(xaxis_title="layer", yaxis_title="head")
    return Figure(title, caption, figure.to_plotly_json())
