"""Checkpoints of a training in a scratch folder, and going on from the last whole one.

The Trainer writes adapter, optimiser, schedule and random states; what makes a checkpoint whole is the file with the
training's history, which is written after all of it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from kdprobe.models import processes

HISTORY_FILE = "kdprobe_history.json"
_PREFIX = "checkpoint-"


class Checkpoints(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Adds the history to every checkpoint that the Trainer writes.

    Args:
        rows: The history, one row per optimiser step; grows while training.
    """

    def __init__(self, rows: list[dict[str, float]]) -> None:
        self.rows = rows

    def on_save(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:  # noqa: ARG002
        """Called when all the rest of a checkpoint is written."""
        processes.wait()
        if not processes.is_main():
            return
        folder = Path(args.output_dir) / f"{_PREFIX}{state.global_step}"
        partial = folder / f".{HISTORY_FILE}"
        partial.write_text(json.dumps(self.rows), encoding="utf-8")
        partial.rename(folder / HISTORY_FILE)


def last_checkpoint(folder: Path) -> tuple[Path, list[dict[str, float]]] | None:
    """The latest whole checkpoint below a folder, with its history; `None` where there is none."""
    whole = [file.parent for file in folder.glob(f"{_PREFIX}*/{HISTORY_FILE}")]
    if not whole:
        return None
    latest = max(whole, key=lambda checkpoint: int(checkpoint.name.removeprefix(_PREFIX)))
    return latest, json.loads((latest / HISTORY_FILE).read_text(encoding="utf-8"))
