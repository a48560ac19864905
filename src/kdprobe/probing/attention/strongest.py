"""What every head of every student attends to on one problem, in compact form: the strongest keys of each query."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from torch import Tensor

from kdprobe.probing.analysis import AnalysisContext
from kdprobe.probing.labels import Head
from kdprobe.probing.patterns.stream import read

KEYS = 4
"""Number of keys kept for each query; the attention on all others is stored as one number."""
WHOLE = 10
"""Heads whose whole pattern is kept."""


def attention_tables(context: AnalysisContext, leading: Sequence[Head]) -> dict[str, pd.DataFrame]:
    """The tables `strongest_keys`, `whole_attention` and `tokens`, on the first problem.

    Args:
        context: Students that read problems.
        leading: Heads, the most interesting first.
    """
    sequence = context.sequences[0]
    whole = set(leading[:WHOLE])
    names = [student.name for student in context.students]
    strongest: list[pd.DataFrame] = []
    patterns: list[pd.DataFrame] = []
    for index, name in enumerate(names):

        def keep(_row: int, layer: int, pattern: Tensor, *, index: int = index) -> None:
            strongest.append(_placed(_strongest(pattern), names, index, layer))
            heads = [head for of, head in sorted(whole) if of == layer and head < len(pattern)]
            patterns.extend(_placed(_whole(pattern, head), names, index, layer) for head in heads)

        read(context.bridges.boot(name), [sequence.ids], keep)
    tokenizer = context.bridges.boot(names[0]).tokenizer
    tokens = pd.DataFrame(
        {
            "problem": sequence.id,
            "position": range(len(sequence.ids)),
            "token": [tokenizer.decode([id_]) for id_ in sequence.ids],
        }
    )
    place = ["student", "layer", "head", "query"]
    tables = {"strongest_keys": _joined(strongest, [*place, *_columns(KEYS), "rest"]), "tokens": tokens}
    return tables | ({"whole_attention": _joined(patterns, [*place, "key", "weight"])} if patterns else {})


def _placed(rows: pd.DataFrame, names: Sequence[str], index: int, layer: int) -> pd.DataFrame:
    """Rows of a layer of one student; a category and small integers, because these tables may have millions of rows."""
    student = pd.Categorical.from_codes(np.full(len(rows), index), dtype=pd.CategoricalDtype(list(names)))
    return rows.assign(student=student, layer=np.int16(layer))


def _strongest(pattern: Tensor) -> pd.DataFrame:
    """One row per head and query of a layer's pattern `[head, query, key]`; -1 where a query has no such key."""
    heads, queries, keys = pattern.shape
    weights, places = pattern.float().topk(min(KEYS, keys), dim=-1)
    columns: dict[str, object] = {
        "head": np.repeat(np.arange(heads, dtype=np.int16), queries),
        "query": np.tile(np.arange(queries, dtype=np.int32), heads),
    }
    flat_weights = weights.reshape(heads * queries, -1).cpu().numpy()
    flat_places = places.reshape(heads * queries, -1).int().cpu().numpy()
    for index in range(KEYS):
        known = index < flat_weights.shape[1]
        weight = flat_weights[:, index] if known else np.zeros(heads * queries, dtype=np.float32)
        columns[f"key_{index + 1}"] = np.where(weight > 0, flat_places[:, index] if known else -1, np.int32(-1))
        columns[f"weight_{index + 1}"] = weight
    # What went to a learned sink belongs to no key: rows were divided by their sums, which are now one up to rounding.
    total = pattern.float().sum(dim=-1).reshape(-1).cpu().numpy()
    columns["rest"] = np.clip(total - flat_weights.sum(axis=1), 0.0, 1.0)
    return pd.DataFrame(columns)


def _whole(pattern: Tensor, head: int) -> pd.DataFrame:
    query, key = (positions.astype(np.int32) for positions in np.tril_indices(pattern.shape[-1]))
    weight = pattern[head].float().cpu().numpy()[query, key]
    return pd.DataFrame({"head": np.int16(head), "query": query, "key": key, "weight": weight})


def _columns(keys: int) -> list[str]:
    return [f"{kind}_{index}" for index in range(1, keys + 1) for kind in ("key", "weight")]


def _joined(frames: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    table: pd.DataFrame = pd.concat(frames, ignore_index=True)[list(columns)]
    return table
