"""The contract of a task: a folder of YAML that names it, a name of its own, and data that are in the package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from kdprobe.host.registry import Host
from kdprobe.testing.contract import require

_LOAD = """
import sys
from pathlib import Path
from kdprobe.errors import KdprobeError
from kdprobe.evaluation.tasks.choice import TaskChoice
from kdprobe.evaluation.tasks.load import load_task
try:
    print(load_task(TaskChoice(sys.argv[1]), [Path(sys.argv[2])]).digest)
except KdprobeError as error:
    sys.exit(f"{error} {error.__cause__ or ''}")
"""


def check_task(host: Host, name: str, options: dict[str, Any] | None = None, *, offline: bool = True) -> None:
    """Reads the folder's YAML, and loads the task with its documents twice, each time in a new process.

    Args:
        host: The host that provides it.
        name: The task.
        options: Its options, as in a config.
        offline: Whether its data are in the package; otherwise nothing is loaded.

    Raises:
        ContractError: The folder does not exist, a file in it is not valid YAML, none names the task, kdprobe or
            lm-eval has a task of this name, or it does not load offline, or has other documents the second time.
    """
    from kdprobe.evaluation.protocol import TASKS
    from kdprobe.evaluation.tasks.names import is_lm_evals, names_in

    folder = host.create("tasks", name, options)
    require(isinstance(folder, Path), f"The task {name!r} must return a Path, not {type(folder).__name__}.")
    require(folder.is_dir(), f"The task {name!r} returns {folder}, which is not a folder.")
    _check_yaml(folder, name)
    require(name in names_in([folder]), f"No YAML file in {folder} has a task, group or tag named {name!r}.")
    require(name not in TASKS, f"The task {name!r} has the name of one of kdprobe's own tasks; rename it.")
    require(not is_lm_evals(name), f"The task {name!r} has the name of one of lm-eval's own tasks; rename it.")
    if offline:
        digests = {_digest(folder, name) for _ in range(2)}
        require(
            len(digests) == 1, f"The task {name!r} has different documents the second time; it must be deterministic."
        )


def _check_yaml(folder: Path, name: str) -> None:
    import yaml

    for file in sorted(folder.rglob("*.yaml")):
        try:
            # Events only: lm-eval's own tags, such as `!function`, have no value without it.
            list(yaml.parse(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())
            require(False, f"The task {name!r}: {file.name} is not valid YAML: {reason}")


def _digest(folder: Path, name: str) -> str:
    """The digest of the task as another process without network access loads it."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    command = [sys.executable, "-c", _LOAD, name, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
    require(done.returncode == 0, f"The task {name!r} does not load offline: {reason}")
    return done.stdout.split()[-1]
