"""Figures as PNG and SVG, drawn with matplotlib, because plotly needs a browser for images."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdprobe.console.streams import visible
from kdprobe.errors import UsageError
from kdprobe.models.installed import importable
from kdprobe.probing.analysis import Figure

KINDS = ("png", "svg")
_CROWDED = 60
"""Characters of all labels below an axis from which on they are slanted."""
_DRAWN = {"scatter", "heatmap", "box", "bar"}
_COLOURS = {"RdBu": "RdBu", "Viridis": "viridis", "Blues": "Blues"}


def write_images(figures: Sequence[Figure], folder: Path) -> list[Path]:
    """Draws every figure; of a figure with a menu, the first entry.

    Args:
        figures: Lines, points, maps, boxes and bars; in place of anything else, the image says what is missing.
        folder: The folder to write to; files are named after the figures' titles.

    Returns:
        The files.

    Raises:
        UsageError: matplotlib is not installed.
    """
    if not importable("matplotlib"):
        raise UsageError("Images need matplotlib.", "Install it with: pip install 'kdprobe[images]'")
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    files = []
    # Not pyplot, which keeps figures open and may look for a display. Math parsing is off, because names are not maths.
    with mpl.rc_context({"text.parse_math": False, "svg.hashsalt": "kdprobe"}):
        for index, figure in enumerate(figures, start=1):
            canvas = Canvas(figsize=(7, 4.5), layout="constrained")
            _draw(canvas, figure)
            stem = f"{index:02d}-{re.sub(r'[^a-z0-9]+', '-', figure.title.lower()).strip('-')[:80]}"
            for kind in KINDS:
                file = folder / f"{stem}.{kind}"
                canvas.savefig(file, dpi=150, metadata={"Date": None} if kind == "svg" else None)
                files.append(file)
    return files


def _draw(canvas: Any, figure: Figure) -> None:
    axes = canvas.add_subplot()
    axes.set_title(visible(figure.title), fontsize=10)
    layout = figure.plotly.get("layout", {})
    shown = [trace for trace in figure.plotly["data"] if trace.get("visible", True)]
    for trace in shown:
        if trace["type"] == "scatter":
            _draw_scatter(canvas, axes, trace)
        elif trace["type"] == "heatmap":
            _draw_heatmap(canvas, axes, trace)
    if boxes := [trace for trace in shown if trace["type"] == "box"]:
        _draw_boxes(axes, boxes)
    if bars := [trace for trace in shown if trace["type"] == "bar"]:
        _draw_bars(axes, bars, layout.get("xaxis", {}))
    if others := sorted({trace["type"] for trace in shown} - _DRAWN):
        axes.text(0.5, 0.5, f"Only on the page: {', '.join(others)}", ha="center", transform=axes.transAxes)
    axes.set_xlabel(_text(layout.get("xaxis", {}).get("title")))
    axes.set_ylabel(_text(layout.get("yaxis", {}).get("title")))
    if len(axes.get_legend_handles_labels()[0]) > 1:
        axes.legend(fontsize=8)


def _draw_scatter(canvas: Any, axes: Any, trace: dict[str, Any]) -> None:
    colour = trace.get("line", {}).get("color")
    if trace.get("fill") == "toself":
        axes.fill(trace["x"], trace["y"], color=colour, alpha=trace["opacity"], linewidth=0)
        return
    mode, marker = trace.get("mode", "lines"), trace.get("marker", {})
    if "error_x" in trace or "error_y" in trace:
        errors = {f"{axis}err": _errors(trace.get(f"error_{axis}")) for axis in "xy"}
        axes.errorbar(trace["x"], trace["y"], fmt=".", capsize=2, label=_text(trace.get("name")), **errors)
        return
    if mode == "markers":
        points = axes.scatter(trace["x"], trace["y"], c=marker.get("color"), cmap="viridis", s=14)
        if "colorbar" in marker:
            canvas.colorbar(points, ax=axes, label=_text(marker["colorbar"].get("title")))
        return
    axes.plot(
        trace["x"],
        trace["y"],
        color=colour,
        linestyle=":" if trace.get("line", {}).get("dash") else "-",
        marker="." if "markers" in mode else None,
        label=_text(trace.get("name")),
    )


def _draw_heatmap(canvas: Any, axes: Any, trace: dict[str, Any]) -> None:
    import numpy as np

    values = np.array(trace["z"], dtype=float)
    name = trace["colorscale"]
    image = axes.imshow(
        values,
        aspect="auto",
        origin="upper" if "x" in trace else "lower",
        cmap=_COLOURS.get(name, "viridis") if isinstance(name, str) else _colour_map(name),
        vmin=trace.get("zmin"),
        vmax=trace.get("zmax"),
        interpolation="nearest",
    )
    canvas.colorbar(image, ax=axes, label=_text(trace.get("colorbar", {}).get("title")))


def _colour_map(scale: Sequence[Sequence[Any]]) -> Any:
    """Plotly's colour scale as matplotlib's; plotly stores named scales as lists of colours."""
    from matplotlib.colors import LinearSegmentedColormap

    def colour(text: str) -> Any:
        if text.startswith("rgb"):
            return tuple(int(part) / 255 for part in re.findall(r"\d+", text)[:3])
        return text

    return LinearSegmentedColormap.from_list("scale", [(position, colour(text)) for position, text in scale])


def _draw_boxes(axes: Any, traces: Sequence[dict[str, Any]]) -> None:
    """Draws the boxes of all traces side by side in each category."""
    categories = list(dict.fromkeys(name for trace in traces for name in trace["x"]))
    width = 0.8 / len(traces)
    for index, trace in enumerate(traces):
        values = [[y for x, y in zip(trace["x"], trace["y"], strict=True) if x == category] for category in categories]
        positions = [
            category_index + (index - (len(traces) - 1) / 2) * width for category_index in range(len(categories))
        ]
        drawn = axes.boxplot(values, positions=positions, widths=width * 0.8, patch_artist=True)
        for box in drawn["boxes"]:
            box.set_facecolor(f"C{index}")
        drawn["boxes"][0].set_label(_text(trace.get("name")))
    axes.set_xticks(range(len(categories)), [_text(category) for category in categories])


def _draw_bars(axes: Any, traces: Sequence[dict[str, Any]], axis: dict[str, Any]) -> None:
    """Draws the bars of all traces side by side in each category, with their intervals."""
    named = {name for trace in traces for name in trace["x"]}
    listed = [name for name in axis.get("categoryarray", ()) if name in named]
    categories = listed or list(dict.fromkeys(name for trace in traces for name in trace["x"]))
    width = 0.8 / len(traces)
    for index, trace in enumerate(traces):
        offset = (index - (len(traces) - 1) / 2) * width
        axes.bar(
            [categories.index(name) + offset for name in trace["x"]],
            trace["y"],
            width,
            yerr=_errors(trace.get("error_y")),
            capsize=2,
            label=_text(trace.get("name")),
        )
    ticks = dict(zip(axis.get("tickvals", ()), axis.get("ticktext", ()), strict=True))
    labels = [_text(str(ticks.get(category, category))) for category in categories]
    crowded = sum(map(len, labels)) > _CROWDED
    axes.set_xticks(range(len(categories)), labels, rotation=45 if crowded else 0, ha="right" if crowded else "center")
    axes.axhline(0.0, color="grey", linewidth=0.5)


def _errors(bars: dict[str, Any] | None) -> list[list[float]] | None:
    """The lengths below and above a value, of plotly's error bars."""
    return [bars.get("arrayminus", bars["array"]), bars["array"]] if bars else None


def _text(title: Any) -> str:
    """A plotly title as plain text."""
    text = title.get("text", "") if isinstance(title, dict) else title or ""
    return visible(html.unescape(str(text)))
