"""Writes the reference pages that come from the code: `python docs/generate.py`, or `--check` to compare."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from kdprobe.cli import COMMANDS, app
from kdprobe.host.candidates import builtin_candidates
from kdprobe.host.discovery import discover
from kdprobe.host.specs import Spec

REFERENCE = Path(__file__).parent / "reference"


def main() -> None:
    """Writes or checks the pages."""
    pages = {REFERENCE / "cli.md": cli(), REFERENCE / "plugins.md": plugins()}
    stale = [file for file, text in pages.items() if not file.exists() or file.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv:
        for file in stale:
            print(f"{file.name} is not what the code says; run: make docs")
        sys.exit(1 if stale else 0)
    for file in stale:
        file.write_text(pages[file], encoding="utf-8")
        print(f"Wrote {file.name}")


def cli() -> str:
    """Every command's help."""
    parts = ["# Command line\n", "Generated from the code by `make docs`.\n"]
    for name in ["", *COMMANDS]:
        words = [name, "--help"] if name else ["--help"]
        shown = CliRunner().invoke(app, words, prog_name="kdprobe", terminal_width=100).output
        parts.append(f"## kdprobe {name}".rstrip() + f"\n\n```text\n{shown.rstrip()}\n```\n")
    return "\n".join(parts)


def plugins() -> str:
    """Every built-in offer with its options."""
    parts = ["# Built-in plugins and their options\n", "Generated from the code by `make docs`.\n"]
    for provider in discover(builtin_candidates()):
        for spec in provider.specs:
            parts.append(f"## {spec.kind}: {spec.name}\n\n{spec.summary}.\n")
            parts.append(options(spec))
    return "\n".join(parts)


def options(spec: Spec) -> str:
    """A table of a spec's options, nested models flattened."""
    if spec.options is None:
        return "No options.\n"
    rows = ["| option | type | default | meaning |", "| --- | --- | --- | --- |"]
    schema = spec.options.model_json_schema()
    for name, field in schema["properties"].items():
        if "$ref" in field:
            nested = schema["$defs"][field["$ref"].rsplit("/", 1)[1]]["properties"]
            rows += [_row(f"{name}.{inner}", value) for inner, value in nested.items()]
        else:
            rows.append(_row(name, field))
    return "\n".join(rows) + "\n"


def _row(name: str, field: dict[str, Any]) -> str:
    kinds = [_kind(part) for part in field.get("anyOf", [field])]
    default = f"`{field['default']}`" if "default" in field else "required"
    return f"| `{name}` | {' or '.join(kinds)} | {default} | {field.get('description', '')} |"


def _kind(field: dict[str, Any]) -> str:
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    return str(field.get("format") or field.get("type"))


if __name__ == "__main__":
    main()
