"""Converts responses to a Parquet table, and back.

Per response token: the id, its log-probability, the number of top ids kept, their indices in a dictionary, their
log-probabilities in steps of 1/256 nat, and the tail's exact log-mass at every planned temperature (float32).

Log-probabilities decrease from the first of the top ids to the last, so the table stores the number of steps from each
to the next: small numbers, which compress well. `benchmarks/transfer_codec.py` measures the cost of the rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kdprobe.errors import KdprobeError
from kdprobe.files import UnreadableError
from kdprobe.teachers.teacher import NO_TOKEN, Response, SparseRows, Thinking
from kdprobe.transfer.columns import TAIL, THINKING, refuse_malformed
from kdprobe.transfer.dictionary import Dictionary, tokens_before, width

STEPS_PER_NAT = 256
_IMPOSSIBLE = np.iinfo(np.uint16).max
"""Represents a log-probability of -inf, and any below -255.99 nats."""


@dataclass(frozen=True)
class Layout:
    """What all tables of a transfer set have in common.

    Attributes:
        dictionary: Predicts the top ids.
        temperatures: Temperatures at which the tail is known; empty without log-probabilities.
    """

    dictionary: Dictionary
    temperatures: tuple[float, ...] = ()

    @classmethod
    def of(cls, responses: Iterable[Response], vocabulary: int, dictionary: Dictionary | None = None) -> Layout:
        """The layout for these responses; without a dictionary, ids are stored as they are."""
        known = [response.rows for response in responses if response.rows is not None]
        longest = next((rows for rows in known if len(rows.ids)), next(iter(known), None))
        temperatures = tuple(longest.tail_logmass) if longest else ()
        return cls(dictionary or Dictionary.empty(vocabulary), temperatures)


def to_table(responses: Sequence[Response], layout: Layout) -> pa.Table:
    """Responses as a table.

    Args:
        responses: The responses; either all with tokens have log-probabilities, or none.
        layout: The result of `Layout.of` for them or for all that they belong to.

    Raises:
        KdprobeError: Only some have log-probabilities.
    """
    ids = width(layout.dictionary.vocabulary)
    prompts = [None if response.prompt_ids is None else response.prompt_ids.tolist() for response in responses]
    thoughts = [response.thinking for response in responses]
    columns: dict[str, pa.Array] = {
        "id": pa.array([response.id for response in responses], pa.string()),
        "sample": pa.array([response.sample for response in responses], pa.int32()),
        "text": pa.array([response.text for response in responses], pa.string()),
        "finished": pa.array([response.finished for response in responses], pa.bool_()),
        "token_ids": _lists([response.token_ids for response in responses], ids),
        "prompt_ids": pa.array(prompts, pa.list_(pa.int32())),
        "finish_reason": pa.array([response.finish_reason for response in responses], pa.string()),
    }
    for name, kind in THINKING.items():
        values = [None if thought is None else getattr(thought, name) for thought in thoughts]
        columns[f"thinking_{name}"] = pa.array(values, kind)
    if any(bool(response.rows) != bool(layout.temperatures) for response in responses if len(response.token_ids)):
        raise KdprobeError(
            "Some responses have log-probabilities and some have none.",
            "This is a bug in the teacher's plugin.",
        )
    if layout.temperatures:
        columns |= _distributions(responses, layout)
    return pa.table(columns)


def _distributions(responses: Sequence[Response], layout: Layout) -> dict[str, pa.Array]:
    dictionary = layout.dictionary
    nothing = _nothing(layout.temperatures)
    rows = [
        response.rows if response.rows is not None and len(response.token_ids) else nothing for response in responses
    ]
    kept = [row.ids != NO_TOKEN for row in rows]
    counts = [mask.sum(axis=1) for mask in kept]
    for response, row, count in zip(responses, rows, counts, strict=True):
        fault = "do not match its tokens" if len(count) != len(response.token_ids) else None
        fault = "have ids beyond its vocabulary" if row.ids.max(initial=0) >= dictionary.vocabulary else fault
        if fault:
            raise KdprobeError(
                f"The teacher's distributions for {response.id!r} {fault}.", "This is a bug in the teacher's plugin."
            )
    ranks = [
        dictionary.encode(np.repeat(tokens_before(response.token_ids), count), row.ids[mask].astype(np.int64))
        for response, row, mask, count in zip(responses, rows, kept, counts, strict=True)
    ]
    steps = [_steps(row.logprobs)[mask] for row, mask in zip(rows, kept, strict=True)]
    return {
        "top_counts": _lists(counts, np.uint32),
        "top_ranks": _lists(ranks, dictionary.width),
        "top_logprobs": _lists(steps, np.uint16),
        "token_logprobs": _lists([row.token_logprobs for row in rows], np.float32),
        **{
            f"{TAIL}{temperature!r}": _lists([row.tail_logmass[temperature] for row in rows], np.float32)
            for temperature in layout.temperatures
        },
    }


def from_table(table: pa.Table, dictionary: Dictionary | None = None) -> tuple[Response, ...]:
    """The responses of a table.

    Args:
        table: A table made by `to_table`, with or without the columns of the distributions.
        dictionary: The dictionary it was made with, if it has these columns.

    Raises:
        UnreadableError: It is not such a table.
    """
    refuse_malformed(table)
    return tuple(response_in(table, row, dictionary) for row in range(table.num_rows))


def response_in(table: pa.Table, index: int, dictionary: Dictionary | None) -> Response:
    """The response in a row of a table that is known to be well-formed; arguments and errors as for `from_table`."""
    row = table.slice(index, 1)

    def value(name: str) -> Any:
        return row[name][0].as_py() if name in row.column_names else None

    token_ids = _values(row, "token_ids").astype(np.int64)
    temperatures = tails_of(table)
    rows = None
    if temperatures:
        if dictionary is None:
            raise UnreadableError("has no dictionary")
        rows = _rows(row, token_ids, dictionary, temperatures)
    prompt = value("prompt_ids")
    thinking = Thinking(**{name: value(f"thinking_{name}") for name in THINKING})
    return Response(
        id=value("id"),
        text=value("text"),
        token_ids=token_ids,
        finished=value("finished"),
        rows=rows,
        sample=value("sample"),
        prompt_ids=None if prompt is None else np.array(prompt, dtype=np.int64),
        thinking=None if thinking.text is None else thinking,
        finish_reason=value("finish_reason"),
    )


def tails_of(table: pa.Table | pa.Schema) -> tuple[float, ...]:
    """The temperatures at which a table has the tail's mass."""
    names = table.names if isinstance(table, pa.Schema) else table.column_names
    return tuple(float(name.removeprefix(TAIL)) for name in names if name.startswith(TAIL))


