"""Heat maps of `contrast`: layer by part of the text, and layer by head."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from kdprobe.probing.analysis import Figure
from kdprobe.probing.contrast.measured import ContrastedStudent, Group, shown
from kdprobe.probing.contrast.pairs import ALL, PARTS
from kdprobe.probing.contrast.sites import Kind

_KINDS: dict[Kind, str] = {"residual": "the residual stream", "mlp": "MLPs", "head": "heads"}
_APART = "tell apart from their counterfactuals"
_CAPTION = f"Share of the difference between the two runs; mean over the problems that the student can {_APART}."
_CHANGE_CAPTION = f"Difference between the shares; mean over the problems that both models can {_APART}."


def figures(untrained: ContrastedStudent, students: Sequence[ContrastedStudent]) -> list[Figure]:
    """Maps of each student's effects and of its differences from the untrained model, by kind of site."""
    groups = [Group(untrained.student, [untrained]), *shown(students)]
    made = []
    for kind, what in _KINDS.items():
        for title, caption, compared in (
            (f"Patching {what} from the counterfactual run: {{}}", _CAPTION, groups),
            (
                f"Change in the effect of patching {what}: {{}} against {untrained.student}",
                _CHANGE_CAPTION,
                shown(students, untrained),
            ),
        ):
            values = {group.name: found for group in compared if np.isfinite(found := _values(group)).any()}
            chosen = {group.name: group for group in compared if group.name in values}
            limit = max((_largest(group, values[name], kind) for name, group in chosen.items()), default=0.0)
            made += [
                Figure(title.format(name), caption, _map(group, values[name], kind, limit or 1.0))
                for name, group in chosen.items()
                if any(site.kind == kind for site in group.sites)
            ]
    return made


def _values(group: Group) -> NDArray[np.float64]:
    """The mean share of each site, `[site]`; NaN if there are no problems."""
    return np.array([mean.value for mean, _, _ in group.means("effect")])


def _largest(group: Group, values: NDArray[np.float64], kind: Kind) -> float:
    chosen = [
        value for site, value in zip(group.sites, values, strict=True) if site.kind == kind and np.isfinite(value)
    ]
    return float(np.max(np.abs(chosen), initial=0.0))


def _map(group: Group, values: NDArray[np.float64], kind: Kind, limit: float) -> dict[str, object]:
    """One cell per layer and part, or per layer and head at all positions."""
    cells = {
        (site.layer, site.head if kind == "head" else site.part): value
        for site, value in zip(group.sites, values, strict=True)
        if site.kind == kind and (kind != "head" or site.part == ALL) and np.isfinite(value)
    }
    layers = sorted({layer for layer, _ in cells})
    order = range(max((site.head for site in group.sites), default=0) + 1) if kind == "head" else (ALL, *PARTS[::-1])
    rows = [row for row in order if any(row == found for _, found in cells)]
    heat = go.Heatmap(
        x=[str(layer) for layer in layers],
        y=[html.escape(str(row).replace("_", " ")) for row in rows],
        z=[[cells.get((layer, row)) for layer in layers] for row in rows],
        colorscale="RdBu",
        zmin=-limit,
        zmax=limit,
        colorbar={"title": "share"},
        hovertemplate=f"layer %{{x}}, {'head ' if kind == 'head' else ''}%{{y}}: %{{z:.3g}}<extra></extra>",
    )
    figure = go.Figure(heat)
    figure.update_layout(xaxis_title="layer", yaxis_title="head" if kind == "head" else "patched at")
    figure.update_xaxes(type="category")
    figure.update_yaxes(type="category")
    data: dict[str, object] = figure.to_plotly_json()
    return data
