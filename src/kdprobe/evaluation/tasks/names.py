"""Which names lm-eval itself uses for tasks, groups and tags."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import lm_eval.tasks
from lm_eval.tasks import TaskManager

from kdprobe.evaluation.lm_eval_run import quiet_lm_eval


def names_in(folders: list[Path]) -> set[str]:
    """The tasks, groups and tags whose YAML is in these folders."""
    with quiet_lm_eval():
        return set(TaskManager(include_path=[str(folder) for folder in folders], include_defaults=False).all_tasks)


@lru_cache(maxsize=64)
def is_lm_evals(name: str) -> bool:
    """Whether lm-eval itself has a task, group or tag of this name."""
    # Only files that contain the name are parsed: parsing all of lm-eval's takes many seconds.
    files = Path(lm_eval.tasks.__file__).parent.rglob("*.yaml")
    return name in names_in(sorted({file.parent for file in files if name.encode() in file.read_bytes()}))
