"""The tables of `circuits`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from kdprobe.probing.circuits.effects import Switched
from kdprobe.probing.circuits.labels import Circuit
from kdprobe.probing.circuits.measured import MeasuredStudent
from kdprobe.probing.interventions.forward import TARGETS
from kdprobe.probing.interventions.gain import gain_table
from kdprobe.probing.interventions.sweep import Array
from kdprobe.probing.interventions.tables import joined
from kdprobe.probing.tables import POOLED
from kdprobe.stats.bootstrap import means_over_problems
from kdprobe.stats.permutations.max_t import max_t

SWITCHED = ("on", "off")
_VALUES = ("value", "low", "high", "p_over_problems", "share", "share_low", "share_high")


@dataclass(frozen=True)
class _Effects:
    """Effects of a student's updates, and the columns that name them.

    Attributes:
        names: One per update.
        effects: `[problem, update, target]`.
        tested: Whether they are tested against zero.
    """

    names: Sequence[Mapping[str, Any]]
    effects: Switched
    tested: bool = True


def circuit_tables(students: Sequence[MeasuredStudent], problems: Sequence[str], seed: int) -> dict[str, pd.DataFrame]:
    """Effects of groups and of single circuits, and the gains.

    Args:
        students: The measurements.
        problems: The ids of the problems.
        seed: Of the intervals and tests.
    """
    groups, circuits = [], []
    for each in students:
        names = [{"group": group.name, "layer": group.layer} for group in each.groups]
        groups.append(_rows(each, _Effects(names, each.group_effects), problems, seed))
        estimated = _Effects(_named(each.screened, "gradient"), each.screened_effects, tested=False)
        exact = _Effects(_named(each.exact, "exact"), each.exact_effects, tested=not each.is_selected)
        circuits += [_rows(each, effects, problems, seed) for effects in (estimated, exact) if effects.names]
    tables = {"circuit_groups": joined(groups), "circuits": joined(circuits)}
    tables["circuit_groups"]["layer"] = tables["circuit_groups"]["layer"].astype("Int64")
    gains = [gain_table(each.student, each.against, each.gain, [*problems]) for each in students]
    return {**tables, "gain": joined(gains)}


def tested(effects: Array, seed: int) -> Array:
    """P of the sign-flip test over problems, adjusted for all updates, `[update, target]`; NaN for one problem.

    Args:
        effects: `[problem, update, target]`.
        seed: Of the permutations.
    """
    if len(effects) == 1 or not effects.shape[1]:
        return np.full(effects.shape[1:], np.nan)
    return np.stack([max_t(effects[..., target], seed=seed) for target in range(effects.shape[-1])], axis=-1)


def towards(switched: str, effects: Array) -> Array:
    """Effects in the direction of the gain: what the student loses without an update counts as the update's."""
    return effects if switched == "on" else -effects


def _named(circuits: Sequence[Circuit], method: str) -> list[dict[str, Any]]:
    return [{"circuit": kind, "layer": layer, "index": head, "method": method} for kind, layer, head in circuits]


def _rows(measured: MeasuredStudent, found: _Effects, problems: Sequence[str], seed: int) -> pd.DataFrame:
    """One row per update, direction, target and problem, and one over all problems."""
    own = pd.DataFrame(list(found.names))
    own.insert(0, "student", measured.student)
    own.insert(1, "against", measured.against)
    frames = []
    for switched in SWITCHED:
        effects: Array = getattr(found.effects, switched)
        means, share = means_over_problems(effects, seed), measured.gain.share(towards(switched, effects)[None])
        missing = np.full(effects.shape[1:], np.nan)
        p = tested(effects, seed) if found.tested else missing
        pooled = (means.value, means.low, means.high, p, share.value, share.low, share.high)
        singly = [(problem, (value, *[missing] * 6)) for problem, value in zip(problems, effects, strict=True)]
        for problem, parts in [(POOLED, pooled), *singly]:
            for target, name in enumerate(TARGETS):
                values = {column: part[:, target] for column, part in zip(_VALUES, parts, strict=True)}
                frames.append(own.assign(switched=switched, metric=f"log_p_gold_{name}", problem=problem, **values))
    return joined(frames)
