"""Checks that an archive contains a run written by kdprobe, all its stages, and nothing else."""

from __future__ import annotations

from pathlib import Path

from kdprobe.errors import KdprobeError
from kdprobe.experiment.archive.names import Contents, RefusedError
from kdprobe.experiment.integrity.manifest import (
    MADE_FROM,
    MANIFEST,
    has_checksums,
    is_older,
    read_manifest,
    stage_key,
)
from kdprobe.experiment.integrity.needs import Inputs, inputs_of, needs
from kdprobe.experiment.integrity.upkeep import STAGES
from kdprobe.experiment.integrity.verify import entries
from kdprobe.experiment.results import load_results
from kdprobe.experiment.store import Store
from kdprobe.files import UnreadableError


def verify(folder: Path, found: Contents, file: Path) -> None:
    """Reads every file of an archive, and the run as `kdprobe report` reads it.

    Args:
        folder: The folder its files were extracted to, laid out like a store.
        found: What the archive contains.
        file: The archive, for messages.

    Raises:
        RefusedError: Something was changed, is missing, or does not belong to the run.
    """
    for stage, names in found.stages.items():
        _verify_stage(folder / stage, names, found, file)
    for entry in entries(folder, contents=True):
        if entry.faults:
            raise RefusedError(file, f"{entry.kind} {entry.path.name}: {', '.join(entry.faults)}")
    (record,) = needs(folder)
    keys = {Path(stage).name for stage in found.stages}
    if Inputs(folder).with_inputs(record.keys) != keys or len(keys) != len(found.stages):
        raise RefusedError(file, "its stages are not exactly those that the run needs")
    try:
        load_results(Store(folder), found.run)
    except KdprobeError as error:
        raise RefusedError(file, f"the run cannot be read: {error.message.rstrip('.')}") from error
    except Exception as error:
        raise RefusedError(file, "its record is not the record of a run") from error


def _verify_stage(folder: Path, names: frozenset[str], found: Contents, file: Path) -> None:
    """Checks a stage's manifest without trusting it."""
    label = f"the {folder.parent.name} stage {folder.name}"
    try:
        manifest = read_manifest(folder)
    except UnreadableError as error:
        raise RefusedError(file, f"{label} is damaged: {error}") from error
    if is_older(manifest) or not has_checksums(manifest):
        raise RefusedError(file, f"{label} was produced by a different version of kdprobe")
    if names != {*manifest["files"], MANIFEST}:
        raise RefusedError(file, f"{label} does not contain the files listed in its {MANIFEST}")
    inputs, origin = inputs_of(manifest), manifest.get(MADE_FROM)
    sources = {f"{STAGES}/{stage}" for stage in origin} if isinstance(origin, dict) else {""}
    named = inputs == manifest.get("inputs") and {Path(stage).name for stage in sources} == set(inputs)
    if not named or not sources <= found.stages.keys():
        raise RefusedError(file, f"{label} was computed from stages that are not in the archive")
    if stage_key(folder.parent.name, manifest.get("settings"), inputs) != folder.name:
        raise RefusedError(file, f"{label} does not match its own settings")
