"""The tasks given to `evaluate`: one that decides, and any others of lm-eval's."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdprobe.api.given.inputs import refuse_strays
from kdprobe.api.session import AnyPath
from kdprobe.errors import UsageError
from kdprobe.words import enumerated

if TYPE_CHECKING:
    from kdprobe.evaluation.tasks.load import DrawnTask
    from kdprobe.host.registry import Host

Tasks = str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]]


def given_tasks(
    tasks: Tasks, *, limit: int | None, num_fewshot: int | None
) -> tuple[str | None, list[dict[str, Any]], bool]:
    """Separates the form of the deciding task from lm-eval's other tasks.

    Args:
        tasks: A name, a table of settings, or a list of these; nothing means the deciding task alone.
        limit: The number of documents of the tasks that set none.
        num_fewshot: The number of examples of the tasks that set none.

    Returns:
        The form of the deciding task (`None` for the bare question), the settings of the others, and whether the
        deciding task is among the tasks.

    Raises:
        UsageError: Several forms of the deciding task are given, or a task twice.
    """
    from kdprobe.evaluation.protocol import TASKS

    several = [tasks] if isinstance(tasks, str | Mapping) else list(tasks)
    rows = [{"name": task} if isinstance(task, str) else dict(task) for task in several]
    names = [str(row.get("name")) for row in rows]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"The task {twice[0]!r} is given twice.", "Name each task once.")
    forms = [name for name in names if name in TASKS]
    if len(forms) > 1:
        raise UsageError(f"{enumerated(forms)} are variants of the same task.", "Evaluate one of them at a time.")
    others = [
        {"limit": limit, "num_fewshot": num_fewshot, **row}
        for name, row in zip(names, rows, strict=True)
        if name not in TASKS
    ]
    return (forms[0] if forms else None), others, bool(forms) or not rows


def refuse_impossible(limit: int | None, samples: int, *, decides: bool) -> None:
    """Rejects a limit of no problems, and several samples where the deciding task is not asked.

    Args:
        limit: The number of problems, or `None`.
        samples: Answers to each problem.
        decides: Whether the deciding task is asked.

    Raises:
        UsageError: There would be nothing to ask, or no effect.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"The limit must be positive, not {limit}.", "Omit it to use all problems.")
    if samples > 1 and not decides:
        raise UsageError(
            "--samples applies only to gsm8k_kdprobe and its variants; other tasks set their own number of answers.",
            "Leave it out, or add --task gsm8k_kdprobe.",
        )


def with_options(
    rows: Sequence[Mapping[str, Any]], options: Mapping[str, dict[str, Any]], others: set[str]
) -> list[dict[str, Any]]:
    """The settings of tasks with the options given by their names; those in the settings themselves take precedence.

    Args:
        rows: The settings of the tasks.
        options: Options by name.
        others: What else may have options.

    Raises:
        UsageError: There are options of something else.
    """
    refuse_strays(options, others | {str(row.get("name")) for row in rows})
    return [
        {**row, "options": {**options[row["name"]], **(row.get("options") or {})}}
        if row.get("name") in options
        else dict(row)
        for row in rows
    ]


def task_folders(given: AnyPath | Sequence[AnyPath], rows: Sequence[Mapping[str, Any]]) -> list[Path]:
    """The folders of tasks.

    Args:
        given: One folder or several.
        rows: The settings of the tasks that could be in them.

    Raises:
        UsageError: There are folders, but no such task.
    """
    folders = [Path(given)] if isinstance(given, str | os.PathLike) else [Path(folder) for folder in given]
    if folders and not rows:
        raise UsageError(
            "--include-path has no effect, because no task from its folder is named.",
            "Name a task in that folder with --task.",
        )
    return folders


def drawn_tasks(rows: Sequence[Mapping[str, Any]], folders: Sequence[Path], host: Host) -> list[DrawnTask]:
    """Loads tasks with their data.

    Args:
        rows: Their settings.
        folders: Folders with tasks as YAML.
        host: The plugins, which may provide tasks.

    Raises:
        UsageError: A setting is invalid, or there is no such task.
        KdprobeError: A task's data cannot be loaded.
    """
    if not rows:
        return []
    from pydantic import ValidationError

    from kdprobe.experiment.evaluations.config import TaskConfig
    from kdprobe.experiment.evaluations.plugged import named_task
    from kdprobe.experiment.section import sentences

    try:
        configs = [TaskConfig.model_validate(row) for row in rows]
    except ValidationError as error:
        raise UsageError(f"{'; '.join(sentences(error))}.") from error
    return [named_task(config, folders, host) for config in configs]
