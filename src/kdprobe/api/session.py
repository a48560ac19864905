"""The setup of every API call: plugins, the store, and errors with a plain message."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from kdprobe.api.faults import UnexpectedError
from kdprobe.console.messages import listening
from kdprobe.errors import KdprobeError

if TYPE_CHECKING:
    from kdprobe.experiment.store import Store
    from kdprobe.host.choice import Choice
    from kdprobe.host.registry import Host
    from kdprobe.models.outline.fork import Fork
    from kdprobe.models.outline.memory import Memory

DEFAULT_STORE = "kdprobe-runs"
STORE, PLUGINS_DIR, NO_PLUGINS = "KDPROBE_STORE", "KDPROBE_PLUGINS_DIR", "KDPROBE_NO_PLUGINS"
"""Environment variables with the defaults of omitted arguments."""
AnyPath = str | os.PathLike[str]


@dataclass(frozen=True)
class Call:
    """The state of an API call.

    Attributes:
        warnings: The warnings so far.
        hosts: The plugins that it has loaded.
    """

    warnings: list[str]
    hosts: list[Host] = field(default_factory=list)

    def open_host(self, plugins_dir: AnyPath | None, *, no_plugins: bool) -> Host:
        """Loads the plugins.

        Raises:
            UsageError: The folder does not exist.
        """
        from kdprobe.host.registry import Host

        host = Host(choice=plugin_choice(plugins_dir, no_plugins=no_plugins))
        self.hosts.append(host)
        return host


@contextmanager
def calling(*, progress: bool) -> Iterator[Call]:
    """Collects warnings, and turns every error in the block into a `KdprobeError`.

    Args:
        progress: Whether to print progress and notes to stderr.
    """
    with listening(shown=progress) as warnings:
        call = Call(warnings)
        try:
            yield call
        except KdprobeError:
            raise
        except (Exception, SystemExit) as error:
            raise UnexpectedError(error, call.hosts) from error


def plugin_choice(plugins_dir: AnyPath | None, *, no_plugins: bool) -> Choice:
    """Determines which plugins to load, from the arguments and the environment."""
    from kdprobe.host.choice import Choice

    folder = plugins_dir or os.environ.get(PLUGINS_DIR) or None
    none = no_plugins or os.environ.get(NO_PLUGINS, "").lower() in {"1", "true", "t", "yes", "y", "on"}
    return Choice.of_environment(none=none, folder=Path(folder) if folder else None)


def open_store(folder: AnyPath | None) -> Store:
    """The store that was passed, or the environment's, or `kdprobe-runs` in the working folder."""
    from kdprobe.experiment.store import Store

    return Store(Path(folder or os.environ.get(STORE) or DEFAULT_STORE))


@contextmanager
def foreseen_threads(memory: Memory, fork: Fork | None) -> Iterator[None]:
    """Makes the number of threads that torch would use known.

    Args:
        memory: May know the number already.
        fork: Where torch is asked otherwise; by default in this process.
    """
    from kdprobe.models.outline.device import threads_inputs, threads_known_by
    from kdprobe.models.outline.helpers import import_torch

    inputs = threads_inputs()
    if "torch" in sys.modules or inputs is None:
        yield
        return

    if fork and not memory.general.knows("threads", inputs):
        fork.start(import_torch)

    def compute() -> int:
        return fork.call(_thread_count) if fork else _thread_count()

    def ask() -> int:
        return int(memory.general.recall("threads", inputs, compute))

    with threads_known_by(cache(ask)):
        yield


def _thread_count() -> int:
    import torch

    return torch.get_num_threads()
