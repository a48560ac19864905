"""Loads one of lm-eval's tasks, with its data, and draws documents from it."""

from __future__ import annotations

import inspect
import io
import json
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from lm_eval.tasks import TaskManager
from lm_eval.utils import handle_non_serializable, hash_string

from kdprobe.errors import KdprobeError, UsageError, first_line
from kdprobe.evaluation.lm_eval_run import quiet_lm_eval
from kdprobe.evaluation.protocol import TASKS
from kdprobe.evaluation.tasks.choice import TaskChoice
from kdprobe.files import digest
from kdprobe.host.packages import package_of
from kdprobe.host.suggestions import suggested
from kdprobe.words import counted

FEWSHOT_SEED = 1234
"""lm-eval's own seed for drawing examples."""
WRITES = "generate_until"
_WHERE = ("dataset_path", "dataset_kwargs", "metadata")
"""Settings that say where the data lie; the data themselves count."""


@dataclass(frozen=True)
class DrawnTask:
    """A task with its data, and the documents to use.

    Attributes:
        choice: What was chosen.
        leaves: lm-eval's task objects by name: one, or those of a group.
        documents: The drawn documents of each, as ascending indices; tasks without any are left out.
        digest: A digest of everything in the task that determines its scores.
        plugin: What identifies the plugin that provides it, with its options; `None` if no plugin does.
    """

    choice: TaskChoice
    leaves: Mapping[str, Any]
    documents: Mapping[str, list[int]]
    digest: str
    plugin: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """The name of the task, group or tag."""
        return self.choice.name

    @property
    def size(self) -> int:
        """Number of documents."""
        return sum(map(len, self.documents.values()))

    def as_chat(self, *, has_template: bool) -> bool:
        """Whether the chat template is applied: by default where the model writes text and has a template.

        Args:
            has_template: Whether the model has one.

        Raises:
            UsageError: It is requested, and the model has none.
        """
        if self.choice.chat_template is None:
            return has_template and {task.OUTPUT_TYPE for task in self.leaves.values()} == {WRITES}
        if self.choice.chat_template and not has_template:
            raise UsageError(
                f"chat_template is set for the task {self.choice.name!r}, but the model has no chat template.",
                "Omit chat_template.",
            )
        return self.choice.chat_template


def load_task(choice: TaskChoice, folders: Sequence[Path] = ()) -> DrawnTask:
    """Loads a task with its data, and draws documents.

    Args:
        choice: The task.
        folders: Folders with tasks as YAML, which precede lm-eval's own of the same names.

    Raises:
        UsageError: There is no such task, it cannot be run here, or it has fewer documents than the limit.
        KdprobeError: Its data cannot be loaded.
    """
    leaves, sources = _leaves(choice.name, folders)
    for task in leaves.values():
        _refuse_others(choice.name, task)
        _show_examples(choice, task)
    documents = _draw(choice, {name: len(task.eval_docs) for name, task in leaves.items()})
    drawn = {name: leaves[name] for name in documents}
    parts = {name: _identity(task, documents[name]) for name, task in drawn.items()}
    return DrawnTask(choice, drawn, documents, digest({"tasks": parts, "sources": sources}))


