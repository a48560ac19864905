"""Figures of `circuits`: maps of layers and circuits, and bars with intervals for groups."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from kdprobe.probing.analysis import Figure
from kdprobe.probing.circuits.groups import MLPS
from kdprobe.probing.circuits.labels import KINDS
from kdprobe.probing.circuits.measured import MeasuredStudent
from kdprobe.probing.circuits.tables import SWITCHED
from kdprobe.probing.figures import error_bars
from kdprobe.probing.interventions.sweep import Array
from kdprobe.stats.bootstrap import means_over_problems
from kdprobe.words import enumerated

WHERE = {"on": "on in the base", "off": "off in the student"}


def figures(students: Sequence[MeasuredStudent], seed: int) -> list[Figure]:
    """Bars of groups, and of layers if they were switched, and a map per direction, of every student that changed.

    Args:
        students: The measurements.
        seed: Of the intervals.
    """
    return [
        figure
        for each in students
        if not each.same
        for figure in (_bars(each, seed), *_layer_bars(each, seed), *_maps(each))
    ]


def _bars(measured: MeasuredStudent, seed: int) -> Figure:
    chosen = [index for index, group in enumerate(measured.groups) if group.layer is None]
    figure = go.Figure()
    for switched in SWITCHED:
        _add_bars(
            figure,
            [measured.groups[index].label for index in chosen],
            getattr(measured.group_effects, switched)[:, chosen, 0],
            WHERE[switched],
            seed,
        )
    figure.update_layout(xaxis={"type": "category"})
    return Figure(
        f"Switching groups of circuits: log p(gold solution) of {measured.student}", _CAPTION, _finished(figure)
    )


def _layer_bars(measured: MeasuredStudent, seed: int) -> list[Figure]:
    by_name: dict[str, list[int]] = {}
    for index, group in enumerate(measured.groups):
        if group.layer is not None:
            by_name.setdefault(group.name, []).append(index)
    if not by_name:
        return []
    figure = go.Figure()
    for name, chosen in by_name.items():
        for switched in SWITCHED:
            label = f"{'MLP' if name == MLPS else name}, {WHERE[switched]}"
            layers = [measured.groups[index].layer for index in chosen]
            _add_bars(figure, layers, getattr(measured.group_effects, switched)[:, chosen, 0], label, seed)
    figure.update_layout(xaxis_title="layer")
    title = f"Switching each layer's attention and MLP: log p(gold solution) of {measured.student}"
    return [Figure(title, _CAPTION, _finished(figure))]


_CAPTION = (
    "Mean change when the update of these weights is switched on alone in the base, and when it is switched off in the "
    "student; error bars are 95% intervals over problems."
)


def _add_bars(figure: go.Figure, labels: Sequence[Any], effects: Array, name: str, seed: int) -> None:
    """Bars of effects `[problem, group]`."""
    means = means_over_problems(effects, seed)
    parts = (means.value.tolist(), means.low.tolist(), means.high.tolist())
    rows = [{"value": value, "low": low, "high": high} for value, low, high in zip(*parts, strict=True)]
    figure.add_bar(x=list(labels), y=[row["value"] for row in rows], name=name, error_y=error_bars(rows))


def _finished(figure: go.Figure) -> dict[str, Any]:
    figure.update_layout(barmode="group", yaxis_title="change in log p(gold solution), nats")
    data: dict[str, Any] = figure.to_plotly_json()
    return data


def _maps(measured: MeasuredStudent) -> list[Figure]:
    """One map per direction: columns are layers, rows are the circuits of a layer."""
    rows = list(dict.fromkeys((kind, head) for kind, _, head in [*measured.exact, *measured.screened]))
    rows.sort(key=lambda row: (list(KINDS).index(row[0]), row[1]))
    layers = 1 + max(circuit.layer for circuit in [*measured.exact, *measured.screened])
    values = {switched: np.full((len(rows) + 1, layers), np.nan) for switched in SWITCHED}
    for switched, grid in values.items():
        # Exact effects replace estimates.
        for circuits, both in (
            (measured.screened, measured.screened_effects),
            (measured.exact, measured.exact_effects),
        ):
            for (kind, layer, head), effect in zip(circuits, getattr(both, switched)[..., 0].mean(axis=0), strict=True):
                grid[rows.index((kind, head)), layer] = effect
        for group, effect in zip(
            measured.groups, getattr(measured.group_effects, switched)[..., 0].mean(axis=0), strict=True
        ):
            if group.name == MLPS and group.layer is not None:
                grid[-1, group.layer] = effect
    limit = max(float(np.nanmax(np.abs(grid), initial=0.0)) for grid in values.values())
    labels = [f"{KINDS[kind]} {head}" for kind, head in rows] + [KINDS["mlp"]]
    return [
        Figure(
            f"Circuits switched {WHERE[switched]}: log p(gold solution) of {measured.student}",
            "Mean over problems; one cell per circuit. Numbers after Q and O are query heads, after K and V key-value "
            f"heads. {_exactness(measured)}",
            _map(grid, labels, limit),
        )
        for switched, grid in values.items()
    ]


def _exactness(measured: MeasuredStudent) -> str:
    """Which cells are exact."""
    chosen = len(measured.chosen)
    if not measured.is_selected:
        return "All effects are exact."
    exact = [f"the first {'circuit' if chosen == 1 else f'{chosen} circuits'} of the screening"] if chosen else []
    if len(measured.exact) > chosen:
        exact.append("circuits that training did not change")
    if any(group.name == MLPS and group.layer is not None for group in measured.groups):
        exact.append("MLPs")
    if not exact:
        return "All effects are first-order estimates."
    return f"Effects are first-order estimates, except those of {enumerated(exact)}, which are exact."


def _map(grid: Array, labels: Sequence[str], limit: float) -> dict[str, Any]:
    rows = [index for index, row in enumerate(grid) if np.isfinite(row).any()]
    heat = go.Heatmap(
        z=[[float(cell) if np.isfinite(cell) else None for cell in grid[index]] for index in rows],
        y=[html.escape(labels[index]) for index in rows],
        colorscale="RdBu",
        zmin=-limit,
        zmax=limit,
        colorbar={"title": "nats"},
        hovertemplate="layer %{x}, %{y}: %{z:.4g}<extra></extra>",
    )
    figure = go.Figure(heat)
    figure.update_layout(xaxis_title="layer", yaxis={"type": "category", "title": "circuit", "autorange": "reversed"})
    data: dict[str, Any] = figure.to_plotly_json()
    return data
