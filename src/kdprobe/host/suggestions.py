"""Suggestions for a name or a key that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, get_args

if TYPE_CHECKING:
    from pydantic import BaseModel

_ALIKE = 0.8
"""How similar a key in a different section has to be; one in the same section may be less similar."""
_MOST = 3


def suggested(name: str, names: Iterable[str]) -> str:
    """The most similar name, as a question; empty if none is similar."""
    found = difflib.get_close_matches(name, list(names), n=1)
    return f"Did you mean {found[0]!r}?" if found else ""


def keys_of(model: type[BaseModel] | None) -> Iterator[str]:
    """The keys of a model, those of nested models joined by dots."""
    yield from _keys(model, ()) if model else ()


def suggested_keys(key: str, known: Iterable[str]) -> list[str]:
    """Known keys that an unknown one may stand for, joined by dots as it is.

    These are a similar key of the same section; failing that, the same key in other sections, the nearest ones first;
    failing that, a similar key anywhere.

    Args:
        key: The unknown key.
        known: All known keys.
    """
    section, _, name = key.rpartition(".")
    by_name: dict[str, list[str]] = {}
    for each in dict.fromkeys(known):
        by_name.setdefault(each.rpartition(".")[2], []).append(each)
    beside = [name for name, keys in by_name.items() if any(each.rpartition(".")[0] == section for each in keys)]
    if similar := difflib.get_close_matches(name, beside, n=1):
        return [f"{section}.{similar[0]}" if section else similar[0]]
    if name not in by_name:
        name = next(iter(difflib.get_close_matches(name, by_name, n=1, cutoff=_ALIKE)), name)
    found = by_name.get(name, [])
    nearest = max((_shared(key, each) for each in found), default=0)
    return [each for each in found if _shared(key, each) == nearest][:_MOST]


def _keys(model: type[BaseModel], outer: tuple[type[BaseModel], ...]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        key = field.alias or name
        yield key
        for inner in _models_in(field.annotation):
            # A model may hold itself.
            if inner not in (model, *outer):
                yield from (f"{key}.{deeper}" for deeper in _keys(inner, (model, *outer)))


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models in an annotation, such as the one in `list[Section] | None`."""
    from pydantic import BaseModel

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def _shared(key: str, other: str) -> int:
    """How many sections two keys share, from the first."""
    count = 0
    for mine, theirs in zip(key.split(".")[:-1], other.split(".")[:-1], strict=False):
        if mine != theirs:
            break
        count += 1
    return count
