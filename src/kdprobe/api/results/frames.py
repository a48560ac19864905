"""Records as pandas tables: a row per record, and a column for each numeric field, however deeply nested."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

import pandas as pd


def frame(kind: type, records: Sequence[Any], unnested: Collection[str] = ()) -> pd.DataFrame:
    """Returns a table of records.

    A field that is itself a record becomes columns `FIELD_NAME`, which are missing if it is `None`. The columns depend
    only on the kind, so they are the same for every table of that kind.

    Args:
        kind: The records' class.
        records: The rows.
        unnested: Fields whose own fields become columns without that prefix.
    """
    paths = dict(_columns(kind, frozenset(unnested)))
    return pd.DataFrame({name: [_value(record, path) for record in records] for name, path in paths.items()})


def _columns(kind: type, unnested: frozenset[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    hints = get_type_hints(kind)
    for each in fields(kind):
        hint = hints[each.name]
        inner = next((part for part in (hint, *get_args(hint)) if isinstance(part, type) and is_dataclass(part)), None)
        if inner is None or _is_collection(hint):
            yield each.name, (each.name,)
            continue
        for name, path in _columns(inner, frozenset()):
            yield name if each.name in unnested else f"{each.name}_{name}", (each.name, *path)


def _is_collection(hint: Any) -> bool:
    origin = getattr(hint, "__origin__", None)
    return isinstance(origin, type) and issubclass(origin, Collection)


def _value(record: Any, path: Sequence[str]) -> Any:
    for name in path:
        record = None if record is None else getattr(record, name)
    return record
