"""The report's own figures: accuracy with intervals, and the loss while training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from kdprobe.evaluation.comparison import Comparison
from kdprobe.experiment.results import ArmResults


def accuracy_figure(comparison: Comparison) -> dict[str, Any]:
    """Accuracy of every arm with its 95 % interval."""
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
            hovertemplate="%{x:.1f} %<extra></extra>",
        )
    )
    figure.update_layout(
        xaxis={"title": "accuracy, %", "rangemode": "tozero"},
        yaxis={"autorange": "reversed", "type": "category", "automargin": True},
    )
    plotly: dict[str, Any] = figure.to_plotly_json()
    return plotly


def loss_figure(arms: Sequence[ArmResults]) -> dict[str, Any]:
    """Loss per optimiser step of every trained arm. Arms with different losses are not comparable by height."""
    figure = go.Figure()
    for arm in arms:
        if arm.training:
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
