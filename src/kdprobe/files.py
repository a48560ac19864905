"""Atomic files: flushed to disk before they get their name, and verified when read.

Functions that write return only once the data would survive a power cut.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

CHECKSUM = "checksum"
PARTIAL = ".partial"
"""The suffix of files that are still being written; their names begin with a dot."""


class UnreadableError(Exception):
    """A file is damaged; the message says how, and follows the file's name."""


def write_whole(file: Path, text: str) -> None:
    """Writes a text file atomically."""
    partial = file.with_name(f".{file.name}.{os.getpid()}{PARTIAL}")
    try:
        with partial.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(file)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync(file.parent)


def sync(path: Path) -> None:
    """Waits until a file's content, or a folder's entries, are on disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        # Not all systems can open a folder, and not all file systems can sync one.
        if error.errno in {errno.EIO, errno.ENOSPC} or not path.is_dir():
            raise


def below(folder: Path) -> Iterator[Path]:
    """All files and folders below a folder.

    Raises:
        OSError: A folder cannot be listed; `Path.rglob` would skip folders without read permission.
    """

    def refuse(error: OSError) -> None:
        raise error

    for parent, folders, files in os.walk(folder, onerror=refuse):
        yield from (Path(parent, name) for name in (*folders, *files))


def sync_all(folder: Path) -> None:
    """Syncs everything in a folder, and the folder itself."""
    for path in below(folder):
        if path.is_dir() or path.is_file():
            sync(path)
    sync(folder)


def follow_umask(folder: Path) -> None:
    """Gives files the usual permissions; safetensors writes files that only their owner can read."""
    umask = os.umask(0)
    os.umask(umask)
    for file in below(folder):
        if file.is_file() and not file.is_symlink():
            file.chmod(file.stat().st_mode | (0o666 & ~umask))


def sha256(file: Path) -> str:
    """SHA-256 of a file's content, read in pieces."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_files(files: Sequence[Path]) -> str:
    """SHA-256 over the names and contents of files, ordered by name."""
    total = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.name):
        status = file.stat()
        unchanged = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        total.update(f"{file.name}\0{_content(file.resolve(), unchanged)}\n".encode())
    return total.hexdigest()


@lru_cache(maxsize=256)
def _content(file: Path, _unchanged: tuple[int, ...]) -> str:
    """SHA-256 of a file, read once per process as long as it does not change: teacher and student may be one model."""
    return sha256(file)


def digest(data: Any) -> str:
    """SHA-256 of data in canonical JSON."""
    return hashlib.sha256(json.dumps(clean(data), sort_keys=True).encode()).hexdigest()


def write_json(file: Path, data: Any) -> None:
    """Writes JSON atomically; NaN and infinities become null."""
    write_whole(file, json.dumps(clean(data), indent=2, allow_nan=False, ensure_ascii=False))


def read_json(file: Path) -> Any:
    """Reads JSON."""
    return json.loads(file.read_text(encoding="utf-8"))


def json_of(text: str | bytes) -> Any:
    """Parses untrusted JSON.

    Raises:
        ValueError: It is not JSON, or is nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def without_none(value: Any) -> Any:
    """Data without the keys whose value is `None`, which stands for the default, since TOML has no null."""
    if isinstance(value, Mapping):
        return {name: without_none(inner) for name, inner in value.items() if inner is not None}
    return [without_none(inner) for inner in value] if isinstance(value, list) else value


def refuse_special(file: Path) -> None:
    """Checks that a path is a file or a folder, because opening a named pipe or a device may block forever.

    Raises:
        OSError: It is something else, or does not exist.
    """
    mode = file.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "it is a named pipe or a device; kdprobe opens only regular files", str(file))


def write_sealed(file: Path, data: dict[str, Any]) -> None:
    """Writes JSON that includes its checksum."""
    write_json(file, {**data, CHECKSUM: digest(data)})


def read_sealed(file: Path) -> dict[str, Any]:
    """Reads a file written by `write_sealed`; files of earlier versions, without a checksum, are not verified.

    Raises:
        UnreadableError: The file is damaged.
    """
    try:
        data = read_json(file)
    except FileNotFoundError:
        raise UnreadableError("is missing") from None
    except OSError as error:
        raise UnreadableError(f"cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise UnreadableError("was changed after it was written") from error
    if not isinstance(data, dict) or data.pop(CHECKSUM, None) not in [None, digest(data)]:
        raise UnreadableError("was changed after it was written")
    return data


def clean(data: Any) -> Any:
    """Data with NaN and infinities replaced by `None`, tuples by lists and paths by strings."""
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {str(key): clean(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [clean(value) for value in data]
    return str(data) if isinstance(data, Path) else data
