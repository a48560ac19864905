"""Figures of `circuits`: maps of layers and circuits, and bars with intervals for groups."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from kdprobe.probing.analysis import Figure
from kdprobe.probing.circuits.arms import SWITCHED, Arm, Direction, means_of
from kdprobe.probing.circuits.groups import MLPS
from kdprobe.probing.circuits.labels import KINDS
from kdprobe.probing.figures import error_bars, menu
from kdprobe.probing.interventions.sweep import Array
from kdprobe.words import enumerated

WHERE = {"on": "on in the base", "off": "off in the student"}


def figures(arms: Sequence[Arm], seed: int) -> list[Figure]:
    """Bars of groups, bars of layers if they were switched, and a map per direction; menus switch between students.

    Args:
        arms: The students and arms; those that training did not change are left out.
        seed: Of the intervals.
    """
    changed = [arm for arm in arms if not arm.same]
    return [_bars(changed, seed), *_layer_bars(changed, seed), *_maps(changed)] if changed else []


def _titled(title: str, arms: Sequence[Arm]) -> str:
    return f"{title} of {arms[0].name}" if len(arms) == 1 else title


def _bars(arms: Sequence[Arm], seed: int) -> Figure:
    figure = go.Figure()
    for arm in arms:
        chosen = [index for index, group in enumerate(arm.groups) if group.layer is None]
        labels = [arm.groups[index].label for index in chosen]
        for switched in SWITCHED:
            _add_bars(figure, labels, arm.group_effects(switched)[:, :, chosen], (arm, WHERE[switched]), arms, seed)
    figure.update_layout(xaxis={"type": "category"})
    title = _titled("Switching groups of circuits: log p(gold solution)", arms)
    return Figure(title, _CAPTION, _finished(figure, [arm.name for arm in arms for _ in SWITCHED]))


def _layer_bars(arms: Sequence[Arm], seed: int) -> list[Figure]:
    figure, names = go.Figure(), []
    for arm in arms:
        by_name: dict[str, list[int]] = {}
        for index, group in enumerate(arm.groups):
            if group.layer is not None:
                by_name.setdefault(group.name, []).append(index)
        for name, chosen in by_name.items():
            layers = [arm.groups[index].layer for index in chosen]
            for switched in SWITCHED:
                label = f"{'MLP' if name == MLPS else name}, {WHERE[switched]}"
                _add_bars(figure, layers, arm.group_effects(switched)[:, :, chosen], (arm, label), arms, seed)
                names.append(arm.name)
    if not names:
        return []
    figure.update_layout(xaxis_title="layer")
    title = _titled("Switching each layer's attention and MLP: log p(gold solution)", arms)
    return [Figure(title, _CAPTION, _finished(figure, names))]


_CAPTION = (
    "Mean change when the update of these weights is switched on alone in the base, and when it is switched off in the "
    "student; error bars are 95% intervals over problems, and over seeds where an arm has several."
)


def _add_bars(  # noqa: PLR0917
    figure: go.Figure, labels: Sequence[Any], effects: Array, trace: tuple[Arm, str], arms: Sequence[Arm], seed: int
) -> None:
    """Bars of effects `[seed, problem, group, target]` on the gold solution."""
    arm, name = trace
    means = means_of(effects, seed)
    parts = (part[:, 0].tolist() for part in (means.value, means.low, means.high))
    rows = [{"value": value, "low": low, "high": high} for value, low, high in zip(*parts, strict=True)]
    figure.add_bar(
        x=list(labels),
        y=[row["value"] for row in rows],
        # The table behind the chart has all traces.
        name=html.escape(name if len(arms) == 1 else f"{arm.name}, {name}"),
        error_y=error_bars(rows),
        visible=arm is arms[0],
    )


def _finished(figure: go.Figure, names: Sequence[str]) -> dict[str, Any]:
    figure.update_layout(barmode="group", yaxis_title="change in log p(gold solution), nats", updatemenus=_menu(names))
    data: dict[str, Any] = figure.to_plotly_json()
    return data


def _menu(names: Sequence[str]) -> list[dict[str, Any]]:
    return menu(names) if len(set(names)) > 1 else []


def _maps(arms: Sequence[Arm]) -> list[Figure]:
    """One map per direction: columns are layers, rows are the circuits of a layer."""
    grids = {switched: [_grid(arm, switched) for arm in arms] for switched in SWITCHED}
    # One scale, so that students and directions are comparable.
    limit = max(float(np.nanmax(np.abs(grid), initial=0.0)) for found in grids.values() for grid, _ in found)
    exactness = {arm.name: _exactness(arm) for arm in arms}
    same = len(set(exactness.values())) == 1
    exact = " ".join([*exactness.values()][:1] if same else [f"{name}: {said}" for name, said in exactness.items()])
    made = []
    for switched, found in grids.items():
        figure = go.Figure()
        for arm, (grid, labels) in zip(arms, found, strict=True):
            figure.add_trace(_map(grid, labels, limit, arm.name, visible=arm is arms[0]))
        figure.update_layout(
            xaxis_title="layer",
            yaxis={"type": "category", "title": "circuit", "autorange": "reversed"},
            updatemenus=_menu([arm.name for arm in arms]),
        )
        made.append(
            Figure(
                _titled(f"Circuits switched {WHERE[switched]}: log p(gold solution)", arms),
                "Mean over problems; one cell per circuit. Numbers after Q and O are query heads, after K and V "
                f"key-value heads. {exact}",
                figure.to_plotly_json(),
            )
        )
    return made


def _grid(arm: Arm, switched: Direction) -> tuple[Array, list[str]]:
    """Effects `[circuit of a layer, layer]`, and what the rows are."""
    circuits = [*arm.exact, *arm.screened]
    rows = list(dict.fromkeys((kind, head) for kind, _, head in circuits))
    rows.sort(key=lambda row: (list(KINDS).index(row[0]), row[1]))
    grid = np.full((len(rows) + 1, 1 + max(circuit.layer for circuit in circuits)), np.nan)
    # Exact effects replace estimates.
    for found, effects in ((arm.screened, arm.screened_effects(switched)), (arm.exact, arm.exact_effects(switched))):
        for (kind, layer, head), effect in zip(found, effects[..., 0].mean(axis=(0, 1)), strict=True):
            grid[rows.index((kind, head)), layer] = effect
    for group, effect in zip(arm.groups, arm.group_effects(switched)[..., 0].mean(axis=(0, 1)), strict=True):
        if group.name == MLPS and group.layer is not None:
            grid[-1, group.layer] = effect
    return grid, [*(f"{KINDS[kind]} {head}" for kind, head in rows), KINDS["mlp"]]


def _exactness(arm: Arm) -> str:
    """Which cells are exact."""
    chosen = len(arm.selection.chosen)
    if not arm.is_selected:
        return "All effects are exact."
    exact = (
        [f"{'the circuit' if chosen == 1 else f'the {chosen} circuits'} that the screening selected"] if chosen else []
    )
    if len(arm.exact) > chosen:
        exact.append("circuits that training did not change")
    if any(group.name == MLPS and group.layer is not None for group in arm.groups):
        exact.append("MLPs")
    if not exact:
        return "All effects are first-order estimates."
    return f"Effects are first-order estimates, except those of {enumerated(exact)}, which are exact."


def _map(grid: Array, labels: Sequence[str], limit: float, name: str, *, visible: bool) -> go.Heatmap:
    rows = [index for index, row in enumerate(grid) if np.isfinite(row).any()]
    return go.Heatmap(
        z=[[float(cell) if np.isfinite(cell) else None for cell in grid[index]] for index in rows],
        y=[html.escape(labels[index]) for index in rows],
        colorscale="RdBu",
        zmin=-limit,
        zmax=limit,
        colorbar={"title": "nats"},
        name=html.escape(name),
        visible=visible,
        hovertemplate="layer %{x}, %{y}: %{z:.4g}<extra></extra>",
    )
