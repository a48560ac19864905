"""Which single circuits are switched, and which part of an update ranks first on the earlier problems.

What ranks first on some problems is measured on others, as for heads (`kdprobe.probing.selection`): on each fold of the
problems, what ranks first on the earlier folds is measured.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kdprobe.probing.circuits.labels import Circuit
from kdprobe.probing.selection import folds_of

Array = NDArray[np.float64]


@dataclass(frozen=True)
class CircuitSelection:
    """The circuits of attention that are switched one by one.

    Attributes:
        chosen: All of them, the first of the screening over all problems first.
        before: Those that the problems of the folds before it select, for each fold but the first.
        folds: Each problem's fold, `[problem]`.
    """

    chosen: list[Circuit]
    before: list[list[Circuit]]
    folds: NDArray[np.int64]


def select_circuits(
    circuits: Sequence[Circuit], screened: Array, gain: Array, exact: int | Literal["all"], folds: int
) -> CircuitSelection:
    """Selects circuits by their estimated effects in the direction of the gain.

    Args:
        circuits: The circuits of attention that training changed.
        screened: Their effects to first order, on minus off, `[problem, circuit]`: whether switched on or off, a
            circuit that carries the gain is worth as much of it.
        gain: What training gained, `[problem]`.
        exact: How many circuits are switched one by one.
        folds: Into how many folds the problems are divided.
    """
    members = folds_of(len(gain), folds)
    count = len(circuits) if exact == "all" else exact
    all_problems = np.ones(len(gain), dtype=bool)
    selected = [
        [circuits[index] for index in _order(screened, gain, problems)[:count]]
        for problems in (all_problems, *(members < fold for fold in range(1, int(members.max()) + 1)))
    ]
    chosen = list(dict.fromkeys(circuit for found in selected for circuit in found))
    return CircuitSelection(chosen, selected[1:], members)


def first_before(
    effects: Array, gain: Array, folds: NDArray[np.int64], candidates: Sequence[Collection[int]]
) -> NDArray[np.int64]:
    """The update that ranks first on the folds before a problem's, `[problem]`; -1 in the first fold.

    Args:
        effects: Towards the gain of a positive sign, `[problem, update]`.
        gain: What training gained, `[problem]`.
        folds: Each problem's fold, `[problem]`.
        candidates: The updates that may rank first, for each fold but the first.
    """
    found = np.full(len(folds), -1)
    for fold, possible in enumerate(candidates, start=1):
        order = [index for index in _order(effects, gain, folds < fold) if index in possible]
        found[folds == fold] = order[0] if order else -1
    return found


def _order(effects: Array, gain: Array, problems: NDArray[np.bool_]) -> list[int]:
    """The columns of effects, those first that act most in the direction of the gain on these problems."""
    sign = -1 if gain[problems].mean() < 0 else 1
    order: list[int] = np.argsort(-sign * effects[problems].mean(axis=0), kind="stable").tolist()
    return order