def _rows(
    row: pa.Table, token_ids: NDArray[np.int64], dictionary: Dictionary, temperatures: tuple[float, ...]
) -> SparseRows:
    counts = _values(row, "top_counts").astype(np.int64)
    kept = np.arange(counts.max(initial=0)) < counts[:, None]
    ids = np.full(kept.shape, NO_TOKEN, dtype=np.int32)
    ranks = _values(row, "top_ranks").astype(np.int64)
    ids[kept] = dictionary.decode(np.repeat(tokens_before(token_ids), counts), ranks)
    steps = np.zeros(kept.shape, dtype=np.uint16)
    steps[kept] = _values(row, "top_logprobs")
    return SparseRows(
        ids=ids,
        logprobs=np.where(kept, _logprobs(steps), np.float32(-np.inf)),
        tail_logmass={t: _values(row, f"{TAIL}{t!r}") for t in temperatures},
        token_logprobs=_values(row, "token_logprobs"),
    )


def _values(row: pa.Table, name: str) -> NDArray[Any]:
    array: NDArray[Any] = row[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return array


def _nothing(temperatures: tuple[float, ...]) -> SparseRows:
    """The rows of a response without tokens."""
    none = np.array([], dtype=np.float32)
    return SparseRows(
        ids=np.empty((0, 0), dtype=np.int32),
        logprobs=np.empty((0, 0), dtype=np.float32),
        tail_logmass=dict.fromkeys(temperatures, none),
        token_logprobs=none,
    )


def _steps(logprobs: NDArray[np.floating[Any]]) -> NDArray[np.uint16]:
    """Decreasing log-probabilities `[tokens, k]` as steps below the previous one; the first as steps below 0."""
    below = np.minimum(np.rint(-logprobs.astype(np.float64) * STEPS_PER_NAT), _IMPOSSIBLE).astype(np.int64)
    return np.diff(below, axis=-1, prepend=0).astype(np.uint16)


def _logprobs(steps: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The inverse of `_steps`."""
    below = np.cumsum(steps, axis=-1, dtype=np.uint16)
    return np.where(below == _IMPOSSIBLE, -np.inf, -below.astype(np.float32) / STEPS_PER_NAT).astype(np.float32)


def _lists(arrays: Sequence[NDArray[Any]], kind: type[np.generic]) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum([len(array) for array in arrays], dtype=np.int64)])
    values = np.concatenate(arrays) if len(arrays) else np.array([])
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(values.astype(kind)))
