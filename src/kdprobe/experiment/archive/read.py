"""Importing a run and all its stages from an archive; everything is checked before the store is changed."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from kdprobe.console import note
from kdprobe.errors import KdprobeError, UsageError
from kdprobe.experiment.archive.names import FORMAT, HEAD, Contents, RefusedError, contents
from kdprobe.experiment.archive.verify import verify
from kdprobe.experiment.integrity.checks import DamagedStageError
from kdprobe.experiment.integrity.manifest import KEY_LENGTH, MADE_FROM, data_digest
from kdprobe.experiment.integrity.needs import needs
from kdprobe.experiment.integrity.upkeep import LOCK, MAKING, RECORD, clear_remains, exclusive, set_aside
from kdprobe.experiment.store import Store
from kdprobe.files import UnreadableError, digest, read_sealed, sync, sync_all, write_whole


@dataclass(frozen=True)
class Imported:
    """The imported run, the number of stages added, and the number that the store already had."""

    run: str
    added: int
    known: int


def import_run(store: Store, file: Path) -> Imported:
    """Imports a run and all its stages from an archive into a store.

    Stages and a record that the store already has are left alone.

    Args:
        store: The store to import into; created if it does not exist.
        file: An archive written by `export_run`.

    Raises:
        UsageError: The file does not exist.
        KdprobeError: The archive is damaged or not from kdprobe, or the store has different results for its stages.
    """
    if not file.is_file():
        raise UsageError(f"{file} is not a file.", "Specify an archive written by `kdprobe store export`.")
    with _opened(file) as archive, _room(store.root, file) as folder:
        with _sentences(file):
            found = contents(archive, file)
            _extract(archive, found, folder)
            _check_head(folder, found, file)
            verify(folder, found, file)
        store.prepare()
        with ExitStack() as locks:
            for stage in sorted(found.stages):
                lock = store.root / MAKING / f"{Path(stage).name}{LOCK}"
                locks.enter_context(exclusive(lock, f"Another process is running {stage}; waiting for it."))
            missing = [stage for stage in found.stages if not _is_known(store, folder, stage, file)]
            add_record = not _has_record(store, folder, found, file)
            for stage in missing:
                _put_in_place(store, folder, stage)
            if add_record:
                _put_record(store, folder, found)
    return Imported(found.run, len(missing), len(found.stages) - len(missing))


@contextmanager
def _opened(file: Path) -> Iterator[tarfile.TarFile]:
    # Uncompressed only, so that a small file cannot unpack to a large one.
    with _sentences(file):
        archive = tarfile.open(file, "r:")  # noqa: SIM115 - closed below
    with archive:
        yield archive


@contextmanager
def _sentences(file: Path) -> Iterator[None]:
    """Turns the errors that libraries raise on malformed files into one sentence."""
    try:
        yield
    except (KdprobeError, OSError):
        raise
    except Exception as error:
        raise RefusedError(file, "it is not a complete tar archive of a run") from error


@contextmanager
def _room(root: Path, file: Path) -> Iterator[Path]:
    """An empty folder in a store for the import; if the import fails, a store created for it is removed again."""
    making = root / MAKING
    made = [folder for folder in (making, root) if not folder.exists()]
    making.mkdir(parents=True, exist_ok=True)
    key = digest({"import": file.resolve()})[:KEY_LENGTH]
    done = False
    try:
        with exclusive(making / f"{key}{LOCK}", f"Another process is importing {file}; waiting for it."):
            clear_remains(making, key)
            folder = making / f"{key}-{os.getpid()}"
            folder.mkdir()
            try:
                yield folder
                done = True
            finally:
                shutil.rmtree(folder)
    finally:
        if not done:
            for empty in made:
                with suppress(OSError):
                    empty.rmdir()


def _extract(archive: tarfile.TarFile, found: Contents, folder: Path) -> None:
    """Writes the members, whose names were checked, as new regular files."""
    for name, member in found.members.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        source = archive.extractfile(member)
        if source is None:
            raise tarfile.ReadError(name)
        with source, target.open("xb") as stream:
            shutil.copyfileobj(source, stream)
        if target.stat().st_size != member.size:
            raise tarfile.ReadError(name)
    sync_all(folder)


def _check_head(folder: Path, found: Contents, file: Path) -> None:
    try:
        head = read_sealed(folder / HEAD)
    except UnreadableError as error:
        raise RefusedError(file, f"its {HEAD} {error}") from error
    if head.get("format") != FORMAT:
        raise KdprobeError(
            f"{file} has format {head.get('format')!r}; this version of kdprobe reads format {FORMAT}.",
            "Upgrade kdprobe.",
        )
    if head.get("run") != found.run:
        raise RefusedError(file, f"its record does not belong to the run {head.get('run')!r}")


def _is_known(store: Store, folder: Path, stage: str, file: Path) -> bool:
    """Whether the store already has a stage, complete and with the same data."""
    target = store.root / stage
    try:
        store.checks.whole(target)
    except DamagedStageError:
        return False
    ours, theirs = store.checks.manifest(target), store.checks.manifest(folder / stage)
    if (data_digest(ours), ours.get(MADE_FROM)) != (data_digest(theirs), theirs.get(MADE_FROM)):
        raise KdprobeError(
            f"{file} was not imported: the {target.parent.name} stage {target.name} has different results in this "
            "store, which can happen with answers from a server. Nothing was changed.",
            "Import it into another store (--store).",
        )
    return True


def _has_record(store: Store, folder: Path, found: Contents, file: Path) -> bool:
    ours = next((record for record in needs(store.root) if record.file == store.root / found.record), None)
    if ours is None or ours.faults:
        return False
    (theirs,) = needs(folder)
    if ours.keys != theirs.keys:
        raise KdprobeError(
            f"{file} was not imported: the store already has a different run named {found.run}. Nothing was changed.",
            "Import it into another store (--store).",
        )
    return True


def _put_in_place(store: Store, folder: Path, stage: str) -> None:
    target = store.root / stage
    if target.exists():
        aside = set_aside(store.root, target)
        note(f"The {target.parent.name} stage {target.name} was damaged and has been moved to {aside}.")
    target.parent.mkdir(exist_ok=True)
    sync(target.parent.parent)
    (folder / stage).rename(target)
    sync(target.parent)
    store.checks.forget(target)


def _put_record(store: Store, folder: Path, found: Contents) -> None:
    target = store.run_folder(found.run) / RECORD
    if target.exists():
        note(f"The record of {found.run} was damaged and has been moved to {set_aside(store.root, target)}.")
    target.parent.mkdir(exist_ok=True)
    sync(target.parent.parent)
    write_whole(target, (folder / found.record).read_text(encoding="utf-8"))
