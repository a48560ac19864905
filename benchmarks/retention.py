"""How often the outcomes of retention tasks are wrong, by simulation.

    python benchmarks/retention.py [--repetitions 2000] [--json FILE]

Counts *lost* if nothing was lost, over four retention tasks together, for single students (documents are sampled) and
for strategies of three seeds whose students differ by chance (documents and seeds are sampled); and *retained* if the
true loss equals the margin. Each should happen in at most 5% of cases, plus two standard errors of the simulation.
Exits with 1 otherwise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from result_file import write_result
from simulation import exit_above_level, options

from kdprobe.stats.p_values import SIGNIFICANT, holm
from kdprobe.stats.paired import PairedChange, paired_change, seeds_change

TASKS, SEEDS = 4, 3
DOCUMENTS = (60, 200, 500)
EFFECTS = (0.0, 0.1, 0.3)
"""Standard deviations of the effect of a seed, relative to that of a document."""
MARGIN = 0.05


def main() -> None:
    """Prints a row per setting, and fails if any exceeds 5%."""
    given = options(__doc__).parse_args()
    random = np.random.default_rng(1)
    rows: list[dict[str, Any]] = []
    print("| students | documents | outcome | how often |")
    print("| --- | --- | --- | --- |", flush=True)
    for documents in DOCUMENTS:
        rows += [
            _row(documents, effect, "lost", lost(random, documents, effect, given.repetitions))
            for effect in (None, *EFFECTS)
        ]
        rows.append(_row(documents, None, "retained", retained(random, documents, given.repetitions)))
    if given.json:
        write_result(given.json, {"repetitions": given.repetitions, "rows": rows})
    exit_above_level((row["share"] for row in rows), given.repetitions, "An outcome is wrong")


def _row(documents: int, effect: float | None, outcome: str, share: float) -> dict[str, Any]:
    students = "single students" if effect is None else f"strategies of {SEEDS} seeds, effect {effect}"
    print(f"| {students} | {documents} | {outcome} | {share:.1%} |", flush=True)
    return {"students": students, "documents": documents, "outcome": outcome, "share": share}


def lost(random: np.random.Generator, documents: int, effect: float | None, repetitions: int) -> float:
    """The share of repetitions in which one of several tasks is called lost although no student lost anything."""
    found = 0
    for _ in range(repetitions):
        changes = [_without_loss(random, documents, effect) for _ in range(TASKS)]
        adjusted = holm([change.p_lower for change in changes])
        found += any(p < SIGNIFICANT and change.high < 0 for p, change in zip(adjusted, changes, strict=True))
    return found / repetitions


def _without_loss(random: np.random.Generator, documents: int, effect: float | None) -> PairedChange:
    document = random.normal(size=documents)
    untrained = document + random.normal(size=documents) > 0
    if effect is None:
        return paired_change((document + random.normal(size=documents) > 0).astype(float) - untrained)
    seeds = random.normal(scale=effect, size=(SEEDS, 1))
    taught = document + seeds + random.normal(size=(SEEDS, documents)) > 0
    return seeds_change(taught.astype(float) - untrained)


def retained(random: np.random.Generator, documents: int, repetitions: int) -> float:
    """The share called retained although the true loss equals the margin; a tenth of the documents differ."""
    shares = [(0.1 - MARGIN) / 2, (0.1 + MARGIN) / 2, 0.9]
    outcomes = np.array([1.0, -1.0, 0.0])
    draws = random.multinomial(documents, shares, size=repetitions)
    return float(np.mean([paired_change(np.repeat(outcomes, draw)).low > -MARGIN for draw in draws]))


if __name__ == "__main__":
    main()
