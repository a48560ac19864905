"""Commands in forks of one process that has loaded what they need, so that hundreds of them take minutes.

Nothing computes in that process itself: torch's autograd does not survive a fork.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOADED = ["torch", "transformers", "peft", "lm_eval", "lm_eval.models.huggingface", "transformer_lens", "pandas"]
LOADED += [f"kdprobe.{name}" for name in ("cli.run", "experiment.plan", "experiment.tune.search", "report.page")]


@dataclass(frozen=True)
class Done:
    """What a command printed, and its exit code: -9 if it was killed, for example because it took too long."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """What it printed, parsed as JSON."""
        return json.loads(self.out)


def command(
    *arguments: object, folder: Path, seconds: float | None = None, first: Callable[[], None] | None = None
) -> Done:
    """Runs a command of kdprobe in a fork.

    Args:
        arguments: The command.
        folder: Where its output goes meanwhile.
        seconds: After which it is killed; `None` for never.
        first: What the fork does before; a function of a module, or a `partial` of one.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["commands", *LOADED])
    files = folder / "out.txt", folder / "err.txt"
    process = context.Process(target=_run, args=([str(argument) for argument in arguments], *map(str, files), first))
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
    out, err = (file.read_text(encoding="utf-8") for file in files)
    return Done(process.exitcode, out, err)


def _run(arguments: list[str], out: str, err: str, first: Callable[[], None] | None) -> None:
    for file, stream in ((out, sys.stdout), (err, sys.stderr)):
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, stream.fileno())
    from kdprobe.cli import main

    # What was loaded before the fork is not this command's to collect.
    gc.freeze()
    if first:
        first()
    main(arguments)
