"""Names of a model's modules, as PEFT matches them."""

from __future__ import annotations

from itertools import takewhile


def is_named(name: str, target: str) -> bool:
    """Whether a target matches a module's name: the whole name, or its end after a dot."""
    return f".{name}".endswith(f".{target}")


def suffixes(name: str) -> list[str]:
    """Suffixes of a name without the layer number, shortest first, then the whole name: `c`, `b.c`, `a.0.b.c`."""
    parts = name.split(".")
    within = list(takewhile(lambda part: not part.isdigit(), reversed(parts)))[::-1]
    return [*(".".join(within[start:]) for start in reversed(range(len(within)))), name]
