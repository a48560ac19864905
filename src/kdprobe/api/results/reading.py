"""How answers were read, in sentences, for the terminal and for notebooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kdprobe.comparison.scoring import Score


def reading_sentences(scores: Mapping[str, Score]) -> list[str]:
    """Which columns were read, and other notes on how the files were read; files read alike share a sentence.

    Args:
        scores: One score for each set of answers, by name.
    """
    files: dict[tuple[str, ...], list[str]] = {}
    for name, score in scores.items():
        if score.columns:
            files.setdefault((_columns_read(score.columns), *score.notes), []).append(name)
    return [f"{', '.join(read)}: {' '.join(said)}" for said, read in files.items()]


def _columns_read(columns: Mapping[str, str | None]) -> str:
    """The columns that were read, in a sentence."""
    response, gold, identifier = (columns.get(role) for role in ("response", "gold", "id"))
    read = (
        f"responses are in column {response!r}, gold answers in {gold!r}"
        if response
        else f"gold answers are in column {gold!r}"
    )
    return f"{read}, ids in {identifier!r}." if identifier else f"{read}; there is no id column."
