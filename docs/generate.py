"""Writes the reference pages that come from the code: `python docs/generate.py`.

With `--check` it compares them instead, and checks plugins, templates and examples for imports that are not public.
"""

from __future__ import annotations

import sys
from pathlib import Path

from api_page import api_page
from architectures_page import architectures_page
from click.testing import CliRunner
from hook_pages import hook_pages
from kit_page import kit_page
from python_page import python_page
from surface import checked_files, violations

from kdprobe.cli import COMMANDS, app
from kdprobe.host.candidates import builtin_candidates
from kdprobe.host.discovery import discover
from kdprobe.host.options import options_of
from kdprobe.host.specs import Spec

REFERENCE = Path(__file__).parent / "reference"


def main() -> None:
    """Writes the pages, or checks pages and imports."""
    pages = {
        REFERENCE / "api.md": api_page(),
        REFERENCE / "architectures.md": architectures_page(),
        REFERENCE / "cli.md": cli(),
        REFERENCE / "plugins.md": plugins(),
        REFERENCE / "python.md": python_page(),
        REFERENCE / "test-kit.md": kit_page(),
    }
    pages |= {REFERENCE / "hooks" / name: text for name, text in hook_pages().items()}
    stale = [file for file, text in pages.items() if not file.exists() or file.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv:
        faults = [f"{file.name} is out of date; run: make docs" for file in stale]
        faults += violations(checked_files())
        print("\n".join(faults), end="\n" if faults else "")
        sys.exit(1 if faults else 0)
    for file in stale:
        file.parent.mkdir(exist_ok=True)
        file.write_text(pages[file], encoding="utf-8")
        print(f"Wrote {file.name}")


def cli() -> str:
    """Every command's help."""
    parts = ["# Command line\n", "Generated from the code by `make docs`.\n"]
    of_store = [f"store {name}" for name in ("list", "verify", "prune", "export", "import")]
    for name in ["", *COMMANDS, *of_store, "plugins new"]:
        words = [*name.split(), "--help"]
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
    rows = options_of(spec.options)
    if not rows:
        return "No options.\n"
    lines = ["| option | type | default | meaning |", "| --- | --- | --- | --- |"]
    for row in rows:
        default = "required" if row.required else f"`{row.default}`"
        lines.append(f"| `{row.name}` | {row.type} | {default} | {row.description} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
