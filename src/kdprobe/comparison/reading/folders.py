"""Folders of answers: their `.jsonl` files, which are what `kdprobe eval --out FOLDER` writes."""

from __future__ import annotations

from pathlib import Path

from kdprobe.comparison.reading.table import KINDS, is_readable
from kdprobe.errors import UsageError

_KIND = "*.jsonl"


def answer_files(folder: Path) -> list[Path]:
    """The files of answers directly in a folder, by name."""
    return sorted(folder.glob(_KIND))


def no_answers_in(folder: Path, also: str = "") -> UsageError:
    """The error for a folder without any: what was looked for, and what to name instead.

    Args:
        folder: The folder.
        also: What else was looked for, as the end of the sentence.
    """
    readable = sorted(file for file in folder.iterdir() if file.is_file() and is_readable(file))
    deeper = sorted({file.parent for file in folder.glob(f"*/{_KIND}")})
    if readable:
        hint = f"Pass its files themselves, such as {readable[0]}."
    elif deeper:
        hint = f"Pass a folder inside it that has some, such as {deeper[0]}."
    else:
        hint = f"Pass files of answers ({KINDS}), or a folder with .jsonl files."
    return UsageError(f"The folder {folder} has no .jsonl files{also}.", hint)
