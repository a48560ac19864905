"""The transfer set on disk: the rows in Parquet, and a manifest written last."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kdprobe.errors import KdprobeError
from kdprobe.models.reference import digest_files
from kdprobe.teachers.teacher import Response
from kdprobe.transfer.codec import from_table, to_table

FORMAT = 3
ROWS = "responses.parquet"
MANIFEST = "transfer.json"


@dataclass(frozen=True)
class TransferSet:
    """What the teacher left behind for one strategy.

    Attributes:
        responses: In the problems' order; several to one problem follow each other.
        manifest: Teacher, strategy, digests of tokenizer and chat template, sampling, counts, checksum.
    """

    responses: tuple[Response, ...]
    manifest: dict[str, Any]

    def only(self, kept: Collection[tuple[str, int]]) -> TransferSet:
        """The same with some of the answers: those whose problem and sample are in `kept`."""
        responses = tuple(response for response in self.responses if (response.id, response.sample) in kept)
        return replace(self, responses=responses)

    @property
    def vocabulary(self) -> int:
        """How many token ids the teacher's tokenizer has."""
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
        KdprobeError: It is not whole: the manifest is missing, or the rows are not those it was written for.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except OSError as error:
        raise KdprobeError(f"{folder} holds no transfer set.", "Run the experiment again.") from error
    if manifest["format"] != FORMAT:
        raise KdprobeError(
            f"The transfer set {folder} has format {manifest['format']}, this version reads {FORMAT}.",
            "Capture it again.",
        )
    if digest_files([folder / ROWS]) != manifest["checksum"]:
        raise KdprobeError(f"The transfer set {folder} is damaged.", "Run the experiment again, or capture it again.")
    return TransferSet(read_rows(folder / ROWS)[0], manifest)


def write_rows(responses: Sequence[Response], vocabulary: int, file: Path, notes: dict[str, str] | None = None) -> None:
    """Writes responses, with notes in the file's own metadata."""
    table = to_table(responses, vocabulary).replace_schema_metadata(notes)
    # All but the strings are numbers whose high bytes resemble each other more than their low ones.
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
    """Responses and notes of a file that `write_rows` wrote."""
    table = pq.read_table(file)
    notes = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    return from_table(table), notes
