"""The report's own figures: accuracies with intervals, training losses, and the mass outside the top k."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go

from kdprobe.comparison.result import Comparison
from kdprobe.experiment.arm_results import ArmResults
from kdprobe.transfer.fidelity import TAIL_EDGES


def accuracy_figure(comparison: Comparison) -> dict[str, Any]:
    """Accuracy of every arm with its 95% interval."""
    scores = comparison.arms
    figure = go.Figure(
        go.Scatter(
            x=[score.accuracy * 100 for score in scores],
            y=[score.name for score in scores],
            mode="markers",
            marker={"size": 10},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [(score.interval.high - score.accuracy) * 100 for score in scores],
                "arrayminus": [(score.accuracy - score.interval.low) * 100 for score in scores],
            },
            hovertemplate="%{x:.1f}%<extra></extra>",
        )
    )
    figure.update_layout(
        xaxis={"title": "accuracy, %", "rangemode": "tozero"},
        yaxis={"autorange": "reversed", "type": "category", "automargin": True},
    )
    plotly: dict[str, Any] = figure.to_plotly_json()
    return plotly


def loss_figure(arms: Sequence[ArmResults]) -> dict[str, Any]:
    """Loss per optimiser step of every trained arm. The values of different losses are not comparable."""
    figure = go.Figure()
    for arm in arms:
        if arm.training and not arm.diverged:
            history = arm.training["history"]
            figure.add_scatter(
                x=[row["step"] for row in history],
                y=[row["loss"] for row in history],
                mode="lines",
                name=arm.name,
            )
    figure.update_layout(xaxis_title="optimiser step", yaxis_title="loss, nats per response token")
    plotly: dict[str, Any] = figure.to_plotly_json()
    return plotly


def retained_figure(fidelity: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Share of response positions by the mass outside their top k, with one trace per strategy and temperature."""
    borders = [f"{edge:g}" for edge in TAIL_EDGES]
    bins = [f"{low} to {high}" for low, high in pairwise(borders)]
    figure = go.Figure()
    for strategy, summary in fidelity.items():
        for retained in summary["retained"]:
            counts = retained["tail_histogram"]
            name = strategy if len(summary["retained"]) == 1 else f"{strategy}, T = {retained['temperature']:g}"
            figure.add_bar(x=bins, y=[count / sum(counts) * 100 for count in counts], name=name)
    figure.update_layout(xaxis_title="probability outside the top k", yaxis_title="positions, %", barmode="group")
    plotly: dict[str, Any] = figure.to_plotly_json()
    return plotly
