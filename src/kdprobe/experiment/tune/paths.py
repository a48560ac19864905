"""The path of each name of the search space in a distiller's options."""

from __future__ import annotations

from typing import Any

PATHS: dict[str, tuple[str, ...]] = {
    "temperature": ("temperature",),
    "alpha": ("alpha",),
    "learning_rate": ("learning_rate",),
    "rank": ("lora", "rank"),
    "divergence": ("divergence",),
}


def put_at(options: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Sets the value at a path in place; missing tables are created."""
    for part in path[:-1]:
        options = options.setdefault(part, {})
    options[path[-1]] = value


def get_at(options: Any, path: tuple[str, ...]) -> Any:
    """The value at a path of validated options."""
    for part in path:
        options = getattr(options, part)
    return options
