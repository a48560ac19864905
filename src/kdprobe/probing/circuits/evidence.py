"""The evidence on every head from three sides: how far its circuits moved, its output, and its own weights.

A head's output also changes when it only reads what an earlier head changed. Patching outputs names such readers;
switching weights names the head whose weights were changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kdprobe.probing.circuits.labels import ATTENTION, Circuit
from kdprobe.probing.circuits.measured import MeasuredStudent
from kdprobe.probing.interventions.sweep import Array
from kdprobe.probing.labels import head_label
from kdprobe.probing.weights.geometry import CIRCUITS

METHODS = ("gradient", "exact")


@dataclass(frozen=True)
class OtherEvidence:
    """What other analyses say about the heads of a student.

    Attributes:
        geometry: Its rows of the analysis `geometry`; empty if they are missing.
        patching: The first-order effect on log p(gold solution) of putting each head's output into the base,
            `[layer, head]`, in nats.
    """

    geometry: pd.DataFrame
    patching: Array


def head_evidence(measured: MeasuredStudent, other: OtherEvidence) -> pd.DataFrame:
    """One row per layer and query head.

    Columns student, layer, head, `qk` and `ov` (relative changes), `patching_gradient`, and for each of `q`, `k`, `v`
    and `o` the effect of switching these weights of the head on in the base, `q_gradient` and `q_exact`. Keys and
    values are those of the key-value head that the head reads. Values that are not known are missing.

    Args:
        measured: The effects of circuits.
        other: What other analyses say.
    """
    layers, heads = np.indices(other.patching.shape)
    rows = pd.DataFrame({"student": measured.student, "layer": layers.ravel(), "head": heads.ravel()})
    places = list(zip(rows["layer"], rows["head"], strict=True))
    for circuit in CIRCUITS:
        own = other.geometry[other.geometry["circuit"] == circuit].set_index(["layer", "head"])["relative"]
        rows[circuit] = own.reindex(places).to_numpy(float)
    rows["patching_gradient"] = other.patching.ravel()
    sizes = {kind: _heads(measured, kind) for kind in ATTENTION}
    for kind in ATTENTION:
        shared = other.patching.shape[1] // sizes[kind]
        for method, effects in zip(METHODS, _effects(measured), strict=True):
            rows[f"{kind}_{method}"] = [
                effects.get(Circuit(kind, layer, head // shared), np.nan) for layer, head in places
            ]
    return rows


def evidence_sentence(rows: pd.DataFrame, student: str) -> str | None:
    """Whether the head that patching puts first is also the one whose own weights do most; `None` without a change."""
    own = rows[[f"{kind}_gradient" for kind in ATTENTION]].sum(axis=1)
    if not own.any():
        return None
    heads = list(zip(rows["layer"].tolist(), rows["head"].tolist(), strict=True))
    by_output, by_weights = (heads[int(values.abs().argmax())] for values in (rows["patching_gradient"], own))
    if by_output == by_weights:
        return (
            f"{student}: by first-order estimates, {head_label(*by_weights)} comes first both by its output "
            "(patching) and by its own weights."
        )
    return (
        f"{student}: by first-order estimates, {head_label(*by_output)} comes first by its output (patching), but "
        f"{head_label(*by_weights)} by its own weights. A head's output also changes if it only reads what others "
        "changed."
    )


def _heads(measured: MeasuredStudent, kind: str) -> int:
    circuits = [*measured.exact, *measured.screened]
    return 1 + max(circuit.head for circuit in circuits if circuit.kind == kind)


def _effects(measured: MeasuredStudent) -> Sequence[dict[Circuit, float]]:
    """Effects of switching circuits on, to first order and exactly; a circuit that did not change has none."""
    exact = _by_circuit(measured.exact, measured.exact_effects.on)
    unchanged = dict.fromkeys(measured.exact[len(measured.chosen) :], 0.0)
    return _by_circuit(measured.screened, measured.screened_effects.on) | unchanged, exact


def _by_circuit(circuits: Sequence[Circuit], effects: Array) -> dict[Circuit, float]:
    return dict(zip(circuits, effects[..., 0].mean(axis=0).tolist(), strict=True))
