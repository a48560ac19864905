"""Reads a Parquet file of responses, a group of rows at a time.

A group is checked against its SHA-256 when it is first read, so that all that is read is checked, and nothing else has
to be read.
"""

from __future__ import annotations

import base64
import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kdprobe.errors import KdprobeError
from kdprobe.files import UnreadableError, json_of, refuse_special
from kdprobe.teachers.teacher import Response
from kdprobe.transfer.codec import response_in, tails_of
from kdprobe.transfer.columns import is_distribution, refuse_malformed
from kdprobe.transfer.dictionary import Dictionary
from kdprobe.transfer.rows_writer import DICTIONARY, GROUPS

_GROUPS_KEPT = 8
"""Groups of rows that stay in memory."""
_END = 8
"""Bytes of the footer's length and the magic number, which end a Parquet file."""


def footer_digest(file: Path) -> str:
    """SHA-256 of a Parquet file's footer, which holds the checksums of its groups.

    Raises:
        UnreadableError: It is not a Parquet file.
        OSError: It cannot be read.
    """
    refuse_special(file)
    size = file.stat().st_size
    with file.open("rb") as stream:
        stream.seek(max(size - _END, 0))
        length = int.from_bytes(stream.read(4), "little")
        if length + _END > size:
            raise UnreadableError(f"{file.name} is not a Parquet table")
        stream.seek(size - _END - length)
        return hashlib.sha256(stream.read()).hexdigest()


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Says of a transfer set that cannot be read what to do.

    Raises:
        KdprobeError: It cannot be read.
    """
    try:
        yield
    except OSError as error:
        raise KdprobeError(
            f"{folder} is not a transfer set: {error.strerror or 'it cannot be read'}.", "Run the experiment again."
        ) from error
    except UnreadableError as error:
        raise KdprobeError(
            f"The transfer set {folder} is damaged: {error}.", "Run the experiment again, or capture the set again."
        ) from error


@contextmanager
def _valid(file: Path) -> Iterator[None]:
    """Turns the errors of the Parquet library into one with the file's name."""
    try:
        yield
    except UnreadableError as error:
        raise UnreadableError(f"{file.name} {error}") from error
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        # The library's own errors have no number, unlike the system's.
        if getattr(error, "errno", None) is not None:
            raise
        raise UnreadableError(f"{file.name} is not a Parquet table") from error


def read_texts(file: Path) -> pa.Table:
    """All responses of a file, of this or an earlier format, as a table without distributions; nothing is checked.

    Raises:
        UnreadableError: It is not a Parquet file.
        OSError: It cannot be opened.
    """
    refuse_special(file)
    with _valid(file), pq.ParquetFile(file, pre_buffer=False) as parquet:
        fields = [field for field in parquet.schema_arrow if not is_distribution(field.name)]
        names = [field.name for field in fields]
        # One after another: reading all at once takes several times their size.
        groups = [parquet.read_row_group(group, names, use_threads=False) for group in range(parquet.num_row_groups)]
        return pa.concat_tables([pa.schema(fields).empty_table(), *groups])


class RowsFile:
    """The responses of a file written by `write_rows`.

    Args:
        file: The file.

    Raises:
        UnreadableError: The file is damaged or was not written by it.
        OSError: It cannot be opened.
    """

    def __init__(self, file: Path) -> None:
        refuse_special(file)
        self.file = file
        with _valid(file):
            # Not `metadata.schema`: the two refer to each other, and would stay in memory until cycles are collected.
            with pq.ParquetFile(file) as parquet:
                self._metadata, schema = parquet.metadata, parquet.schema_arrow
            self._noted = {name.decode(): value.decode() for name, value in (self._metadata.metadata or {}).items()}
            self._columns: list[str] = schema.names
            self.temperatures = tails_of(schema)
            self._vocabulary, self._ends, self._digests = self._checksums()
        sizes = [self._metadata.row_group(group).num_rows for group in range(self._metadata.num_row_groups)]
        self._starts = np.cumsum([0, *sizes])
        self._checked: set[int] = set()
        self._tables: OrderedDict[tuple[int, bool], pa.Table] = OrderedDict()

    @property
    def notes(self) -> dict[str, str]:
        """The notes it was written with."""
        return {name: value for name, value in self._noted.items() if name not in {GROUPS, DICTIONARY}}

    def __len__(self) -> int:
        """As in `Source`."""
        return int(self._starts[-1])

    def response(self, index: int, *, distributions: bool) -> Response:
        """As in `Source`.

        Raises:
            KdprobeError: The file is damaged.
        """
        group = int(np.searchsorted(self._starts, index, side="right")) - 1
        distributions = distributions and bool(self.temperatures)
        with reading(self.file.parent), _valid(self.file):
            table = self._table(group, distributions=distributions)
            dictionary = self._dictionary if distributions else None
            return response_in(table, index - int(self._starts[group]), dictionary)

    def has_distributions(self, index: int) -> bool:  # noqa: ARG002 - all or none
        """As in `Source`."""
        return bool(self.temperatures)

    def _table(self, group: int, *, distributions: bool) -> pa.Table:
        """A group of rows; the last few stay in memory."""
        key = (group, distributions)
        if key not in self._tables:
            with self.file.open("rb") as stream:
                self._check(group, stream)
            # By its name: reads through a Python stream wait for each other's threads.
            with pq.ParquetFile(self.file, metadata=self._metadata, pre_buffer=False) as parquet:
                names = [name for name in self._columns if distributions or not is_distribution(name)]
                table = parquet.read_row_group(group, columns=names, use_threads=False)
            refuse_malformed(table)
            self._tables[key] = table
            if len(self._tables) > _GROUPS_KEPT:
                self._tables.popitem(last=False)
        self._tables.move_to_end(key)
        return self._tables[key]

    def _check(self, group: int, stream: BinaryIO) -> None:
        if group in self._checked:
            return
        start = self._ends[group - 1] if group else 0
        stream.seek(start)
        if hashlib.sha256(stream.read(self._ends[group] - start)).hexdigest() != self._digests[group]:
            raise UnreadableError("was changed after it was written")
        self._checked.add(group)

    def _checksums(self) -> tuple[int, list[int], list[str]]:
        known = json_of(self._noted.get(GROUPS, "null"))
        try:
            vocabulary = known["vocabulary"]
            ends, digests = [int(end) for end, _ in known["ends"]], [str(digest) for _, digest in known["ends"]]
        except (TypeError, KeyError) as error:
            raise UnreadableError("has no checksums") from error
        if type(vocabulary) is not int or len(ends) != self._metadata.num_row_groups:
            raise UnreadableError("has no checksums")
        return vocabulary, ends, digests

    @cached_property
    def _dictionary(self) -> Dictionary:
        stored = self._noted.get(DICTIONARY)
        if stored is None:
            return Dictionary.empty(self._vocabulary)
        return Dictionary.from_bytes(base64.b64decode(stored), self._vocabulary)
