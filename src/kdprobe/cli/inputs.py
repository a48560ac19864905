"""What commands make of text on the command line: options of plugins, template arguments, and what `--strict` does."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kdprobe.errors import KdprobeError, UsageError

if TYPE_CHECKING:
    from kdprobe.comparison.finding import Finding

_NOT_TOML = {"True": "true", "False": "false", "TRUE": "true", "FALSE": "false", "None": "null", "NULL": "null"}
"""What other languages call values that TOML and JSON write otherwise."""


def read_options(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Name to key to value; values are TOML, or text where they are not.

    Raises:
        UsageError: One is not of the form NAME.KEY=VALUE.
    """
    options: dict[str, dict[str, Any]] = {}
    for option in texts:
        target, equals, text = option.partition("=")
        name, dot, key = target.partition(".")
        if not (equals and dot and key):
            raise UsageError(f"{option!r} is not an option.", "Write NAME.KEY=VALUE, as in heads.smallest_effect=0.1.")
        options.setdefault(name, {})[key] = _value(text)
    return options


def read_template_arguments(texts: Sequence[str]) -> dict[str, Any]:
    """Name to value; values are TOML, null, or text where they are neither.

    Raises:
        UsageError: One is not of the form NAME=VALUE, or is there twice.
    """
    read: dict[str, Any] = {}
    for argument in texts:
        name, equals, text = argument.partition("=")
        if not (equals and name) or name in read:
            raise UsageError(
                f"{argument!r} is {'given twice' if name in read else 'not an argument'}.",
                "Write --template-argument NAME=VALUE, as in enable_thinking=false.",
            )
        if text in _NOT_TOML:
            raise UsageError(
                f"{argument!r} would be passed to the template as text.", f"Write {name}={_NOT_TOML[text]}."
            )
        read[name] = None if text == "null" else _value(text)
    return read


def fail_where_found(findings: Sequence[Finding], *, strict: bool) -> None:
    """What `--strict` does, once everything is told.

    Raises:
        KdprobeError: There are findings, and they are to fail the command.
    """
    if strict and findings:
        codes = ", ".join(dict.fromkeys(finding.code for finding in findings))
        raise KdprobeError(f"There are findings: {codes}.", "The command fails because of --strict.")


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # not TOML: a text without its quotes
        return text
