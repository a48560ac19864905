"""The evidence about every head from three sides: how far its circuits moved, its output, and its own weights.

A head's output also changes when it only reads what an earlier head changed. Patching outputs names such readers too;
switching weights shows which heads' own weights carry the gain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kdprobe.probing.circuits.arms import Arm
from kdprobe.probing.circuits.labels import ATTENTION, Circuit
from kdprobe.probing.circuits.measured import MeasuredStudent
from kdprobe.probing.interventions.head_evidence import weight_changes
from kdprobe.probing.interventions.sweep import Array
from kdprobe.probing.labels import Head, head_label
from kdprobe.words import enumerated

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
    rows = weight_changes(measured.student, other.patching.shape, other.geometry)
    heads = list(zip(rows["layer"], rows["head"], strict=True))
    rows["patching_gradient"] = other.patching.ravel()
    sizes = {kind: _heads(measured, kind) for kind in ATTENTION}
    for kind in ATTENTION:
        shared = other.patching.shape[1] // sizes[kind]
        for method, effects in zip(METHODS, _effects(measured), strict=True):
            rows[f"{kind}_{method}"] = [
                effects.get(Circuit(kind, layer, head // shared), np.nan) for layer, head in heads
            ]
    return rows


def evidence_sentence(evidence: Sequence[pd.DataFrame], arm: Arm) -> str | None:
    """Whether the head that patching puts first is also the one whose own weights do most in the gain's direction.

    Args:
        evidence: The evidence about the heads of each of the arm's students; the sentence is about the mean over them.
        arm: The effects of circuits.

    Returns:
        The sentence; `None` if training changed no circuits of attention.
    """
    columns = ["patching_gradient", *(f"{kind}_gradient" for kind in ATTENTION)]
    rows = evidence[0][["layer", "head"]].assign(
        **{column: np.mean([each[column] for each in evidence], axis=0) for column in columns}
    )
    effects = rows[columns[1:]]
    if not effects.any(axis=None):
        return None
    start = f"{arm.title}: by first-order estimates{', averaged over seeds' if arm.combined else ''},"
    towards = arm.gain.sign * rows["patching_gradient"].to_numpy()
    by_output = int(towards.argmax())
    leading = _leading(rows, arm)
    for what, found in (("output", towards[by_output] > 0), ("own weights", leading)):
        if not found:
            verb = "shifts" if what == "output" else "shift"
            return f"{start} no head's {what} alone {verb} log p in the direction of the gain."
    heads = list(zip(rows["layer"].tolist(), rows["head"].tolist(), strict=True))
    head, shifts = head_label(*heads[by_output]), "log p most in the direction of the gain"
    if leading == [by_output]:
        return f"{start} {head} shifts {shifts} both by its output (patching) and by its own weights."
    first = f"{start} the output of {head} (patching) shifts {shifts}"
    several = _together([heads[index] for index in leading])
    if by_output in leading:
        return (
            f"{first}. This head is one of {several} and whose own weights shift log p further in this direction than "
            "those of any other head."
        )
    comma = "," if len(leading) > 1 else ""
    return (
        f"{first}; among the heads' own weights, those of {several}{comma} shift it furthest in this direction. A "
        "head's output can change merely because other heads changed its input."
    )


def _leading(rows: pd.DataFrame, arm: Arm) -> list[int]:
    """The rows of the heads that rank first by the effect of their own weights in the gain's direction.

    That is one head, or, if most of its effect is that of keys and values that it shares with others, all of these that
    are ahead of all other heads; none if no head's weights act in this direction.
    """
    parts = {kind: arm.gain.sign * rows[f"{kind}_gradient"].to_numpy() for kind in ATTENTION}
    shared = parts["k"] + parts["v"]
    own = shared + parts["q"] + parts["o"]
    first = int(own.argmax())
    if own[first] <= 0:
        return []
    if 2 * shared[first] < own[first]:
        return [first]
    size = (1 + rows["head"].max()) // _heads(arm.members[0], "v")
    group = ((rows["layer"] == rows["layer"][first]) & (rows["head"] // size == rows["head"][first] // size)).to_numpy()
    ahead: list[int] = np.flatnonzero(group & (own > 0) & (own >= own[~group].max(initial=0.0))).tolist()
    return ahead


def _together(heads: Sequence[Head]) -> str:
    """A head, or heads of one layer that share keys and values: `heads 3, 4 and 5 of layer 2, which share ...`."""
    if len(heads) == 1:
        return head_label(*heads[0])
    numbers = enumerated([str(head) for _, head in heads])
    return f"heads {numbers} of layer {heads[0][0]}, which share a key-value head"


def _heads(measured: MeasuredStudent, kind: str) -> int:
    circuits = [*measured.exact, *measured.screened]
    return 1 + max(circuit.head for circuit in circuits if circuit.kind == kind)


def _effects(measured: MeasuredStudent) -> Sequence[dict[Circuit, float]]:
    """Effects of switching circuits on, to first order and exactly; a circuit that did not change has none."""
    exact = _by_circuit(measured.exact, measured.exact_effects.on)
    unchanged = dict.fromkeys(set(measured.exact) - set(measured.screened), 0.0)
    return _by_circuit(measured.screened, measured.screened_effects.on) | unchanged, exact


def _by_circuit(circuits: Sequence[Circuit], effects: Array) -> dict[Circuit, float]:
    return dict(zip(circuits, effects[..., 0].mean(axis=0).tolist(), strict=True))
