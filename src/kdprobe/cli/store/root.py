"""The store that a command of `kdprobe store` uses."""

from __future__ import annotations

from pathlib import Path

from kdprobe.errors import UsageError


def existing(folder: str) -> Path:
    """Returns the folder of a store.

    Raises:
        UsageError: The store does not exist.
    """
    root = Path(folder)
    if not (root / "stages").is_dir():
        raise UsageError(f"There is no store in {root}.", "Select one with --store.")
    return root
