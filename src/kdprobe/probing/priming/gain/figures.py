"""Figures of `priming_gain`: predicted against realised changes, by problem and by strategy."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from kdprobe.console.streams import visible
from kdprobe.probing.analysis import Figure
from kdprobe.probing.figures import error_bars
from kdprobe.probing.priming.gain.measured import Gain, shown
from kdprobe.stats.clustered import ClusteredMean

_AXES = {
    "xaxis_title": "predicted change in log p(gold value) in the teacher, nats",
    "yaxis_title": "realised change in the student, nats",
}


def figures(gains: Sequence[Gain]) -> list[Figure]:
    """A point per problem for each strategy that can be tested, and a point per strategy."""
    stated = shown(gains)
    if not stated:
        return []
    return [
        Figure(
            "Predicted and realised change in log p(gold value), by problem",
            "Each point is a test problem. Strategies whose prompts depend on the gold solution are left out.",
            _points([gain for gain in stated if not gain.sees_gold]),
        ),
        Figure(
            "Predicted and realised change in log p(gold value), by strategy",
            "Means over problems with 95% intervals. There are too few strategies here to tell whether the two changes "
            "are related.",
            _means(stated),
        ),
    ]


def _points(gains: Sequence[Gain]) -> dict[str, Any]:
    figure = go.Figure()
    for gain in gains:
        figure.add_scatter(
            x=gain.predicted["value"].tolist(),
            y=gain.realised("value").mean(axis=0).tolist(),
            mode="markers",
            name=html.escape(gain.name),
            text=[html.escape(visible(problem.id)) for problem in gain.problems],
            hovertemplate="%{text}: %{x:.3g}, %{y:.3g}<extra>%{fullData.name}</extra>",
        )
    figure.update_layout(**_AXES)
    data: dict[str, Any] = figure.to_plotly_json()
    return data


def _means(gains: Sequence[Gain]) -> dict[str, Any]:
    figure = go.Figure()
    for gain in gains:
        predicted, realised = gain.predicted_mean("value"), gain.realised_mean("value")
        figure.add_scatter(
            x=[predicted.value],
            y=[realised.value],
            mode="markers+text",
            text=[html.escape(gain.name)],
            textposition="top center",
            name=html.escape(gain.name),
            error_x=_bar(predicted),
            error_y=_bar(realised),
        )
    figure.update_layout(**_AXES, showlegend=False)
    data: dict[str, Any] = figure.to_plotly_json()
    return data


def _bar(mean: ClusteredMean) -> dict[str, Any]:
    return error_bars([{"value": mean.value, "low": mean.interval.low, "high": mean.interval.high}])
