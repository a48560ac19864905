"""The tables of `logit_lens`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from kdprobe.probing.outputs.differences.parts import SOLUTION, SOLUTION_PARTS
from kdprobe.probing.outputs.differences.tables import BOTH, PROBLEMS
from kdprobe.probing.outputs.lens.measured import MEASURES, Group, LensedStudent, Measure, strategies_of, students_of


def lens_tables(untrained: LensedStudent, students: Sequence[LensedStudent], seed: int) -> dict[str, pd.DataFrame]:
    """Means after every layer, and differences from the untrained model.

    Args:
        untrained: The untrained model.
        students: All others.
        seed: Seed of the permutations.
    """
    groups = [*students_of(students), *strategies_of(students)]
    means = [
        {"student": group.name, **row}
        for group in [*students_of([untrained]), *groups]
        for measure in MEASURES
        for part in (*SOLUTION_PARTS, SOLUTION)
        for row in mean_rows(group, measure, part)
    ]
    changes = [
        {"student": group.name, "against": untrained.student, **row}
        for group in groups
        if group.layers == untrained.layers
        for measure in MEASURES
        for part in (*SOLUTION_PARTS, SOLUTION)
        for row in change_rows(group, measure, part, untrained, seed)
    ]
    tables = {"logit_lens": pd.DataFrame(means), "logit_lens_change": pd.DataFrame(changes)}
    return {name: table for name, table in tables.items() if len(table)}


def mean_rows(
    group: Group, measure: Measure, part: str, against: LensedStudent | None = None
) -> Iterator[dict[str, Any]]:
    """A row per layer."""
    sizes = group.totals(measure, part)[1]
    for layer, mean in enumerate(group.means(measure, part, against)):
        low, high = mean.interval.low, mean.interval.high
        if against is None:
            # No divergence is below 0, and no log-probability above it.
            low, high = (max(low, 0.0), high) if measure == "kl" else (low, min(high, 0.0))
        yield {
            "layer": layer,
            "measure": measure,
            "part": part,
            "value": mean.value,
            "low": low,
            "high": high,
            "over": BOTH if group.combined else PROBLEMS,
            "standard_error": mean.error,
            "seeds": len(group.members),
            "problems": len(sizes),
            "tokens": int(sizes.sum()),
        }


def change_rows(
    group: Group, measure: Measure, part: str, untrained: LensedStudent, seed: int
) -> Iterator[dict[str, Any]]:
    """A row per layer, of the student's mean minus the untrained model's."""
    rows = list(mean_rows(group, measure, part, untrained))
    if rows:
        p = group.p(measure, part, untrained, seed).tolist()
        yield from ({**row, "p_over_problems": each} for row, each in zip(rows, p, strict=True))
