"""The store that a command of `kdprobe store` looks at."""

from __future__ import annotations

from pathlib import Path

from kdprobe.errors import UsageError


def existing(folder: str) -> Path:
    """The folder of a store.

    Raises:
        UsageError: There is none.
    """
    root = Path(folder)
    if not (root / "stages").is_dir():
        raise UsageError(f"There is no store in {root}.", "Name one with --store.")
    return root
