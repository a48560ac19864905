"""Names of runs and of their arms."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from kdprobe.api.session import open_store

if TYPE_CHECKING:
    from kdprobe.experiment.store import Store


def runs(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Finished runs of the store, newest first."""
    return [name for name in _store(context).runs() if name.startswith(incomplete)]


def students(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """The students of finished runs, as RUN/ARM."""
    store, beginning = _store(context), incomplete.partition("/")[0]
    found = (f"{run}/{arm}" for run in store.runs() if run.startswith(beginning) for arm in _arms(store, run))
    return [name for name in found if name.startswith(incomplete)]


def runs_or_files(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Finished runs, after a slash their students; files if no run's name begins with what was typed."""
    names = (students if "/" in incomplete else runs)(context, parameter, incomplete)
    return [CompletionItem(incomplete, type="file"), *map(CompletionItem, names)]


def _store(context: click.Context) -> Store:
    return open_store(context.params.get("store"))


def _arms(store: Store, run: str) -> Iterator[str]:
    from kdprobe.experiment.integrity.upkeep import RECORD

    # Not checked for damage, which takes longer; that is done when the run is read.
    with suppress(OSError, ValueError, LookupError, TypeError):
        record = json.loads(Path(store.run_folder(run), RECORD).read_bytes())
        yield from [str(arm["name"]) for arm in record["arms"]]
