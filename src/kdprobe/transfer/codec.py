"""Converts responses to a Parquet table, and back.

Per response token: the id, its log-probability, the top k ids in the smallest integer type that holds the vocabulary,
their log-probabilities in steps of 1/256 nat, and the tail's exact log-mass at every planned temperature (float32).

Log-probabilities decrease from the first of the top k to the last, so the table stores the number of steps from each
to the next: small numbers, which compress well. `benchmarks/transfer_codec.py` measures the cost of the rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kdprobe.errors import KdprobeError
from kdprobe.teachers.teacher import Response, SparseRows, Thinking
from kdprobe.transfer.columns import TAIL, THINKING, refuse_malformed

STEPS_PER_NAT = 256
_IMPOSSIBLE = np.iinfo(np.uint16).max
"""Represents a log-probability of -inf, and any below -255.99 nats."""


def to_table(responses: Sequence[Response], vocabulary: int) -> pa.Table:
    """Responses as a table.

    Args:
        responses: The responses; either all have log-probabilities, or none.
        vocabulary: Number of token ids.

    Raises:
        KdprobeError: Only some have log-probabilities.
    """
    width = np.uint16 if vocabulary <= np.iinfo(np.uint16).max + 1 else np.uint32
    columns: dict[str, pa.Array] = {
        "id": pa.array([response.id for response in responses], pa.string()),
        "sample": pa.array([response.sample for response in responses], pa.int32()),
        "text": pa.array([response.text for response in responses], pa.string()),
        "finished": pa.array([response.finished for response in responses], pa.bool_()),
        "token_ids": _lists([response.token_ids.astype(width) for response in responses]),
    }
    if any(response.prompt_ids is not None for response in responses):
        prompts = [None if response.prompt_ids is None else response.prompt_ids.tolist() for response in responses]
        columns["prompt_ids"] = pa.array(prompts, pa.list_(pa.int32()))
    columns |= _ends_and_thinking(responses)
    known = [response.rows for response in responses if response.rows is not None]
    if known:
        nothing = _first_rows(next((rows for rows in known if len(rows.ids)), known[0]), 0)
        rows = [response.rows or nothing for response in responses if response.rows or not len(response.token_ids)]
        if len(rows) < len(responses):
            raise KdprobeError(
                "Some responses have log-probabilities and some have none.",
                "This is a bug in the teacher's plugin.",
            )
        columns["top_ids"] = _lists([row.ids.astype(width).ravel() for row in rows])
        columns["top_logprobs"] = _lists([_steps(row.logprobs).ravel() for row in rows])
        columns["token_logprobs"] = _lists([row.token_logprobs.astype(np.float32) for row in rows])
        for temperature in rows[0].tail_logmass:
            tails = [row.tail_logmass[temperature].astype(np.float32) for row in rows]
            columns[f"{TAIL}{temperature!r}"] = _lists(tails)
    return pa.table(columns)


def _ends_and_thinking(responses: Sequence[Response]) -> dict[str, pa.Array]:
    """Columns for why answers ended and for the thinking before them, if any response has these."""
    columns = {}
    if any(response.finish_reason is not None for response in responses):
        columns["finish_reason"] = pa.array([response.finish_reason for response in responses], pa.string())
    thoughts = [response.thinking for response in responses]
    if any(thoughts):
        for name, kind in THINKING.items():
            values = [None if thought is None else getattr(thought, name) for thought in thoughts]
            columns[f"thinking_{name}"] = pa.array(values, kind)
    return columns


def _first_rows(rows: SparseRows, count: int) -> SparseRows:
    """The first rows."""
    return SparseRows(
        ids=rows.ids[:count],
        logprobs=rows.logprobs[:count],
        tail_logmass={temperature: tail[:count] for temperature, tail in rows.tail_logmass.items()},
        token_logprobs=rows.token_logprobs[:count],
    )


def from_table(table: pa.Table) -> tuple[Response, ...]:
    """The responses of a table.

    Raises:
        UnreadableError: It is not a table made by `to_table`.
    """
    refuse_malformed(table)
    temperatures = tuple(float(name.removeprefix(TAIL)) for name in table.column_names if name.startswith(TAIL))
    tokens = sum(map(len, table["token_ids"]))
    k = sum(map(len, table["top_ids"])) // max(tokens, 1) if temperatures else 0
    return tuple(_response(table.slice(row, 1), temperatures, k) for row in range(table.num_rows))


def _response(row: pa.Table, temperatures: tuple[float, ...], k: int) -> Response:
    def values(name: str) -> NDArray[Any]:
        array: NDArray[Any] = row[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return array

    token_ids = values("token_ids").astype(np.int64)
    rows = None
    if temperatures:
        tokens = len(token_ids)
        rows = SparseRows(
            ids=values("top_ids").astype(np.int32).reshape(tokens, k),
            logprobs=_logprobs(values("top_logprobs").reshape(tokens, k)),
            tail_logmass={t: values(f"{TAIL}{t!r}") for t in temperatures},
            token_logprobs=values("token_logprobs"),
        )
    prompt = row["prompt_ids"][0].as_py() if "prompt_ids" in row.column_names else None
    return Response(
        id=row["id"][0].as_py(),
        text=row["text"][0].as_py(),
        token_ids=token_ids,
        finished=row["finished"][0].as_py(),
        rows=rows,
        sample=row["sample"][0].as_py(),
        prompt_ids=None if prompt is None else np.array(prompt, dtype=np.int64),
        thinking=_thinking(row),
        finish_reason=row["finish_reason"][0].as_py() if "finish_reason" in row.column_names else None,
    )


def _thinking(row: pa.Table) -> Thinking | None:
    if "thinking_text" not in row.column_names or row["thinking_text"][0].as_py() is None:
        return None
    return Thinking(**{name: row[f"thinking_{name}"][0].as_py() for name in THINKING})


def _steps(logprobs: NDArray[np.floating[Any]]) -> NDArray[np.uint16]:
    """Decreasing log-probabilities `[tokens, k]` as steps below the previous one; the first as steps below 0."""
    below = np.minimum(np.rint(-logprobs.astype(np.float64) * STEPS_PER_NAT), _IMPOSSIBLE).astype(np.int64)
    return np.diff(below, axis=-1, prepend=0).astype(np.uint16)


def _logprobs(steps: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The inverse of `_steps`."""
    below = np.cumsum(steps, axis=-1, dtype=np.uint16)
    return np.where(below == _IMPOSSIBLE, -np.inf, -below.astype(np.float32) / STEPS_PER_NAT).astype(np.float32)


def _lists(arrays: list[NDArray[Any]]) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum([len(array) for array in arrays])])
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(np.concatenate(arrays)))
