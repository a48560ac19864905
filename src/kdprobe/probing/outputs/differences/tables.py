"""The tables of `output_divergence`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from math import inf, log, nan
from typing import Any

import pandas as pd

from kdprobe.probing.outputs.differences.measured import Group, Pair, strategies_of, students_of
from kdprobe.probing.outputs.differences.parting import Parting, partings
from kdprobe.probing.outputs.differences.parts import PARTS, SOLUTION

PROBLEMS, BOTH = "problems", "seeds and problems"
"""What an interval is over."""
_CONTEXT = 16
"""Tokens of the text that are shown before the token where students diverge."""
_FIRST = [
    *("student", "against", "problem", "within", "position", "part", "before"),
    *("token", "student_token", "against_token", "js", "token_id", "student_token_id", "against_token_id"),
]


def difference_tables(pairs: Sequence[Pair], threshold: float | None, tokenizer: Any) -> dict[str, pd.DataFrame]:
    """Means per part with intervals, where students first diverge, and every token.

    Args:
        pairs: The measurements.
        threshold: As in the options.
        tokenizer: The tokenizer of all students.
    """
    decode = token_texts(tokenizer)
    tokens = [frame for pair in pairs for frame in _token_frames(pair, decode)]
    return {
        "output_divergence": pd.DataFrame(mean_rows(pairs)),
        "output_divergence_first": _first(pairs, threshold, tokenizer),
        "output_divergence_tokens": pd.concat(tokens, ignore_index=True),
    }


def token_texts(tokenizer: Any) -> Callable[[int], str]:
    """Decodes single tokens, each only once."""
    return cache(lambda token: str(tokenizer.decode([token])))


def mean_rows(pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    """A row per student, measure and part; and one per strategy with at least three seeds."""
    groups = [*students_of(pairs), *strategies_of(pairs)]
    return [
        row
        for group in groups
        for measure in group.members[0].measures
        for part in (*PARTS, SOLUTION)
        if (row := mean_row(group, measure, part))
    ]


def mean_row(group: Group, measure: Any, part: str) -> dict[str, Any] | None:
    """The row of one measure and part, or `None` if no problem has tokens of that part."""
    if (found := group.mean(measure, part)) is None:
        return None
    mean, sizes = found
    return {
        "student": group.name,
        "against": group.against,
        "measure": measure,
        "part": part,
        "value": mean.value,
        # No divergence is below 0, and no Jensen-Shannon divergence above log 2.
        "low": max(0.0, mean.interval.low) if mean.interval.known else nan,
        "high": min(log(2) if measure == "js" else inf, mean.interval.high) if mean.interval.known else nan,
        "over": BOTH if group.combined else PROBLEMS,
        "standard_error": mean.error,
        "seeds": len(group.members),
        "problems": len(sizes),
        "tokens": int(sizes.sum()),
    }


def _first(pairs: Sequence[Pair], threshold: float | None, tokenizer: Any) -> pd.DataFrame:
    rows = [_first_row(parting, tokenizer) for pair in pairs for parting in partings(pair, threshold)]
    whole = [column for column in _FIRST if column == "position" or column.endswith("_id")]
    return pd.DataFrame(rows, columns=_FIRST).astype(dict.fromkeys(whole, "Int64"))


def _first_row(parting: Parting, tokenizer: Any) -> dict[str, Any]:
    """Without the token, if the two never part."""
    row: dict[str, Any] = {
        "student": parting.pair.student,
        "against": parting.pair.against,
        "problem": parting.problem,
        "within": parting.within,
    }
    if not parting.parted:
        return row
    return row | {
        "position": parting.position,
        "part": parting.part,
        "before": tokenizer.decode(parting.ids[max(0, parting.position - _CONTEXT) : parting.position]),
        "token": tokenizer.decode([parting.ids[parting.position]]),
        "student_token": tokenizer.decode([parting.student_token]),
        "against_token": tokenizer.decode([parting.against_token]),
        "js": parting.js,
        "token_id": parting.ids[parting.position],
        "student_token_id": parting.student_token,
        "against_token_id": parting.against_token,
    }


def _token_frames(pair: Pair, decode: Callable[[int], str]) -> Iterator[pd.DataFrame]:
    for text, found in zip(pair.texts, pair.differences, strict=True):
        ids = text.sequence.ids[1:]
        against, student = found.greedy.T.tolist()
        yield pd.DataFrame(
            {
                "student": pair.student,
                "against": pair.against,
                "problem": text.sequence.id,
                "position": range(1, len(ids) + 1),
                "part": text.parts.astype(object),
                "token": [decode(token) for token in ids],
                "js": found.js,
                "kl": found.kl if pair.against_untrained else nan,
                "student_token": [decode(token) for token in student],
                "against_token": [decode(token) for token in against],
            }
        )
