"""Loads one of lm-eval's tasks, with its data, and draws documents from it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lm_eval.utils import handle_non_serializable, hash_string

from kdprobe.errors import UsageError
from kdprobe.evaluation.tasks.choice import TaskChoice
from kdprobe.evaluation.tasks.find import find_task, refuse_code
from kdprobe.files import digest
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
    leaves, sources = find_task(choice.name, folders)
    for task in leaves.values():
        _refuse_others(choice.name, task)
        _show_examples(choice, task)
    documents = _draw(choice, {name: len(task.eval_docs) for name, task in leaves.items()})
    drawn = {name: leaves[name] for name in documents}
    parts = {name: _identity(task, documents[name]) for name, task in drawn.items()}
    return DrawnTask(choice, drawn, documents, digest({"tasks": parts, "sources": sources}))


def _refuse_others(name: str, task: Any) -> None:
    if getattr(task, "UNSAFE_CODE", False):
        refuse_code(name)
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
            f"The task {task.config.task!r} has only {counted(there, 'document')} to draw "
            f"{counted(shown, 'example')} from.",
            "Lower num_fewshot.",
        )


def _draw(choice: TaskChoice, sizes: Mapping[str, int]) -> dict[str, list[int]]:
    """The drawn documents of each task: all, or as many as the limit, each equally likely."""
    everything = [(name, index) for name, size in sizes.items() for index in range(size)]
    if choice.limit is not None:
        if choice.limit > len(everything):
            raise UsageError(
                f"The task {choice.name!r} has only {counted(len(everything), 'document')}, but its limit is "
                f"{choice.limit}.",
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
