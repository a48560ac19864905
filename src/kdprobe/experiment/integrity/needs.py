"""What runs need: the stages that their records name, and what these were made from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdprobe.experiment.integrity.manifest import read_manifest
from kdprobe.experiment.integrity.upkeep import RECORD, RUNS, STAGES
from kdprobe.files import UnreadableError, read_sealed

BEGUN = "begun.json"
"""What a run that has not finished says of its stages; `run.json` takes its place."""
_KEYS = ("transfer", "select", "distill", "evaluate")


@dataclass(frozen=True)
class Needs:
    """What a record of a run says.

    Attributes:
        file: The record.
        run: The run.
        keys: The stages that it names.
        faults: What is not what was written.
    """

    file: Path
    run: str
    keys: frozenset[str]
    faults: tuple[str, ...] = ()


def needs(root: Path) -> list[Needs]:
    """What the records of all runs of a store say, those of runs that have not finished included."""
    return [_needs(file) for name in (RECORD, BEGUN) for file in sorted(root.glob(f"{RUNS}/*/{name}"))]


class Inputs:
    """What the stages of a store were made from; a manifest is read once, when it is asked for.

    Args:
        root: The store.
    """

    def __init__(self, root: Path) -> None:
        self._folders = {folder.name: folder for folder in root.glob(f"{STAGES}/*/*")}
        self._known: dict[str, list[str]] = {}

    def with_inputs(self, keys: Iterable[str]) -> set[str]:
        """Keys of stages, and of all that they were made from, as far as the store knows."""
        found: set[str] = set()
        waiting = list(keys)
        while waiting:
            key = waiting.pop()
            if key not in found:
                found.add(key)
                waiting += self._of(key)
        return found

    def _of(self, key: str) -> list[str]:
        if key not in self._known:
            self._known[key] = []
            # A damaged one is reported when it is read; a run's record names most inputs itself.
            with suppress(UnreadableError, KeyError):
                self._known[key] = inputs_of(read_manifest(self._folders[key]))
        return self._known[key]


def inputs_of(manifest: dict[str, Any]) -> list[str]:
    """The keys of what a stage was made from."""
    inputs = manifest.get("inputs")
    return [str(key) for key in inputs] if isinstance(inputs, list) else []


def _needs(file: Path) -> Needs:
    run = file.parent.name
    try:
        return Needs(file, run, frozenset(_keys(read_sealed(file))))
    except UnreadableError as error:
        return Needs(file, run, frozenset(), (f"{file.name} {error}",))
    except (AttributeError, TypeError):
        return Needs(file, run, frozenset(), (f"{file.name} is not the record of a run",))


def _keys(record: dict[str, Any]) -> Iterator[str]:
    yield from record.get("stages", ())
    for arm in record.get("arms", ()):
        yield from (arm[kind] for kind in _KEYS if arm.get(kind))
    yield from record.get("analyses", {}).values()
