"""Where the records of evaluated models are copied to."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from kdprobe.errors import UsageError

_OTHER = re.compile(r"[^\w.-]+")
"""What a name has that a file's should not."""


def record_files(out: Path | None, names: Sequence[str]) -> dict[str, Path]:
    """Model to file; nothing where records stay in the store only.

    Args:
        out: A folder, or one model's `FILE.jsonl`.
        names: The models.

    Raises:
        UsageError: Several models would share a file, or a name makes none.
    """
    if out is None:
        return {}
    if out.suffix == ".jsonl":
        if len(names) > 1:
            raise UsageError(f"{out} cannot hold the records of {len(names)} models.", "Give a folder to --out.")
        return {names[0]: out}
    # Some file systems take composed letters for decomposed ones, and A for a.
    stems = {name: _OTHER.sub("-", unicodedata.normalize("NFC", name)).strip("-.") for name in names}
    if nameless := [name for name, stem in stems.items() if not stem]:
        raise UsageError(f"The name {nameless[0]!r} makes no file name.", "Give another: --adapter NAME=PATH.")
    by_file: dict[str, str] = {}
    for name, stem in stems.items():
        other = by_file.setdefault(stem.casefold(), name)
        if other != name:
            raise UsageError(
                f"The records of {other!r} and of {name!r} would go into one file, {out / stem}.jsonl.",
                "Give other names: --adapter NAME=PATH.",
            )
    return {name: out / f"{stem}.jsonl" for name, stem in stems.items()}
