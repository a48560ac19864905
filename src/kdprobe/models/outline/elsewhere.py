"""Asks torch in another process, while this one renders prompts: importing it takes longer than all else in a plan."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from kdprobe.models.outline.blueprint import configuration_inputs, named_modules
from kdprobe.models.outline.device import threads_inputs
from kdprobe.models.outline.memory import Memory
from kdprobe.models.reference import ModelRecord

_CODE = "from kdprobe.models.outline.elsewhere import answer; answer()"
_FEWEST_PROCESSORS = 2


@contextmanager
def asked_elsewhere(record: ModelRecord, threads: int | None, memory: Memory) -> Iterator[None]:
    """Lets another process find out what `memory` will be asked about torch, if that saves time.

    Args:
        record: The model whose modules are to be named.
        threads: The number of threads that torch is told to use, or `None`.
        memory: Is told to expect the results, unless it has them.
    """
    inputs = configuration_inputs(record)
    if "torch" in sys.modules or _processors() < _FEWEST_PROCESSORS or memory.knows("modules", inputs):
        yield
        return
    request = json.dumps([record.name, record.source, str(record.path), record.digest, threads])
    process = subprocess.Popen(
        [sys.executable, "-c", _CODE, request],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )

    @cache
    def answered() -> dict[str, Any]:
        output, _ = process.communicate()
        with suppress(ValueError):
            return dict(json.loads(output)) if process.returncode == 0 else {}
        return {}

    memory.expect("modules", inputs, lambda: answered().get("modules"))
    if counted := threads_inputs(threads):
        memory.expect("threads", counted, lambda: answered().get("threads"))
    try:
        yield
    finally:
        process.kill()
        answered()


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def answer() -> None:
    """What the other process runs."""
    import torch

    name, source, path, digest, threads = json.loads(sys.argv[1])
    modules = named_modules(ModelRecord(name, source, Path(path), digest))
    if threads is not None:
        torch.set_num_threads(threads)
    json.dump({"modules": modules, "threads": torch.get_num_threads()}, sys.stdout)
