"""The figure of the random control."""

from __future__ import annotations

import html
from collections.abc import Mapping

import plotly.graph_objects as go

from kdprobe.probing.analysis import Figure
from kdprobe.probing.interventions.random_control import Control


def control_figure(title: str, controls: Mapping[str, Control]) -> Figure:
    """Effects of random sets as points, those of the chosen heads as diamonds, a row per student."""
    figure = go.Figure()
    names = list(controls)
    random = [(value, name) for name, control in controls.items() for value in control.random.tolist()]
    figure.add_scatter(
        x=[value for value, _ in random],
        y=[names.index(name) for _, name in random],
        mode="markers",
        marker={"opacity": 0.5},
        name="random sets",
    )
    figure.add_scatter(
        x=[control.effect for control in controls.values()],
        y=list(range(len(names))),
        mode="markers",
        marker={"size": 12, "symbol": "diamond"},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [control.high - control.effect for control in controls.values()],
            "arrayminus": [control.effect - control.low for control in controls.values()],
        },
        name="chosen heads",
    )
    figure.update_layout(
        xaxis_title="change of log p(gold solution), nats",
        yaxis={
            "tickvals": list(range(len(names))),
            "ticktext": [html.escape(name) for name in names],
            "automargin": True,
        },
    )
    caption = "Sets of as many heads, replaced together; the interval is over problems."
    return Figure(title, caption, figure.to_plotly_json())
