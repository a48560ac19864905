"""Measurements of transfer sets in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kdprobe.cli.show.tables import new_table
from kdprobe.console.streams import plain

if TYPE_CHECKING:
    from rich.table import Table


def fidelity_tables(fidelity: dict[str, dict[str, Any]]) -> list[Table]:
    """Prints the teacher's answers, and its probability mass outside the top k."""
    if not fidelity:
        return []
    filtered = any(figures["kept"] < figures["responses"] for figures in fidelity.values())
    untaught = any(figures["untaught"] for figures in fidelity.values())
    thinking = any(figures["thinking"] for figures in fidelity.values())
    answers = new_table(
        "The teacher's answers",
        "strategy", "answers", *(["kept"] if filtered else []),
        "correct", "cut off", *(["nothing to learn from"] if untaught else []),
        *(["thinking, unclosed"] if thinking else []), "tokens", "longest", "bytes/token", "tok/s",
    )  # fmt: skip
    borders = (1e-6, 1e-4, 1e-2)
    masses = new_table(
        "The teacher's probability mass in its top k, and the share of positions where the mass outside the top k is "
        "below each threshold",
        "strategy", "T", "in the top k", "truncation KL", *(f"<{border:g}" for border in borders),
    )  # fmt: skip
    for strategy, figures in fidelity.items():
        speed = figures["tokens_per_second"]
        answers.add_row(
            plain(strategy),
            str(figures["responses"]),
            *([str(figures["kept"])] if filtered else []),
            f"{figures['accuracy']:.1%}",
            f"{figures['cut_off']:.0%}",
            *([str(len(figures["untaught"]))] if untaught else []),
            *([f"{figures['thinking']:.0%}, {figures['unclosed_thinking']:.0%}"] if thinking else []),
            f"{figures['mean_tokens']:.0f}",
            str(figures["longest"]),
            f"{figures['bytes_per_token']:.0f}",
            f"{speed:.0f}" if speed else "unknown",
        )
        for kept in figures["retained"]:
            masses.add_row(
                plain(strategy),
                f"{kept['temperature']:g}",
                f"{kept['mass']:.3%}",
                f"{kept['truncation_kl']:.1e} nats",
                *(f"{_below(kept['tail_histogram'], border):.1%}" for border in borders),
            )
    return [answers, masses] if masses.row_count else [answers]


def _below(counts: Sequence[int], border: float) -> float:
    """Share of a tail histogram below one of its borders."""
    from kdprobe.transfer.fidelity import TAIL_EDGES

    return sum(counts[: TAIL_EDGES.index(border)]) / sum(counts)
