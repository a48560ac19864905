"""What models run on, insofar as it affects numbers: the device and the threads.

Nothing here imports torch unless it has to, so that a plan can do without.
"""

from __future__ import annotations

import os
import platform
import re
import runpy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kdprobe.models import processes
from kdprobe.models.reference import Dtype
from kdprobe.words import counted

_BOOT = Path("/proc/sys/kernel/random/boot_id")
"""Where Linux keeps an id that changes with every boot."""
_PROCESSORS = Path("/proc/cpuinfo")
"""Where Linux names the processor."""
_THREAD_VARIABLE = re.compile(r"(OMP|GOMP|KMP|MKL|OPENBLAS|BLIS|VECLIB|NUMEXPR|TORCH|ATEN|TBB)_")
_threads: ContextVar[Callable[[], int] | None] = ContextVar("threads", default=None)
_device: ContextVar[str | None] = ContextVar("device", default=None)


def default_device() -> str:
    """`cuda` if available (each of several processes has its own device), else `cpu`; or as `planned_for`."""
    if planned := _device.get():
        return planned
    if "torch" not in sys.modules and not _built_for_gpus():
        return "cpu"
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if processes.count() > 1 else "cuda"


def concrete_dtype(dtype: Dtype, device: str) -> Dtype:
    """Resolves `auto`: bfloat16 on an accelerator, float32 on a CPU."""
    if dtype != "auto":
        return dtype
    return "float32" if device.startswith("cpu") else "bfloat16"


def thread_count() -> int:
    """The number of CPU threads that torch uses, or would use according to `threads_known_by`."""
    known = _threads.get()
    if known is not None:
        return known()
    import torch

    return torch.get_num_threads()


@contextmanager
def threads_known_by(know: Callable[[], int]) -> Iterator[None]:
    """Lets a function say how many threads torch would use, so that torch need not be imported to find out."""
    token = _threads.set(know)
    try:
        yield
    finally:
        _threads.reset(token)


@contextmanager
def planned_for(threads: int | None, device: str | None) -> Iterator[None]:
    """Makes `thread_count` and `default_device` those of another process; `None` leaves one unchanged."""
    before = _threads.get()
    tokens = _threads.set(before if threads is None else lambda: threads), _device.set(device or _device.get())
    try:
        yield
    finally:
        _threads.reset(tokens[0])
        _device.reset(tokens[1])


def planned_device() -> str | None:
    """The class of device that keys are computed for, if it was stated."""
    return _device.get()


def threads_inputs() -> dict[str, Any] | None:
    """What determines how many threads torch uses, ready for JSON; `None` where that is unknown."""
    try:
        boot = _BOOT.read_text(encoding="ascii")
        processors = sorted(os.sched_getaffinity(0))
    except (OSError, AttributeError):
        return None
    # Any thread library may be behind torch, and each has its own variables.
    variables = {name: value for name, value in os.environ.items() if _THREAD_VARIABLE.match(name)}
    return {"boot": boot, "processors": processors, "variables": variables}


@cache
def machine() -> str:
    """The kind of processor and the number of CPUs, on which durations depend; nothing that identifies the machine."""
    lines = _PROCESSORS.read_text(encoding="utf-8").splitlines() if _PROCESSORS.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{next(iter(names), platform.processor() or platform.machine())}, {counted(os.cpu_count() or 1, 'CPU')}"


def _built_for_gpus() -> bool:
    """Whether torch might find a GPU, without importing it; a build for CPUs never does."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    try:
        built = runpy.run_path(str(Path(spec.origin).with_name("version.py")))
    except (OSError, SyntaxError, ImportError):
        return True
    return any(built.get(kind, "unknown") is not None for kind in ("cuda", "hip"))
