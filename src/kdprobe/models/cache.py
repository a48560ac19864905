"""The folder for files made once and used by every experiment (converted models)."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path

from kdprobe.errors import KdprobeError

VARIABLE = "KDPROBE_CACHE"


def cache_folder() -> Path:
    """`$KDPROBE_CACHE`, or else the platform's cache folder for kdprobe; created if missing.

    Raises:
        KdprobeError: It is not writable.
    """
    folder = Path(os.environ.get(VARIABLE) or user_cache_path("kdprobe"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise KdprobeError(
            f"Cannot write to the cache folder {folder}: {error.strerror}.",
            f"Set {VARIABLE} to a writable folder.",
        ) from error
    return folder
