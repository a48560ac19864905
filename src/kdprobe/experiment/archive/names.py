"""What an archive may hold, and what it is called there.

    kdprobe-run.json             the format, the run's name, and the version that wrote it
    runs/NAME/run.json           the run's record
    stages/KIND/KEY/…            its stages, each with its stage.json

Nothing else is taken.
"""

from __future__ import annotations

import re
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kdprobe.errors import KdprobeError
from kdprobe.experiment.integrity.manifest import KEY_LENGTH, MANIFEST
from kdprobe.experiment.integrity.upkeep import RECORD, RUNS, STAGES

HEAD = "kdprobe-run.json"
FORMAT = 1
_KINDS = "transfer|select|distill|evaluate|analyse"
_RECORD = re.compile(rf"{RUNS}/([A-Za-z0-9][A-Za-z0-9._-]*)/{re.escape(RECORD)}")
_STAGE_FILE = re.compile(rf"({STAGES}/({_KINDS})/[0-9a-f]{{{KEY_LENGTH}}})/(.+)", re.DOTALL)
_MOST_JSON_BYTES = 200_000_000
"""Of a record or a manifest; larger ones are no experiment's, and reading one takes many times its size in memory."""


class RefusedError(KdprobeError):
    """An archive is not one that kdprobe wrote, or no longer."""

    def __init__(self, file: Path, what: str) -> None:
        super().__init__(f"{file} was not imported, and nothing was changed: {what}.", "Export the run again.")


@dataclass(frozen=True)
class Contents:
    """What an archive says that it holds.

    Attributes:
        run: The run's name.
        record: The name of its record in the archive.
        stages: Stage, as its folder in a store, to the names of its files in that folder.
        members: Everything, by name.
    """

    run: str
    record: str
    stages: dict[str, frozenset[str]]
    members: dict[str, tarfile.TarInfo]


def contents(archive: tarfile.TarFile, file: Path) -> Contents:
    """Reads the names, types and sizes in an archive, and nothing else.

    Raises:
        RefusedError: Something in it is not the file of a stage or of a run, or would leave its folder.
    """
    members: dict[str, tarfile.TarInfo] = {}
    room = file.stat().st_size
    for member in archive:
        # A sparse file takes more room than it has in the archive.
        if member.type not in {tarfile.REGTYPE, tarfile.AREGTYPE} or member.sparse is not None:
            raise RefusedError(file, f"{member.name!r} in it is not a plain file")
        room -= member.size
        if member.size < 0 or room < 0:
            raise RefusedError(file, f"{member.name!r} in it is larger than the archive")
        if member.name in members:
            raise RefusedError(file, f"{member.name!r} is in it twice")
        members[member.name] = member
    records, stages = [], dict[str, set[str]]()
    for name, member in members.items():
        stage = _STAGE_FILE.fullmatch(name)
        record = _RECORD.fullmatch(name)
        if record:
            records.append(record[1])
        elif stage and _stays_inside(stage[3]):
            stages.setdefault(stage[1], set()).add(stage[3])
        elif name != HEAD:
            raise RefusedError(file, f"{name!r} in it is not a file of a run or a stage")
        is_json = not stage or stage[3] == MANIFEST
        if is_json and member.size > _MOST_JSON_BYTES:
            raise RefusedError(file, f"{name!r} in it is larger than {_MOST_JSON_BYTES:,} bytes")
    folders = {str(folder) for name in members for folder in PurePosixPath(name).parents}
    if both := sorted(folders & members.keys()):
        raise RefusedError(file, f"{both[0]!r} in it is a file and a folder")
    if HEAD not in members or len(records) != 1:
        raise RefusedError(file, "it does not hold one run")
    (run,) = records
    return Contents(run, f"{RUNS}/{run}/{RECORD}", {name: frozenset(found) for name, found in stages.items()}, members)


def _stays_inside(name: str) -> bool:
    """Whether a name, made of parts with slashes between them, is one of a file below a folder, on any system."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return all(part not in {"", ".", ".."} and "\0" not in part and Path(part).name == part for part in name.split("/"))
