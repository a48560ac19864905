"""Finds lm-eval's tasks by name: in folders of YAML, and among lm-eval's own."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any, Never

import yaml
from lm_eval.tasks import TaskManager

from kdprobe.errors import KdprobeError, UsageError, quoted
from kdprobe.evaluation.lm_eval_run import quiet_lm_eval
from kdprobe.evaluation.protocol import TASKS
from kdprobe.files import digest
from kdprobe.host.packages import package_of
from kdprobe.host.suggestions import suggested


def find_task(name: str, folders: Sequence[Path]) -> tuple[dict[str, Any], str | None]:
    """The objects of a task or group, and, if it comes from a folder, a digest of the Python and YAML files there.

    Args:
        name: The name of the task, group or tag.
        folders: Folders with tasks as YAML, which precede lm-eval's own of the same names.

    Raises:
        UsageError: There is no such task, or it runs what the model writes.
        KdprobeError: It cannot be loaded.
    """
    own = [str(folder) for folder in folders]
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"{folder} is not a local folder.", "Give the folder that holds the tasks' YAML files.")
    with quiet_lm_eval():
        mine = TaskManager(include_path=own, include_defaults=False)
    manager, mixed = mine, name in mine.all_tasks
    if not mixed or _names_others(mine, name):
        manager = _lm_evals()
        # A group of lm-eval's may name a task that a folder also has.
        mixed = mixed or not manager.task_index.keys().isdisjoint(mine.all_tasks)
        if mixed:
            with quiet_lm_eval():
                manager = TaskManager(include_path=own)
    if name not in manager.all_tasks:
        raise UsageError(
            f"There is no lm-eval task {name!r}.", _elsewhere(name, [*mine.all_tasks, *manager.all_tasks], own)
        )
    if (manager.task_index[name].cfg or {}).get("unsafe_code"):
        # Before it is loaded, which fetches the program that would run the code.
        refuse_code(name)
    try:
        # Tasks print while they load, and stdout is for results.
        with quiet_lm_eval(), redirect_stdout(io.StringIO()):
            leaves = dict(manager.load(name)["tasks"])
    except Exception as error:
        # The task's own Python may be involved, and any of the libraries that fetch data.
        raise KdprobeError(
            f"The task {name!r} cannot be loaded: {quoted(error)}",
            "If its data are on the Hub, download them once while online; if the task is your own, check its YAML.",
        ) from error
    if not leaves:
        raise UsageError(f"The group {name!r} has no tasks.", "Name another group or task.")
    return leaves, _sources(folders) if mixed else None


@cache
def _lm_evals() -> TaskManager:
    """The index of lm-eval's own tasks, whose files take seconds to read."""
    with quiet_lm_eval():
        return TaskManager()


def _names_others(manager: TaskManager, name: str) -> bool:
    """Whether a group names a task, group or tag that is not listed with it."""
    config = (manager.task_index[name].cfg or {}) if name in manager.all_groups else {}
    members = config.get("task") or []
    if not isinstance(members, list):
        return False
    named = [member if isinstance(member, str) else member.get("group", member.get("task")) for member in members]
    return any(member not in manager.all_tasks or _names_others(manager, member) for member in named)


def _elsewhere(name: str, names: Sequence[str], folders: Sequence[str]) -> str:
    if package := package_of("tasks", name):
        return f"Install or upgrade the package that provides it: pip install --upgrade {package}"
    if damaged := _not_yaml(folders):
        if len(damaged) == 1:
            return f"Perhaps it is in {damaged[0]}, which is not valid YAML: correct that file."
        return f"Perhaps it is in one of these files, which are not valid YAML: {', '.join(damaged)}. Correct them."
    looked = f"lm-eval's own tasks{' and in ' + ', '.join(folders) if folders else ''}"
    # kdprobe's own forms of the deciding task are not among lm-eval's.
    return f"{suggested(name, [*names, *TASKS])} Searched in {looked}; `lm_eval ls tasks` lists lm-eval's.".lstrip()


def _not_yaml(folders: Sequence[str]) -> list[str]:
    """The files in folders that lm-eval leaves out without a word, because they cannot be parsed."""
    damaged = []
    for file in sorted(file for folder in folders for file in Path(folder).rglob("*.yaml")):
        try:
            yaml.compose(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError):
            damaged.append(str(file))
    return damaged


def refuse_code(name: str) -> Never:
    """Raises a `UsageError`, because the task would run what the model writes."""
    raise UsageError(
        f"The task {name!r} runs code that the model writes.", "kdprobe does not run it; use lm_eval in a sandbox."
    )


def _sources(folders: Sequence[Path]) -> str:
    """A digest of the tasks' code, which lm-eval's configuration holds only in part."""
    files = sorted(file for folder in folders for kind in ("*.py", "*.yaml", "*.yml") for file in folder.rglob(kind))
    return digest([file.read_text(encoding="utf-8", errors="replace") for file in files])
