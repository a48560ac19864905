"""Parses command-line text: options of plugins and template arguments; and has `--strict`."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from kdprobe.errors import KdprobeError, UsageError

if TYPE_CHECKING:
    from kdprobe.comparison.finding import Finding

_NOT_TOML = {"True": "true", "False": "false", "TRUE": "true", "FALSE": "false", "None": "null", "NULL": "null"}
"""Values in other languages' spelling, and how TOML and JSON write them."""


def read_options(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Parses NAME.KEY=VALUE into values by name and key; values are TOML, or else text.

    Raises:
        UsageError: An option does not have this form.
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
    """Parses NAME=VALUE; values are TOML, null, or else text.

    Raises:
        UsageError: An argument does not have this form, or occurs twice.
    """
    read: dict[str, Any] = {}
    for argument in texts:
        name, equals, text = argument.partition("=")
        if not (equals and name):
            raise UsageError(
                f"{argument!r} is not of the form NAME=VALUE.",
                "Write --template-argument NAME=VALUE, as in enable_thinking=false.",
            )
        if name in read:
            raise UsageError(f"The template argument {name!r} is given twice.", "Keep only one of them.")
        if text in _NOT_TOML:
            raise UsageError(
                f"{argument!r} would be passed to the template as text.", f"Write {name}={_NOT_TOML[text]}."
            )
        read[name] = None if text == "null" else _value(text)
    return read


def strict_option(function: Any) -> Any:
    """`--strict`, for every command that reports findings."""
    return click.option("--strict", is_flag=True, help="Exit with status 1 if there are warnings.")(function)


def fail_where_found(findings: Sequence[Finding], *, strict: bool) -> None:
    """Implements `--strict`, after all output.

    Raises:
        KdprobeError: There are findings, and `--strict` is set.
    """
    if strict and findings:
        codes = ", ".join(dict.fromkeys(finding.code for finding in findings))
        raise KdprobeError(f"There are warnings: {codes}.", "The command fails because --strict is set.")


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # not TOML, so it is text without quotes
        return text
