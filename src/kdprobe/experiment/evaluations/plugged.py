"""Loads tasks by name: those of plugins, of folders, and lm-eval's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from kdprobe.errors import KdprobeError, UsageError
from kdprobe.evaluation.protocol import TASKS
from kdprobe.experiment.evaluations.config import TaskConfig
from kdprobe.experiment.section import sentences
from kdprobe.experiment.stages.plugin_key import plugin_key
from kdprobe.host.provider import Provider
from kdprobe.host.registry import Host

if TYPE_CHECKING:
    from kdprobe.evaluation.tasks.load import DrawnTask

KIND = "tasks"


def named_task(config: TaskConfig, folders: Sequence[Path], host: Host) -> DrawnTask:
    """Loads a task with its data, from a plugin if one provides it.

    Args:
        config: The task.
        folders: Folders with tasks as YAML.
        host: The plugins.

    Raises:
        UsageError: There is no such task, several places have one of this name, or its options are invalid.
        KdprobeError: Its folder or data cannot be loaded.
    """
    # Loading tasks takes seconds, and most commands load none.
    from kdprobe.evaluation.tasks.load import load_task

    if config.name not in host.names(KIND):
        if config.options:
            raise UsageError(
                f"The task {config.name!r} has options, but no plugin provides it.",
                "Remove the options, or install the plugin.",
            )
        return load_task(config.choice, folders)
    provider = host.get(KIND, config.name).provider
    _refuse_other_of_the_name(config.name, provider, folders)
    options = _options(config, host)
    folder = host.build(KIND, config.name, options)
    if not isinstance(folder, Path) or not folder.is_dir():
        raise KdprobeError(
            f"The folder of the task {config.name!r}, {str(folder)!r}, does not exist.",
            f"The task comes from {provider.source}: reinstall that package, or correct it if it is your own.",
        )
    key: dict[str, Any] = plugin_key(host, KIND, config.name)
    if options is not None:
        key["options"] = options.model_dump(mode="json")
    return replace(load_task(config.choice, [*folders, folder]), plugin=key)


def _options(config: TaskConfig, host: Host) -> Any:
    try:
        return host.options(KIND, config.name, config.options)
    except ValidationError as error:
        raise UsageError(f"{'; '.join(sentences(error, section=f'{config.name}.options'))}.") from error


def _refuse_other_of_the_name(name: str, provider: Provider, folders: Sequence[Path]) -> None:
    """Refuses a name that means two tasks: what a score belongs to must not depend on what is installed."""
    from kdprobe.evaluation.tasks.names import is_lm_evals, names_in

    block = f"KDPROBE_BLOCK={provider.name}"
    for folder in folders:
        if folder.is_dir() and name in names_in([folder]):
            raise UsageError(
                f"The task {name!r} is both in {folder} and in {provider.source}.", f"Rename yours, or set {block}."
            )
    if name in TASKS or is_lm_evals(name):
        owner = "kdprobe" if name in TASKS else "lm-eval"
        raise UsageError(
            f"The task {name!r} from {provider.source} has the same name as one of {owner}'s own tasks.",
            f"Set {block} to use {owner}'s task.",
        )
