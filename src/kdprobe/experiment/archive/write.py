"""Exporting a run and all its stages to one file."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from kdprobe.errors import KdprobeError, UsageError
from kdprobe.experiment.archive.names import FORMAT, HEAD
from kdprobe.experiment.integrity.checks import DamagedStageError
from kdprobe.experiment.integrity.manifest import MANIFEST, SHA256, has_checksums, is_older
from kdprobe.experiment.integrity.needs import BEGUN, Inputs, needs
from kdprobe.experiment.integrity.upkeep import RECORD, RUNS, STAGES
from kdprobe.experiment.results import load_results
from kdprobe.experiment.store import Store
from kdprobe.files import CHECKSUM, PARTIAL, digest, sync
from kdprobe.host.candidates import own_version


@dataclass(frozen=True)
class Exported:
    """What was written: the run, the file, the number of stages, and the size in bytes."""

    run: str
    file: Path
    stages: int
    size: int


def export_run(store: Store, run: str, file: Path) -> Exported:
    """Writes a finished run and all its stages to one file, completely or not at all.

    The content of every file is verified while it is copied.

    Args:
        store: The store with the run.
        run: Its name, or a unique prefix of it.
        file: The archive; must not exist.

    Raises:
        UsageError: The run does not exist, or the file exists.
        KdprobeError: Part of the run is damaged or was produced by an earlier version of kdprobe.
    """
    if file.exists():
        raise UsageError(f"{file} already exists.", "Choose another name.")
    if not file.parent.is_dir():
        raise UsageError(f"The folder {file.parent} does not exist.", "Create it, or choose another folder.")
    run = load_results(store, run).run
    record = store.run_folder(run) / RECORD
    keys = next(found.keys for found in needs(store.root) if found.run == run and found.file.name != BEGUN)
    wanted = Inputs(store.root).with_inputs(keys)
    folders = sorted(folder for folder in store.root.glob(f"{STAGES}/*/*") if folder.name in wanted)
    if missing := sorted(wanted - {folder.name for folder in folders}):
        raise KdprobeError(
            f"The run {run} needs the stage {missing[0]}, which is missing.", "Run the experiment again."
        )
    partial = file.with_name(f".{file.name}.{os.getpid()}{PARTIAL}")
    try:
        with tarfile.open(partial, "x", format=tarfile.PAX_FORMAT) as archive:
            head = {"format": FORMAT, "run": run, "kdprobe": own_version()}
            _add_text(archive, HEAD, json.dumps({**head, CHECKSUM: digest(head)}))
            _add_text(archive, f"{RUNS}/{run}/{RECORD}", record.read_text(encoding="utf-8"))
            for folder in folders:
                _add_stage(archive, store, folder)
        sync(partial)
        partial.replace(file)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync(file.parent)
    return Exported(run, file, len(folders), file.stat().st_size)


def _add_stage(archive: tarfile.TarFile, store: Store, folder: Path) -> None:
    manifest = store.checks.manifest(folder)
    if is_older(manifest) or not has_checksums(manifest):
        raise KdprobeError(
            f"The {folder.parent.name} stage {folder.name} was produced by an earlier version of kdprobe.",
            "Run the experiment again and export the new run.",
        )
    store.checks.sizes(folder)
    place = folder.relative_to(store.root).as_posix()
    _add_text(archive, f"{place}/{MANIFEST}", (folder / MANIFEST).read_text(encoding="utf-8"))
    for name, entry in manifest["files"].items():
        info = tarfile.TarInfo(f"{place}/{name}")
        with (folder / name).open("rb") as stream:
            info.size = os.fstat(stream.fileno()).st_size
            reading = _Reading(stream)
            archive.addfile(info, reading)
        if reading.sha256.hexdigest() != entry[SHA256]:
            raise DamagedStageError(folder, [f"{name} was changed after it was written"])


def _add_text(archive: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode()
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


class _Reading:
    """A file that computes the SHA-256 of everything that is read from it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.sha256 = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.sha256.update(data)
        return data
