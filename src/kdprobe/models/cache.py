"""The folder for what is made once and used by every experiment (converted models)."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path

from kdprobe.errors import KdprobeError

VARIABLE = "KDPROBE_CACHE"


def cache_folder() -> Path:
    """`$KDPROBE_CACHE`, else the platform's cache folder for kdprobe; made if it is not there.

    Raises:
        KdprobeError: It cannot be written.
    """
    folder = Path(os.environ.get(VARIABLE) or user_cache_path("kdprobe"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise KdprobeError(
            f"The cache folder {folder} cannot be written: {error.strerror}.",
            f"Set {VARIABLE} to a folder that can.",
        ) from error
    return folder
