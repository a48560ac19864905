"""The files to which records of evaluated models are copied."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from kdprobe.errors import UsageError

ONE_FILE = ".jsonl"
"""The ending of a path that is a file for one model's records, not a folder."""
_OTHER = re.compile(r"[^\w.-]+")
"""Characters in a name that should not appear in a file name."""


def record_files(out: Path | None, names: Sequence[str]) -> dict[str, Path]:
    """Returns a file for each model; empty if records stay only in the store.

    Args:
        out: A folder, or one model's `FILE.jsonl`.
        names: The models.

    Raises:
        UsageError: Several models would share a file, or a name contains no character that a file name may have.
    """
    if out is None:
        return {}
    if out.suffix == ONE_FILE:
        if len(names) > 1:
            raise UsageError(
                f"{out} is a single file, but there are {len(names)} sets of records.", "Set --out to a folder."
            )
        return {names[0]: out}
    # Some file systems do not distinguish composed from decomposed letters, or A from a.
    stems = {name: _OTHER.sub("-", unicodedata.normalize("NFC", name)).strip("-.") for name in names}
    if nameless := [name for name, stem in stems.items() if not stem]:
        raise UsageError(
            f"The name {nameless[0]!r} cannot be used as a file name.", "Choose another: --adapter NAME=PATH."
        )
    by_file: dict[str, str] = {}
    for name, stem in stems.items():
        other = by_file.setdefault(stem.casefold(), name)
        if other != name:
            raise UsageError(
                f"The records of {other!r} and {name!r} would be written to the same file, {out / stem}.jsonl.",
                "Choose other names: --adapter NAME=PATH.",
            )
    return {name: out / f"{stem}.jsonl" for name, stem in stems.items()}
