"""Transfer sets on disk: the rows in Parquet, and a manifest that is written last."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kdprobe.errors import KdprobeError
from kdprobe.files import UnreadableError, json_of, refuse_special
from kdprobe.models.reference import digest_files
from kdprobe.teachers.teacher import Response
from kdprobe.transfer.codec import from_table, to_table
from kdprobe.transfer.columns import is_distribution, refuse_malformed

FORMAT = 3
ROWS = "responses.parquet"
MANIFEST = "transfer.json"
_FIELDS = {"format": int, "vocabulary": int, "tokenizer": str, "checksum": str}
"""The fields of a manifest that are read, and their types."""


@dataclass(frozen=True)
class TransferSet:
    """The teacher's answers under one strategy.

    Attributes:
        responses: In the order of the problems; several answers to one problem are adjacent.
        manifest: Teacher, strategy, digests of tokenizer and chat template, sampling, counts, checksum.
    """

    responses: tuple[Response, ...]
    manifest: dict[str, Any]

    def only(self, kept: Collection[tuple[str, int]]) -> TransferSet:
        """The subset of answers whose problem and sample are in `kept`."""
        responses = tuple(response for response in self.responses if (response.id, response.sample) in kept)
        return replace(self, responses=responses)

    @property
    def vocabulary(self) -> int:
        """Number of token ids of the teacher's tokenizer."""
        return int(self.manifest["vocabulary"])


def write(transfer: TransferSet, folder: Path) -> None:
    """Writes the rows, then the manifest with their checksum and size."""
    rows = folder / ROWS
    write_rows(transfer.responses, transfer.vocabulary, rows)
    tokens = sum(len(response.token_ids) for response in transfer.responses)
    manifest = {
        **transfer.manifest,
        "format": FORMAT,
        "responses": len(transfer.responses),
        "tokens": tokens,
        "bytes_per_token": rows.stat().st_size / max(tokens, 1),
        "checksum": digest_files([rows]),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, allow_nan=False), encoding="utf-8")


def read(folder: Path) -> TransferSet:
    """Reads a transfer set.

    Raises:
        KdprobeError: There is none, its format differs, or it is damaged: the manifest or the rows are corrupt, or
            they do not belong together.
    """
    with _damage(folder):
        manifest = _whole(folder)
        return TransferSet(read_rows(folder / ROWS)[0], manifest)


def read_answers(folder: Path) -> pa.Table:
    """The answers as a table, without the teacher's distributions, which are large.

    Unlike `read`, it leaves to the caller to check that the rows are what was written, and in which format.

    Raises:
        KdprobeError: There are no rows, or they are not a table.
    """
    with _damage(folder):
        return _read_table(folder / ROWS, distributions=False)[0]


def first_answers(answers: pa.Table, most: int) -> tuple[Response, ...]:
    """The first answer to each problem.

    Args:
        answers: The result of `read_answers`.
        most: The number of problems to stop at.

    Raises:
        UnreadableError: It is not a table of responses.
    """
    refuse_malformed(answers)
    return from_table(answers.filter(pc.equal(answers["sample"], 0)).slice(0, most))


@contextmanager
def _damage(folder: Path) -> Iterator[None]:
    """Says of a transfer set that cannot be read what to do."""
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


def _whole(folder: Path) -> dict[str, Any]:
    """The manifest of a transfer set whose rows are what was written."""
    manifest = _manifest(folder / MANIFEST)
    if manifest["format"] != FORMAT:
        raise KdprobeError(
            f"The transfer set {folder} has format {manifest['format']}, but this version reads format {FORMAT}.",
            "Capture it again.",
        )
    if digest_files([folder / ROWS]) != manifest["checksum"]:
        raise UnreadableError(f"{ROWS} does not match {MANIFEST}")
    return manifest


def _manifest(file: Path) -> dict[str, Any]:
    refuse_special(file)
    try:
        data = json_of(file.read_bytes())
    except ValueError as error:
        raise UnreadableError(f"{file.name} is not JSON") from error
    if not isinstance(data, dict):
        raise UnreadableError(f"{file.name} is not an object")
    if wrong := [name for name, kind in _FIELDS.items() if type(data.get(name)) is not kind]:
        raise UnreadableError(f"{wrong[0]} in {file.name} is missing or has the wrong type")
    return data


def write_rows(responses: Sequence[Response], vocabulary: int, file: Path, notes: dict[str, str] | None = None) -> None:
    """Writes responses, with notes in the file's metadata."""
    table = to_table(responses, vocabulary).replace_schema_metadata(notes)
    # The high bytes of the numbers resemble each other more than the low ones, so splitting them compresses better.
    numeric_columns = [f"{field.name}.list.element" for field in table.schema if pa.types.is_large_list(field.type)]
    pq.write_table(
        table,
        file,
        compression="zstd",
        use_dictionary=False,
        write_statistics=False,
        column_encoding=dict.fromkeys(numeric_columns, "BYTE_STREAM_SPLIT"),
    )


def read_rows(file: Path) -> tuple[tuple[Response, ...], dict[str, str]]:
    """Responses and notes of a file written by `write_rows`.

    Raises:
        UnreadableError: The file is damaged or was not written by it.
        OSError: It cannot be opened.
    """
    table, notes = _read_table(file)
    try:
        return from_table(table), notes
    except UnreadableError as error:
        raise UnreadableError(f"{file.name} {error}") from error


def _read_table(file: Path, *, distributions: bool = True) -> tuple[pa.Table, dict[str, str]]:
    """The table and its notes, with or without the columns of the teacher's distributions."""
    refuse_special(file)
    try:
        with file.open("rb") as stream:
            parquet = pq.ParquetFile(stream)
            names = [name for name in parquet.schema_arrow.names if distributions or not is_distribution(name)]
            table = parquet.read(columns=names)
        notes = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    except (pa.ArrowException, ValueError, MemoryError) as error:
        raise UnreadableError(f"{file.name} is not a Parquet table") from error
    return table, notes
