"""Training checkpoints in a scratch folder, and resuming from the last complete one.

The Trainer writes adapter, optimiser, schedule and random states. The file with the training's history completes a
checkpoint: it is written last and contains the checksums of all other files.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from kdprobe.console.messages import warn
from kdprobe.files import UnreadableError, read_sealed, sha256, sync_all, write_sealed
from kdprobe.models import processes

HISTORY_FILE = "kdprobe_history.json"
_PREFIX = "checkpoint-"


class Checkpoints(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Adds the history to every checkpoint written by the Trainer.

    Args:
        rows: The history, one row per optimiser step; grows during training.
    """

    def __init__(self, rows: list[dict[str, float]]) -> None:
        self.rows = rows

    def on_save(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:  # noqa: ARG002
        """Called when everything else in a checkpoint has been written."""
        processes.wait()
        if not processes.is_main():
            return
        folder = Path(args.output_dir) / f"{_PREFIX}{state.global_step}"
        sync_all(folder)
        write_sealed(folder / HISTORY_FILE, {"rows": self.rows, "files": _checksums(folder)})


def last_checkpoint(folder: Path) -> tuple[Path, list[dict[str, float]]] | None:
    """The latest complete checkpoint below a folder, with its history; `None` if there is none."""
    checkpoints = [file.parent for file in folder.glob(f"{_PREFIX}*/{HISTORY_FILE}")]
    for checkpoint in sorted(checkpoints, key=_step, reverse=True):
        try:
            history = read_sealed(checkpoint / HISTORY_FILE)
        except UnreadableError:
            history = {}
        if history.get("files") == _checksums(checkpoint):
            return checkpoint, history["rows"]
        warn(f"{checkpoint} is damaged; training resumes from an earlier state.")
    return None


def clear_later(folder: Path, last: Path | None) -> None:
    """Removes damaged checkpoints after the last complete one; the Trainer would keep them instead of new ones."""
    processes.wait()
    if processes.is_main():
        for checkpoint in folder.glob(f"{_PREFIX}*"):
            if last is None or _step(checkpoint) > _step(last):
                shutil.rmtree(checkpoint)
    processes.wait()


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix(_PREFIX))


def _checksums(checkpoint: Path) -> dict[str, str]:
    files = (file for file in checkpoint.rglob("*") if file.is_file() and file.name != HISTORY_FILE)
    return {file.relative_to(checkpoint).as_posix(): sha256(file) for file in files}
