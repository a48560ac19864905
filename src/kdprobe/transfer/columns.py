"""The columns of a transfer set's table, and a check that a table has them."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kdprobe.files import UnreadableError

TAIL = "tail_logmass_"
"""Prefix of the columns with the tail's log-mass, one for each temperature."""
THINKING = {"text": pa.string(), "closed": pa.bool_(), "tokens": pa.int32(), "taught": pa.bool_()}
"""Fields of `Thinking`, one column each."""
_PLAIN = {"id": pa.string(), "sample": pa.int32(), "text": pa.string(), "finished": pa.bool_()}
_IDS, _STEPS, _FLOATS = (pa.uint16(), pa.uint32()), (pa.uint16(),), (pa.float32(),)
_ROWS = {"top_counts": (pa.uint32(),), "top_ranks": _IDS, "top_logprobs": _STEPS, "token_logprobs": _FLOATS}
"""List columns of the teacher's distributions, except the tail, and their allowed types."""
_PLAIN_IDS = "top_ids"
"""What earlier formats have in place of counts and ranks."""


def is_distribution(name: str) -> bool:
    """Whether a column belongs to the teacher's distributions, without which a table still holds its answers."""
    return name in _ROWS or name.startswith(TAIL) or name == _PLAIN_IDS


def refuse_malformed(table: pa.Table) -> None:
    """Checks that a table holds responses.

    Raises:
        UnreadableError: A column is missing, has the wrong type, or does not match the others.
    """
    try:
        table.validate(full=True)
    except pa.ArrowException as error:
        raise UnreadableError("contains invalid values") from error
    if len(set(table.column_names)) < table.num_columns:
        raise UnreadableError("has a duplicate column")
    tails = [name for name in table.column_names if name.startswith(TAIL)]
    if any(not _is_temperature(name.removeprefix(TAIL)) for name in tails):
        raise UnreadableError("has a tail without a valid temperature")
    _refuse_other_types(table, tails)
    if tails and not _fit(table, tails):
        raise UnreadableError("has log-probabilities that do not match its tokens")


def _fit(table: pa.Table, tails: Iterable[str]) -> bool:
    """Whether each token has one value in the columns with one, and as many in the others as its count says."""
    tokens, kept = _lengths(table, "token_ids"), _lengths(table, "top_ranks")
    counts = pc.list_flatten(table["top_counts"]).to_numpy()
    ends = np.cumsum([0, *tokens])
    totals = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    return (
        all(_lengths(table, name) == tokens for name in ("top_counts", "token_logprobs", *tails))
        and _lengths(table, "top_logprobs") == kept
        and np.diff(totals[ends]).tolist() == kept
        and bool((counts > 0).all())
    )


def _refuse_other_types(table: pa.Table, tails: Iterable[str]) -> None:
    for name, kind in _PLAIN.items():
        if _type(table, name) != kind or table[name].null_count:
            raise UnreadableError(f"has no column {name}")
    lists = {"token_ids": _IDS, **((_ROWS | dict.fromkeys(tails, _FLOATS)) if tails else {})}
    for name, kinds in lists.items():
        if not _holds(table, name, kinds) or table[name].null_count:
            raise UnreadableError(f"has no column {name}")
    # Earlier formats, whose answers are still shown, leave out those of the following columns that hold nothing.
    names = set(table.column_names)
    thinking = {f"thinking_{name}": kind for name, kind in THINKING.items()}
    nullable = {"finish_reason": pa.string(), **(thinking if names & thinking.keys() else {})}
    wrong = [name for name, kind in nullable.items() if name in {*names, *thinking} and _type(table, name) != kind]
    if wrong or ("prompt_ids" in names and not _holds(table, "prompt_ids", (pa.int32(),))):
        raise UnreadableError(f"has no column {(wrong or ['prompt_ids'])[0]}")
    if names & thinking.keys():
        absent = table["thinking_text"].is_null()
        if any(table[f"thinking_{name}"].is_null() != absent for name in ("closed", "taught")):
            raise UnreadableError("has incomplete thinking columns")


def _type(table: pa.Table, name: str) -> pa.DataType | None:
    return table[name].type if name in table.column_names else None


def _holds(table: pa.Table, name: str, kinds: tuple[pa.DataType, ...]) -> bool:
    """Whether a column holds lists with values of one of these types."""
    kind = _type(table, name)
    if kind is None or not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return False
    return kind.value_type in kinds and not pc.list_flatten(table[name]).null_count


def _lengths(table: pa.Table, name: str) -> list[int]:
    lengths: list[int] = pc.list_value_length(table[name]).to_pylist()
    return lengths


def _is_temperature(text: str) -> bool:
    try:
        temperature = float(text)
    except ValueError:
        return False
    # The column is looked up by exactly this text.
    return 0 < temperature < math.inf and repr(temperature) == text
