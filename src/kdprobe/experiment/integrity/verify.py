"""A look at everything that a store holds: what it is, which runs need it, and whether it is what was written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdprobe.experiment.integrity.checks import Checks, DamagedStageError
from kdprobe.experiment.integrity.manifest import has_checksums
from kdprobe.experiment.integrity.upkeep import LOCK, MAKING, RECORD, RUNS, STAGES, exclusive, set_aside
from kdprobe.files import UnreadableError, read_sealed

_KEYS = ("transfer", "select", "distill", "evaluate")


@dataclass(frozen=True)
class Entry:
    """A stage, or the record of a run.

    Attributes:
        path: The stage's folder, or the file.
        kind: The stage's, or `run`.
        name: What it is called; empty where its manifest cannot be read.
        size: Of all its files, in bytes.
        runs: The runs that need it.
        faults: What is not what was written.
        checksums: Whether contents can be checked; stages of earlier versions recorded sizes only.
        moved: Where it was moved to, or `None`.
    """

    path: Path
    kind: str
    name: str
    size: int
    runs: tuple[str, ...]
    faults: tuple[str, ...] = ()
    checksums: bool = True
    moved: Path | None = None


def entries(root: Path, *, contents: bool = False) -> list[Entry]:
    """Everything that a store holds.

    Args:
        root: The store.
        contents: Whether the contents of all files are checked; otherwise only manifests, records and sizes.
    """
    records, needing = [], dict[str, list[str]]()
    for file in sorted(root.glob(f"{RUNS}/*/{RECORD}")):
        run = file.parent.name
        record: dict[str, Any] = {}
        faults: tuple[str, ...] = ()
        try:
            record = read_sealed(file)
        except UnreadableError as error:
            faults = (f"{RECORD} {error}",)
        records.append(Entry(file, "run", run, file.stat().st_size, (run,), faults))
        for key in set(_keys(record)):
            needing.setdefault(key, []).append(run)
    folders = sorted(folder for folder in root.glob(f"{STAGES}/*/*") if folder.is_dir())
    return [
        *(_stage(folder, tuple(needing.get(folder.name, ())), contents=contents) for folder in folders),
        *records,
    ]


def repair(root: Path, entry: Entry) -> Path | None:
    """Moves a damaged stage or record out of the way and returns where it is; `None` where it is whole by now."""
    if entry.kind == "run":
        return set_aside(root, entry.path)
    key = entry.path.name
    with exclusive(root / MAKING / f"{key}{LOCK}", f"Another process is making {key}; waiting for it."):
        if not _stage(entry.path, (), contents=True).faults:
            return None
        return set_aside(root, entry.path)


def _stage(folder: Path, runs: tuple[str, ...], *, contents: bool) -> Entry:
    checks, kind = Checks(), folder.parent.name
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    try:
        manifest = checks.manifest(folder)
    except DamagedStageError as error:
        return Entry(folder, kind, "", size, runs, tuple(error.faults))
    faults: tuple[str, ...] = ()
    try:
        checks.whole(folder) if contents else checks.sizes(folder)
    except DamagedStageError as error:
        faults = tuple(error.faults)
    return Entry(folder, kind, str(manifest.get("name", "")), size, runs, faults, has_checksums(manifest))


def _keys(record: dict[str, Any]) -> Iterator[str]:
    for arm in record.get("arms", ()):
        yield from (arm[kind] for kind in _KEYS if arm.get(kind))
    yield from record.get("analyses", {}).values()
