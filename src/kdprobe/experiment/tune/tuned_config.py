"""Writes tuned options into the user's own config, keeping comments and order, but no secrets."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

import tomlkit

from kdprobe.redaction import said, without_secrets


def tuned_config(text: str, options: dict[str, Any], remark: str) -> str:
    """A config's text with new options for the distiller.

    Secrets are left out, and a comment at the top names where they were.

    Args:
        text: The config.
        options: All options `[distill]` is to have.
        remark: A comment for the top of the file.
    """
    document = tomlkit.parse(text)
    left_out = list(_leave_out(document, without_secrets(document.unwrap()), ""))
    _update(document.setdefault("distill", tomlkit.table()).setdefault("options", tomlkit.inline_table()), options)
    remarks = [remark, *([f"Secrets are left out of {', '.join(left_out)}."] if left_out else [])]
    # A comment may repeat a secret.
    return "".join(f"# {line}\n" for line in remarks) + said(tomlkit.dumps(document))


def options_snippet(options: dict[str, Any]) -> str:
    """The options alone, as TOML to copy."""
    return tomlkit.dumps({"distill": {"options": options}}).strip()


def _leave_out(value: Any, cleaned: Any, path: str) -> Iterator[str]:
    """Removes secrets from a part of a document, and names what changed."""
    items = list(value.items() if isinstance(value, MutableMapping) else enumerate(value))
    for key, item in items:
        here = f"{path}.{key}".removeprefix(".") if isinstance(key, str) else path
        if isinstance(cleaned, dict) and key not in cleaned:
            del value[key]
            yield here
        elif isinstance(item, MutableMapping | list):
            yield from _leave_out(item, cleaned[key], here)
        elif item != cleaned[key]:
            value[key] = cleaned[key]
            yield here


def _update(table: MutableMapping[str, Any], options: dict[str, Any]) -> None:
    """Changes only what differs, so that everything else stays as its author wrote it."""
    for name in set(table) - set(options):
        del table[name]
    for name, value in options.items():
        if isinstance(value, dict):
            _update(table.setdefault(name, tomlkit.inline_table()), value)
        elif name not in table or table[name] != value:
            table[name] = value
