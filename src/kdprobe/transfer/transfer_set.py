"""Transfer sets on disk: the rows in Parquet, and a manifest that is written last."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from kdprobe.errors import KdprobeError
from kdprobe.files import UnreadableError, json_of, refuse_special
from kdprobe.teachers.teacher import Response
from kdprobe.transfer.codec import from_table
from kdprobe.transfer.columns import refuse_malformed
from kdprobe.transfer.responses import Responses
from kdprobe.transfer.rows_file import RowsFile, footer_digest, read_texts, reading
from kdprobe.transfer.rows_writer import write_rows

FORMAT = 4
ROWS = "responses.parquet"
MANIFEST = "transfer.json"
_FIELDS = {"format": int, "vocabulary": int, "tokenizer": str, "checksum": str}
"""The fields of a manifest that are read, and their types."""


@dataclass(frozen=True)
class TransferSet:
    """The teacher's answers under one strategy.

    Attributes:
        responses: In the order of the problems; several answers to one problem are adjacent. Those of a set on disk are
            read when they are used; `responses.texts` are the same without distributions, which are slow to read.
        manifest: Teacher, strategy, digests of tokenizer and chat template, sampling, counts, checksum.
    """

    responses: Responses
    manifest: dict[str, Any]

    def __post_init__(self) -> None:
        """Lets responses be given as a tuple or list."""
        object.__setattr__(self, "responses", Responses.of(self.responses))

    def only(self, kept: Collection[tuple[str, int]]) -> TransferSet:
        """The subset of answers whose problem and sample are in `kept`."""
        texts = enumerate(self.responses.texts)
        positions = [position for position, response in texts if (response.id, response.sample) in kept]
        return replace(self, responses=self.responses.chosen(positions))

    @property
    def vocabulary(self) -> int:
        """Number of token ids of the teacher's tokenizer."""
        return int(self.manifest["vocabulary"])


def write(transfer: TransferSet, folder: Path) -> None:
    """Writes the rows, then the manifest with their checksum and size."""
    rows = folder / ROWS
    count, tokens = write_rows(transfer.responses, transfer.vocabulary, rows)
    manifest = {
        **transfer.manifest,
        "format": FORMAT,
        "responses": count,
        "tokens": tokens,
        "bytes_per_token": rows.stat().st_size / max(tokens, 1),
        "checksum": footer_digest(rows),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, allow_nan=False), encoding="utf-8")


def read(folder: Path) -> TransferSet:
    """Opens a transfer set; its responses are read, and checked, when they are used.

    Raises:
        KdprobeError: There is none, its format differs, or it is damaged: the manifest or the rows are corrupt, or
            they do not belong together. Of a response that is damaged, also raised when it is used.
    """
    with reading(folder):
        manifest = _manifest(folder / MANIFEST)
        if manifest["format"] != FORMAT:
            raise KdprobeError(
                f"The transfer set {folder} has format {manifest['format']}, but this version reads format {FORMAT}.",
                "Capture it again.",
            )
        if footer_digest(folder / ROWS) != manifest["checksum"]:
            raise UnreadableError(f"{ROWS} does not match {MANIFEST}")
        return TransferSet(Responses(RowsFile(folder / ROWS)), manifest)


def read_answers(folder: Path) -> pa.Table:
    """The answers as a table, without the teacher's distributions, which are large.

    Unlike `read`, it leaves to the caller to check that the rows are what was written, and in which format.

    Raises:
        KdprobeError: There are no rows, or they are not a table.
    """
    with reading(folder):
        return read_texts(folder / ROWS)


def first_answers(answers: pa.Table, most: int) -> tuple[Response, ...]:
    """The first answer to each problem.

    Args:
        answers: The result of `read_answers`.
        most: The number of problems to stop at.

    Raises:
        UnreadableError: It is not a table of responses.
    """
    refuse_malformed(answers)
    return from_table(answers.take(pc.indices_nonzero(pc.equal(answers["sample"], 0))[:most]))


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
