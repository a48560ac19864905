"""Reads members of a zip archive in memory: nothing is written to disk, and nothing unpacks to more than the limit."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from kdprobe.limits import UNPACKED_GB

SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")
"""First bytes of an archive, and of an empty one."""
_ZSTD = 93
"""The method number of Zstandard in zip archives, which Python's `zipfile` knows only from 3.14 on."""
_CHUNK = 2**20
_DAMAGED = (BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error, OSError, ValueError)


class Archive:
    """An open zip archive. Names of members are keys and never become paths.

    Args:
        archive: The archive.

    Attributes:
        names: The names of all members, each once; if a name occurs several times, the last member counts.
    """

    def __init__(self, archive: ZipFile) -> None:
        self._archive = archive
        self.names = list(archive.NameToInfo)
        if sum(info.file_size for info in archive.infolist()) > UNPACKED_GB.value * 2**30:
            raise ValueError(f"it unpacks to more than {UNPACKED_GB.value:g} GB. {UNPACKED_GB.hint}")

    def read(self, name: str) -> bytes:
        """The content of a member, verified by its checksum.

        Raises:
            ValueError: It is damaged, encrypted, or compressed in an unknown way.
        """
        info = self._archive.getinfo(name)
        try:
            return self._unpacked(info) if info.compress_type == _ZSTD else self._archive.read(info)
        except _DAMAGED as error:
            raise ValueError(f"its member {name!r} cannot be unpacked ({error or type(error).__name__})") from error

    def _unpacked(self, info: ZipInfo) -> bytes:
        """A member in Zstandard, of no more than the size that the archive declares."""
        import pyarrow as pa

        packed = copy(info)
        packed.compress_type, packed.file_size = ZIP_STORED, info.compress_size
        del packed.CRC  # It is the checksum of the unpacked content, which is verified below.
        content = bytearray()
        with pa.CompressedInputStream(pa.BufferReader(self._archive.read(packed)), "zstd") as stream:
            while len(content) <= info.file_size and (piece := stream.read(_CHUNK)):
                content += piece
        if len(content) != info.file_size or zlib.crc32(content) != info.CRC:
            raise BadZipFile("its checksum does not match")
        return bytes(content)


@contextmanager
def open_zip(file: Path) -> Iterator[Archive]:
    """Opens a zip archive.

    Raises:
        ValueError: It is damaged, or unpacks to more than the limit.
        OSError: It cannot be opened.
    """
    try:
        archive = ZipFile(file)
    except (BadZipFile, NotImplementedError) as error:
        raise ValueError(f"it is a zip archive, but a damaged or incomplete one ({error})") from error
    with archive:
        yield Archive(archive)
