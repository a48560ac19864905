"""Figures as images: what plotly shows is drawn, with intervals; what cannot be drawn is said."""

import numpy as np
import pytest

from kdprobe.probing.analysis import Figure
from kdprobe.probing.figures import error_bars
from kdprobe.report.images import _draw, write_images

pytest.importorskip("matplotlib")

ROWS = [{"value": 2.0, "low": 1.5, "high": 3.0}, {"value": -1.0, "low": -1.25, "high": -0.5}]


def axes_of(*traces, **layout):
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas()
    _draw(canvas, Figure("A figure", "What it shows.", {"data": list(traces), "layout": layout}))
    return canvas.axes[0]


def bars(name, x=("question", "answer"), **more):
    return {"type": "bar", "x": list(x), "y": [row["value"] for row in ROWS], "name": name, **more}


def test_bars_have_their_heights_places_and_intervals():
    axes = axes_of(bars("a", error_y=error_bars(ROWS)), bars("b"), xaxis={"categoryarray": ["answer", "x", "question"]})
    drawn = [(round(patch.get_x() + patch.get_width() / 2, 6), patch.get_height()) for patch in axes.patches]
    # In the order of the axis: the answer first; two bars side by side in each.
    assert drawn == [(0.8, 2.0), (-0.2, -1.0), (1.2, 2.0), (0.2, -1.0)]
    (segments,) = [lines.get_segments() for lines in axes.collections]
    assert sorted(np.array(segments)[:, :, 1].tolist()) == [[-1.25, -0.5], [1.5, 3.0]]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["answer", "question"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]


def test_only_the_first_entry_of_a_menu_is_drawn():
    axes = axes_of(bars("a"), bars("b", visible=False))
    assert len(axes.patches) == 2


def test_points_have_their_intervals_in_both_directions():
    point = {"type": "scatter", "mode": "markers+text", "x": [2.0], "y": [2.0], "name": "a"}
    axes = axes_of(point | {"error_x": error_bars(ROWS[:1]), "error_y": error_bars(ROWS[:1])})
    segments = [lines.get_segments()[0].tolist() for lines in axes.collections]
    assert sorted(segments) == [[[1.5, 2.0], [3.0, 2.0]], [[2.0, 1.5], [2.0, 3.0]]]


def test_what_is_not_drawn_is_said(tmp_path):
    axes = axes_of({"type": "sankey"}, bars("a"))
    assert [text.get_text() for text in axes.texts] == ["Only on the page: sankey"]
    figure = Figure("A figure", "What it shows.", {"data": [bars("a")], "layout": {}})
    assert [file.name for file in write_images([figure], tmp_path)] == ["01-a-figure.png", "01-a-figure.svg"]
