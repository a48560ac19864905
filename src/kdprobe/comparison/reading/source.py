"""Opens files as text: decompressed, and decoded by their first bytes, or as UTF-8, or as Western 8-bit text."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from kdprobe.errors import KdprobeError, UsageError
from kdprobe.files import refuse_special
from kdprobe.limits import UNPACKED_GB

MAGIC = {".gz": b"\x1f\x8b", ".bz2": b"BZh", ".xz": b"\xfd7zXZ\x00", ".zst": b"\x28\xb5\x2f\xfd"}
"""First bytes of compressed files, by file extension."""
_MARKS = (
    ("utf-8-sig", codecs.BOM_UTF8),
    ("utf-32", codecs.BOM_UTF32_LE),
    ("utf-32", codecs.BOM_UTF32_BE),
    ("utf-16", codecs.BOM_UTF16_LE),
    ("utf-16", codecs.BOM_UTF16_BE),
)
"""Byte order marks; UTF-32 comes first, because one of its marks begins with UTF-16's."""
_HEAD = 4_096
_NOT_ASCII, _LETTERS = re.compile(rb"[\x80-\xff]"), re.compile(rb"[\x80-\xff]{4,}")
_WINDOWS_GAPS = frozenset(b"\x81\x8d\x8f\x90\x9d")
"""Bytes that Windows-1252 leaves undefined."""


@dataclass(frozen=True)
class Encoding:
    """How to decode a file's bytes.

    Attributes:
        name: The encoding, as Python names it.
        note: A note for the reader, or `None`.
    """

    name: str
    note: str | None = None


def compression(name: str) -> str:
    """The extension that says how a file is compressed; empty if it is not."""
    return next((ending for ending in MAGIC if name.lower().endswith(ending)), "")


def head_of(file: Path) -> bytes:
    """The first bytes of a file, which say how it is compressed.

    Raises:
        OSError: It cannot be opened.
    """
    refuse_special(file)
    with file.open("rb") as raw:
        return raw.read(max(map(len, MAGIC.values())))


def open_bytes(file: Path) -> IO[bytes]:
    """A file's bytes, decompressed; compression is recognised by the first bytes, not by the file's name.

    Raises:
        ValueError: Its extension names a compression that it does not have.
        OSError: It cannot be opened.
    """
    head = head_of(file)
    kind = next((ending for ending, magic in MAGIC.items() if head.startswith(magic)), "")
    if (named := compression(file.name)) and named != kind:
        raise ValueError(f"its name ends in {named}, but it is not compressed that way")
    if kind == ".zst":
        import pyarrow as pa

        return io.BufferedReader(_Bounded(pa.CompressedInputStream(pa.OSFile(str(file)), "zstd")))
    openers: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    return io.BufferedReader(_Bounded(openers[kind](file, "rb"))) if kind else file.open("rb")


class _Bounded(io.RawIOBase):
    """A decompressed stream of limited size.

    Args:
        stream: The stream that decompresses.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._left = UNPACKED_GB.value * 2**30

    def readable(self) -> bool:
        """Always true."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Reads into the buffer, as `io.RawIOBase` requires.

        Raises:
            ValueError: It unpacks to more than the limit.
        """
        read = self._stream.read(len(buffer))
        buffer[: len(read)] = read
        self._left -= len(read)
        if self._left < 0:
            raise ValueError(f"it unpacks to more than {UNPACKED_GB.value:g} GB. {UNPACKED_GB.hint}")
        return len(read)

    def close(self) -> None:
        """Closes the stream."""
        self._stream.close()
        super().close()


def open_text(file: Path, encoding: Encoding) -> io.TextIOWrapper:
    """A file's text; line ends are kept, because they may be part of a cell."""
    return io.TextIOWrapper(open_bytes(file), encoding=encoding.name, newline="")


def encoding_of(file: Path, requested: str | None) -> Encoding:
    """How to decode a file: as requested, or by its first bytes, or as UTF-8.

    Raises:
        UsageError: The requested encoding does not exist.
    """
    with open_bytes(file) as stream:
        head = stream.read(_HEAD)
    marked = next((name for name, mark in _MARKS if head.startswith(mark)), None)
    if requested is not None:
        return Encoding("utf-8-sig" if marked == "utf-8-sig" and _is_utf8(requested) else _known(requested))
    if marked is not None:
        return Encoding(marked, None if marked == "utf-8-sig" else f"Read as {marked.upper()}.")
    # In UTF-16, the upper byte of an ASCII character is zero; 8-bit text has no zero bytes.
    upper = {"utf-16-le": head[1::2].count(0), "utf-16-be": head[0::2].count(0)}
    likeliest, other = sorted(upper, key=upper.__getitem__, reverse=True)
    if upper[likeliest] > max(3, len(head) / 100, 4 * upper[other]):
        return Encoding(likeliest, f"Read as {likeliest.upper()}.")
    return Encoding("utf-8")


def _known(name: str) -> str:
    try:
        "".encode(name)
    except LookupError as error:
        raise UsageError(
            f"Unknown encoding {name!r}.", "Use one that Python knows, such as utf-16 or cp1252."
        ) from error
    return name


def _is_utf8(name: str) -> bool:
    return codecs.lookup(_known(name)).name == "utf-8"


def legacy_encoding(file: Path) -> Encoding:
    """The 8-bit encoding of a file that is not UTF-8: Windows-1252, or Latin-1 if it has bytes undefined in the former.

    Raises:
        KdprobeError: It is mostly UTF-8 with some broken bytes, or it is in another script.
    """
    high, in_words, multibyte, gaps, broken_line = 0, 0, 0, False, 0
    for number, line in enumerate(_lines(file), start=1):
        if line.isascii():
            continue
        found = _NOT_ASCII.findall(line)
        high += len(found)
        in_words += sum(map(len, _LETTERS.findall(line)))
        gaps = gaps or not _WINDOWS_GAPS.isdisjoint(line)
        decoded = line.decode("utf-8", errors="surrogateescape")
        broken = sum("\udc80" <= character <= "\udcff" for character in decoded)
        multibyte += sum(not character.isascii() for character in decoded) - broken
        if broken and not broken_line:
            broken_line = number
    if multibyte or in_words > high / 2:
        why = "most of the file is UTF-8, but not this line" if multibyte else "the file is not UTF-8"
        raise KdprobeError(
            f"{file}, line {broken_line}: the bytes cannot be decoded; {why}.",
            "Set the encoding with --encoding, for example cp1252, gb18030 or shift_jis.",
        )
    name = "latin-1" if gaps else "cp1252"
    label = "Latin-1" if gaps else "Windows-1252"
    return Encoding(name, f"The file is not UTF-8 and was read as {label}; set another encoding with --encoding.")


def undecodable_line(file: Path, encoding: Encoding) -> int | None:
    """The first line that cannot be decoded, or `None` if the encoding does not allow splitting bytes into lines."""
    if codecs.lookup(encoding.name).name.startswith(("utf-16", "utf-32")):
        return None
    for number, line in enumerate(_lines(file), start=1):
        try:
            line.decode(encoding.name)
        except UnicodeDecodeError:
            return number
    return None


def _lines(file: Path) -> Iterator[bytes]:
    with open_bytes(file) as stream:
        yield from stream
