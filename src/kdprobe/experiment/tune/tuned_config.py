"""Writes tuned options into the user's own config, keeping comments and order."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import tomlkit


def tuned_config(text: str, options: dict[str, Any], remark: str) -> str:
    """A config's text with new options for the distiller.

    Args:
        text: The config.
        options: All options `[distill]` is to have.
        remark: A comment for the top of the file.
    """
    document = tomlkit.parse(text)
    _update(document.setdefault("distill", tomlkit.table()).setdefault("options", tomlkit.inline_table()), options)
    return f"# {remark}\n{tomlkit.dumps(document)}"


def options_snippet(options: dict[str, Any]) -> str:
    """The options alone, as TOML to copy."""
    return tomlkit.dumps({"distill": {"options": options}}).strip()


def _update(table: MutableMapping[str, Any], options: dict[str, Any]) -> None:
    """Changes only what differs, so that everything else stays as its author wrote it."""
    for name in set(table) - set(options):
        del table[name]
    for name, value in options.items():
        if isinstance(value, dict):
            _update(table.setdefault(name, tomlkit.inline_table()), value)
        elif name not in table or table[name] != value:
            table[name] = value
