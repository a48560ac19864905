"""The tables of `circuits`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from kdprobe.probing.circuits.arms import SWITCHED, Arm, Direction, adjusted_p, arms_of, means_of, students_of, towards
from kdprobe.probing.circuits.labels import Circuit
from kdprobe.probing.circuits.measured import MeasuredStudent
from kdprobe.probing.interventions.forward import TARGETS
from kdprobe.probing.interventions.gain import gain_table
from kdprobe.probing.interventions.sweep import Array
from kdprobe.probing.interventions.tables import joined
from kdprobe.probing.outputs.differences.tables import BOTH, PROBLEMS
from kdprobe.probing.tables import POOLED

_VALUES = ("value", "low", "high", "p_over_problems", "share", "share_low", "share_high")
_Names = Sequence[Mapping[str, Any]]
_Effects = Callable[[Direction], Array]


def circuit_tables(students: Sequence[MeasuredStudent], problems: Sequence[str], seed: int) -> dict[str, pd.DataFrame]:
    """Effects of groups and of single circuits, and the gains, of every student and of arms with several seeds.

    Args:
        students: The measurements.
        problems: The ids of the problems.
        seed: Of the intervals and tests.
    """
    groups, circuits, gains = [], [], []
    for each in (*students_of(students), *arms_of(students)):
        names = [{"group": group.name, "layer": group.layer} for group in each.groups]
        groups.append(_rows(each, names, each.group_effects, problems, seed))
        for singles, method, effects, is_tested in (
            (each.screened, "gradient", each.screened_effects, False),
            (each.exact, "exact", each.exact_effects, not each.is_selected),
        ):
            if singles:
                circuits.append(_rows(each, _named(singles, method), effects, problems, seed, is_tested=is_tested))
        # Rows of single problems are those of students.
        gains.append(_of_seeds(gain_table(each.name, each.against, each.gain, problems), each))
    tables = {"circuit_groups": joined(groups), "circuits": joined(circuits), "gain": joined(gains)}
    tables["circuit_groups"]["layer"] = tables["circuit_groups"]["layer"].astype("Int64")
    return tables


def _named(circuits: Sequence[Circuit], method: str) -> list[dict[str, Any]]:
    return [{"circuit": kind, "layer": layer, "index": head, "method": method} for kind, layer, head in circuits]


def _rows(
    arm: Arm, names: _Names, effects: _Effects, problems: Sequence[str], seed: int, *, is_tested: bool = True
) -> pd.DataFrame:
    """One row per update, direction, target and problem, and one over all problems."""
    own = pd.DataFrame(list(names))
    own.insert(0, "student", arm.name)
    own.insert(1, "against", arm.against)
    frames = []
    for switched in SWITCHED:
        found = effects(switched)
        means, share = means_of(found, seed), arm.gain.share(towards(switched, found))
        missing = np.full(found.shape[2:], np.nan)
        p = adjusted_p(found, seed) if is_tested else missing
        pooled = (means.value, means.low, means.high, p, share.value, share.low, share.high)
        singly = [
            (problem, (value, *[missing] * 6)) for problem, value in zip(problems, found.mean(axis=0), strict=True)
        ]
        for problem, parts in [(POOLED, pooled), *singly]:
            for target, name in enumerate(TARGETS):
                values = {column: part[:, target] for column, part in zip(_VALUES, parts, strict=True)}
                frames.append(own.assign(switched=switched, metric=f"log_p_gold_{name}", problem=problem, **values))
    return _of_seeds(joined(frames), arm)


def _of_seeds(table: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    """With what intervals are over; of several seeds, only the rows over all problems."""
    rows = table[table["problem"] == POOLED] if arm.combined else table
    return rows.assign(over=BOTH if arm.combined else PROBLEMS, seeds=len(arm.members))
