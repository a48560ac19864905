"""Lists everything in a store: what it is, which runs need it, and whether it is undamaged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kdprobe.experiment.integrity.checks import Checks, DamagedStageError
from kdprobe.experiment.integrity.manifest import has_checksums
from kdprobe.experiment.integrity.needs import Inputs, needs
from kdprobe.experiment.integrity.upkeep import LOCK, MAKING, STAGES, exclusive, set_aside


@dataclass(frozen=True)
class Entry:
    """A stage, or the record of a run.

    Attributes:
        path: The stage's folder, or the file.
        kind: The kind of the stage, or `run`.
        name: Its name; empty if its manifest cannot be read.
        size: The total size of its files in bytes.
        runs: The runs that need it.
        faults: What is wrong with it.
        checksums: Whether contents can be checked; earlier versions recorded only sizes.
        moved: The path it was moved to, or `None`.
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
    """Everything in a store.

    Args:
        root: The store.
        contents: Whether to check the contents of all files, or only manifests, records and sizes.
    """
    records, needing, inputs = [], dict[str, list[str]](), Inputs(root)
    for record in needs(root):
        records.append(Entry(record.file, "run", record.run, size_of(record.file), (record.run,), record.faults))
        for key in inputs.with_inputs(record.keys):
            if record.run not in needing.setdefault(key, []):
                needing[key].append(record.run)
    folders = sorted(folder for folder in root.glob(f"{STAGES}/*/*") if folder.is_dir())
    return [
        *(_stage(folder, tuple(needing.get(folder.name, ())), contents=contents) for folder in folders),
        *records,
    ]


def size_of(path: Path) -> int:
    """The size of a file, or of all files in a folder, in bytes."""
    return sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())


def repair(root: Path, entry: Entry) -> Path | None:
    """Moves a damaged stage or record out of the way and returns its new path; `None` if it is undamaged by now."""
    if entry.kind == "run":
        return set_aside(root, entry.path)
    key = entry.path.name
    with exclusive(root / MAKING / f"{key}{LOCK}", f"Another process is running {key}; waiting for it."):
        if not _stage(entry.path, (), contents=True).faults:
            return None
        return set_aside(root, entry.path)


def _stage(folder: Path, runs: tuple[str, ...], *, contents: bool) -> Entry:
    checks, kind = Checks(), folder.parent.name
    size = size_of(folder)
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
