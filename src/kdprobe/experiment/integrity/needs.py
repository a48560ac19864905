"""What runs need: the stages named in their records, and the stages those were computed from."""

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
"""The record of an unfinished run's stages; `run.json` replaces it."""
_KEYS = ("transfer", "select", "distill", "evaluate")


@dataclass(frozen=True)
class Needs:
    """The content of a run's record.

    Attributes:
        file: The record.
        run: The run's name.
        keys: The keys of the stages it names.
        faults: What is wrong with the record.
    """

    file: Path
    run: str
    keys: frozenset[str]
    faults: tuple[str, ...] = ()


def needs(root: Path) -> list[Needs]:
    """The records of all runs in a store, including unfinished runs."""
    return [_needs(file) for name in (RECORD, BEGUN) for file in sorted(root.glob(f"{RUNS}/*/{name}"))]


class Inputs:
    """The inputs of the stages in a store; each manifest is read once, when needed.

    Args:
        root: The store.
    """

    def __init__(self, root: Path) -> None:
        self._folders = {folder.name: folder for folder in root.glob(f"{STAGES}/*/*")}
        self._known: dict[str, list[str]] = {}

    def with_inputs(self, keys: Iterable[str]) -> set[str]:
        """The given keys of stages and those of all their inputs that the store knows."""
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
            # A damaged stage is reported when it is read; a run's record names most inputs itself.
            with suppress(UnreadableError, KeyError):
                self._known[key] = inputs_of(read_manifest(self._folders[key]))
        return self._known[key]


def inputs_of(manifest: dict[str, Any]) -> list[str]:
    """The keys of a stage's inputs."""
    inputs = manifest.get("inputs")
    return [str(key) for key in inputs] if isinstance(inputs, list) else []


def _needs(file: Path) -> Needs:
    run = file.parent.name
    try:
        return Needs(file, run, frozenset(_keys(read_sealed(file))))
    except UnreadableError as error:
        return Needs(file, run, frozenset(), (f"{file.name} {error}",))
    except (AttributeError, TypeError):
        return Needs(file, run, frozenset(), (f"{file.name} is not a valid run record",))


def _keys(record: dict[str, Any]) -> Iterator[str]:
    yield from record.get("stages", ())
    for arm in record.get("arms", ()):
        yield from (arm[kind] for kind in _KEYS if arm.get(kind))
        yield from arm.get("tasks", {}).values()
    yield from record.get("analyses", {}).values()
