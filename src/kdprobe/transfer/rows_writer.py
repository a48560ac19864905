"""Writes responses to a Parquet file, one after another.

A group of rows ends after some thousand tokens. The checksum of each group goes into the file's footer, and the
footer's own into the manifest of the transfer set, so that a reader can check what it reads without reading the rest.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from kdprobe.teachers.teacher import Response
from kdprobe.transfer.codec import Layout, to_table
from kdprobe.transfer.dictionary import Dictionary

GROUP_TOKENS = 8_192
"""Response tokens after which a group of rows ends. Reading a response reads its group."""
_SAMPLE_TOKENS = 65_536
"""Response tokens, from the first on, that the dictionary is made from."""
GROUPS, DICTIONARY = "kdprobe.groups", "kdprobe.dictionary"
"""Names in the file's metadata: where groups end, with their checksums, and the dictionary."""


def write_rows(
    responses: Iterable[Response],
    vocabulary: int,
    file: Path,
    notes: dict[str, str] | None = None,
    *,
    group_tokens: int = GROUP_TOKENS,
    predict: bool = True,
) -> tuple[int, int]:
    """Writes responses, of which it holds only a few at a time.

    Args:
        responses: The responses.
        vocabulary: Number of token ids.
        file: The file.
        notes: Stored in the file's metadata.
        group_tokens: Response tokens after which a group ends.
        predict: Whether to make a dictionary, which helps from about a hundred answers on.

    Returns:
        The number of responses, and of their tokens.
    """
    remaining = iter(responses)
    first = next(_groups(remaining, _SAMPLE_TOKENS), [])
    layout = Layout.of(first, vocabulary, Dictionary.of(first, vocabulary) if predict else None)
    schema = to_table([], layout).schema
    # The high bytes of the numbers resemble each other more than the low ones, so splitting them compresses better.
    numeric_columns = [f"{field.name}.list.element" for field in schema if pa.types.is_large_list(field.type)]
    count = tokens = 0
    digests = []
    with file.open("wb") as stream:
        sink = _Hashed(stream)
        writer = pq.ParquetWriter(
            sink,
            schema,
            compression="zstd",
            use_dictionary=False,
            write_statistics=False,
            column_encoding=dict.fromkeys(numeric_columns, "BYTE_STREAM_SPLIT"),
        )
        for group in _groups(chain(first, remaining), group_tokens):
            writer.write_table(to_table(group, layout))
            digests.append([stream.tell(), sink.cut()])
            count, tokens = count + len(group), tokens + sum(len(response.token_ids) for response in group)
        known = {GROUPS: json.dumps({"vocabulary": vocabulary, "ends": digests}), **(notes or {})}
        if predict:
            known[DICTIONARY] = base64.b64encode(layout.dictionary.to_bytes()).decode()
        writer.add_key_value_metadata(known)
        writer.close()
    return count, tokens


def _groups(responses: Iterator[Response], tokens: int) -> Iterator[list[Response]]:
    """Consecutive responses with at least this many tokens together, and the rest."""
    group: list[Response] = []
    length = 0
    for response in responses:
        group.append(response)
        length += len(response.token_ids)
        if length >= tokens:
            yield group
            group, length = [], 0
    if group:
        yield group


class _Hashed(io.RawIOBase):
    """A binary stream that computes a checksum of what is written to it."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream, self._hash = stream, hashlib.sha256()

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._stream.tell()

    def write(self, data: Any) -> int:
        self._hash.update(data)
        return self._stream.write(data)

    def flush(self) -> None:
        self._stream.flush()

    def cut(self) -> str:
        """The checksum of everything since the last call."""
        digest, self._hash = self._hash.hexdigest(), hashlib.sha256()
        return digest
