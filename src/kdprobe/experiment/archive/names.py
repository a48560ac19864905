"""What an archive may contain, and under which names.

    kdprobe-run.json             the format, the run's name, and the version that wrote it
    runs/NAME/run.json           the run's record
    stages/KIND/KEY/…            its stages, each with its stage.json

Nothing else is accepted.
"""

from __future__ import annotations

import re
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kdprobe.errors import KdprobeError
from kdprobe.experiment.integrity.manifest import KEY_LENGTH, MANIFEST
from kdprobe.experiment.integrity.upkeep import RECORD, RUNS, STAGES
from kdprobe.experiment.stages.stage import KINDS

HEAD = "kdprobe-run.json"
FORMAT = 1
_RECORD = re.compile(rf"{RUNS}/([A-Za-z0-9][A-Za-z0-9._-]*)/{re.escape(RECORD)}")
_STAGE_FILE = re.compile(rf"({STAGES}/({'|'.join(KINDS)})/[0-9a-f]{{{KEY_LENGTH}}})/(.+)", re.DOTALL)
_MOST_JSON_BYTES = 200_000_000
"""The limit for a record or a manifest; no experiment writes more, and parsing takes many times the size in memory."""


class RefusedError(KdprobeError):
    """An archive that kdprobe did not write, or that was changed since."""

    def __init__(self, file: Path, what: str) -> None:
        super().__init__(f"{file} was not imported: {what}. Nothing was changed.", "Export the run again.")


@dataclass(frozen=True)
class Contents:
    """What an archive claims to contain.

    Attributes:
        run: The run's name.
        record: The path of its record in the archive.
        stages: Each stage, as its folder in a store, mapped to the names of its files.
        members: All members by name.
    """

    run: str
    record: str
    stages: dict[str, frozenset[str]]
    members: dict[str, tarfile.TarInfo]


def contents(archive: tarfile.TarFile, file: Path) -> Contents:
    """Reads only the names, types and sizes of the members.

    Raises:
        RefusedError: A member is not a file of a stage or a run, or would be written outside its folder.
    """
    members: dict[str, tarfile.TarInfo] = {}
    room = file.stat().st_size
    for member in archive:
        # A sparse file takes more space on disk than in the archive.
        if member.type not in {tarfile.REGTYPE, tarfile.AREGTYPE} or member.sparse is not None:
            raise RefusedError(file, f"its member {member.name!r} is not a regular file")
        room -= member.size
        if member.size < 0 or room < 0:
            raise RefusedError(file, f"its member {member.name!r} is larger than the archive")
        if member.name in members:
            raise RefusedError(file, f"it contains {member.name!r} twice")
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
            raise RefusedError(file, f"its member {name!r} does not belong to a run or a stage")
        is_json = not stage or stage[3] == MANIFEST
        if is_json and member.size > _MOST_JSON_BYTES:
            raise RefusedError(file, f"its member {name!r} is larger than {_MOST_JSON_BYTES:,} bytes")
    folders = {str(folder) for name in members for folder in PurePosixPath(name).parents}
    if both := sorted(folders & members.keys()):
        raise RefusedError(file, f"its member {both[0]!r} is both a file and a folder")
    if HEAD not in members or len(records) != 1:
        raise RefusedError(file, "it does not contain exactly one run")
    (run,) = records
    return Contents(run, f"{RUNS}/{run}/{RECORD}", {name: frozenset(found) for name, found in stages.items()}, members)


def _stays_inside(name: str) -> bool:
    """Whether a slash-separated name stays below its folder on every operating system."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return all(part not in {"", ".", ".."} and "\0" not in part and Path(part).name == part for part in name.split("/"))