def _leaves(name: str, folders: Sequence[Path]) -> tuple[dict[str, Any], str | None]:
    """The task objects, and, if the task comes from a folder, a digest of the Python and YAML files there."""
    own = [str(folder) for folder in folders]
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"{folder} is not a local folder.", "Give the folder that holds the tasks' YAML files.")
    with quiet_lm_eval():
        mine = TaskManager(include_path=own, include_defaults=False)
    manager, mixed = mine, name in mine.all_tasks
    if not mixed or _names_others(mine, name):
        manager = _lm_evals()
        # A group of lm-eval's may name a task that a folder has, too.
        mixed = mixed or not manager.task_index.keys().isdisjoint(mine.all_tasks)
        if mixed:
            with quiet_lm_eval():
                manager = TaskManager(include_path=own)
    if name not in manager.all_tasks:
        raise UsageError(
            f"There is no lm-eval task {name!r}.", _elsewhere(name, [*mine.all_tasks, *manager.all_tasks], own)
        )
    try:
        # Tasks print while they load, and stdout is for results.
        with quiet_lm_eval(), redirect_stdout(io.StringIO()):
            leaves = dict(manager.load(name)["tasks"])
    except Exception as error:
        # The task's own Python may be involved, and any of the libraries that fetch data.
        raise KdprobeError(
            f"The task {name!r} cannot be loaded: {type(error).__name__}: {first_line(error)}",
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
        return f"Not valid YAML: {', '.join(damaged)}."
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


def _sources(folders: Sequence[Path]) -> str:
    """A digest of the tasks' code, which lm-eval's configuration holds only in part."""
    files = sorted(file for folder in folders for kind in ("*.py", "*.yaml", "*.yml") for file in folder.rglob(kind))
    return digest([file.read_text(encoding="utf-8", errors="replace") for file in files])


def _refuse_others(name: str, task: Any) -> None:
    if getattr(task, "UNSAFE_CODE", False):
        raise UsageError(
            f"The task {name!r} runs code that the model writes.", "kdprobe does not run it; use lm_eval in a sandbox."
        )
    if getattr(task, "MULTIMODAL", False):
        raise UsageError(f"The task {name!r} needs images or sound.", "Use a text-only task.")


def _show_examples(choice: TaskChoice, task: Any) -> None:
    """Sets the number of examples as lm-eval does; a task that states 0 itself has none."""
    stated = task.get_config("num_fewshot")
    if choice.num_fewshot is not None:
        if stated == 0 and choice.num_fewshot:
            raise UsageError(
                f"The task {task.config.task!r} does not allow examples in its prompt.",
                "Omit num_fewshot.",
            )
        task.set_config(key="num_fewshot", value=choice.num_fewshot)
    elif stated is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=FEWSHOT_SEED)
    shown = task.get_config("num_fewshot")
    if shown and (there := len([*task.fewshot_docs()])) < shown:
        raise UsageError(
            f"The task {task.config.task!r} has only {counted(there, 'document')} to draw {shown} examples from.",
            "Lower num_fewshot.",
        )


def _draw(choice: TaskChoice, sizes: Mapping[str, int]) -> dict[str, list[int]]:
    """The drawn documents of each task: all, or as many as the limit, each equally likely."""
    everything = [(name, index) for name, size in sizes.items() for index in range(size)]
    if choice.limit is not None:
        if choice.limit > len(everything):
            raise UsageError(
                f"The task {choice.name!r} has only {len(everything)} documents, but its limit is {choice.limit}.",
                "Lower the limit, or leave it out to use all.",
            )
        chosen = np.random.default_rng(choice.seed).choice(len(everything), choice.limit, replace=False)
        everything = [everything[index] for index in sorted(chosen.tolist())]
    documents: dict[str, list[int]] = {}
    for name, index in everything:
        documents.setdefault(name, []).append(index)
    return documents


def _identity(task: Any, documents: Sequence[int]) -> dict[str, Any]:
    """What determines the scores of a task: its settings, the drawn documents, and what examples are drawn from."""
    settings = {name: value for name, value in task.dump_config().items() if name not in _WHERE}
    python = type(task).__module__.startswith("lm_eval.api.")
    return {
        "settings": _text(settings),
        "version": str(task.VERSION),
        "class": None if python else inspect.getsource(type(task)),
        "documents": [hash_string(_text(task.eval_docs[index])) for index in documents],
        "examples": hash_string(_text([*task.fewshot_docs()])) if task.get_config("num_fewshot") else None,
    }


def _text(value: Any) -> str:
    """As lm-eval writes a document before it hashes it."""
    return json.dumps(value, indent=2, default=handle_non_serializable, ensure_ascii=False)
