"""Peak memory of a process, as the benchmarks measure it (Linux)."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def high_water() -> float:
    """The process's peak resident size in MiB, since it was last cleared."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10


def peak_of(work: Callable[[], Any]) -> float:
    """Peak of this process while it works, above what it held before, in MiB."""
    # Loading leaves freed memory behind that would be used again unseen.
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = high_water()
    work()
    return high_water() - before


def peak_in_child(script: str, *arguments: str, env: Mapping[str, str] | None = None) -> float:
    """What a script prints last, run in a process of its own: its peak in MiB."""
    command = [sys.executable, script, *arguments]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout.split()[-1])
