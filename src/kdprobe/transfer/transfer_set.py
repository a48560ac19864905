"""The transfer set and its codec: Parquet for the rows, a manifest written last.

Per response token: the id, its log-probability, the top k ids (in the smallest width that holds the vocabulary) and
log-probabilities (fp16), and the tail's exact log-mass at every planned temperature (float32).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kdprobe.errors import KdprobeError
from kdprobe.models.reference import digest_files
from kdprobe.teachers.teacher import Response, SparseRows

FORMAT = 1
ROWS = "responses.parquet"
MANIFEST = "transfer.json"
_TAIL = "tail_logmass_"


@dataclass(frozen=True)
class TransferSet:
    """What the teacher left behind for one strategy.

    Attributes:
        responses: One per problem, in the problems' order.
        manifest: Teacher, strategy, digests of tokenizer and chat template, sampling, counts, checksum.
    """

    responses: tuple[Response, ...]
    manifest: dict[str, Any]

    @property
    def vocabulary(self) -> int:
        """How many token ids the teacher's tokenizer has."""
        return int(self.manifest["vocabulary"])


def write(transfer: TransferSet, folder: Path) -> None:
    """Writes the rows, then the manifest with their checksum and size."""
    rows = folder / ROWS
    pq.write_table(_table(transfer), rows, compression="zstd", use_dictionary=False, write_statistics=False)
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
        raise KdprobeError(f"The transfer set {folder} is damaged.", "Delete the folder and run again.")
    table = pq.read_table(folder / ROWS)
    temperatures = tuple(float(name.removeprefix(_TAIL)) for name in table.column_names if name.startswith(_TAIL))
    responses = tuple(_response(table.slice(row, 1), temperatures) for row in range(table.num_rows))
    return TransferSet(responses, manifest)


def _table(transfer: TransferSet) -> pa.Table:
    width = np.uint16 if transfer.vocabulary <= np.iinfo(np.uint16).max + 1 else np.uint32
    responses = transfer.responses
    columns: dict[str, pa.Array] = {
        "id": pa.array([response.id for response in responses]),
        "text": pa.array([response.text for response in responses]),
        "finished": pa.array([response.finished for response in responses]),
        "token_ids": _lists([response.token_ids.astype(width) for response in responses]),
    }
    rows = [response.rows for response in responses if response.rows is not None]
    if rows:
        if len(rows) < len(responses):
            raise KdprobeError(
                "Some responses have log-probabilities and some have none.",
                "This is a fault of the teacher's plugin.",
            )
        columns["top_ids"] = _lists([row.ids.astype(width).ravel() for row in rows])
        columns["top_logprobs"] = _lists([row.logprobs.astype(np.float16).ravel() for row in rows])
        columns["token_logprobs"] = _lists([row.token_logprobs.astype(np.float32) for row in rows])
        for temperature in rows[0].tail_logmass:
            tails = [row.tail_logmass[temperature].astype(np.float32) for row in rows]
            columns[f"{_TAIL}{temperature!r}"] = _lists(tails)
    return pa.table(columns)


def _lists(arrays: list[np.ndarray[Any, Any]]) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum([len(array) for array in arrays])])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(np.concatenate(arrays)))


def _response(row: pa.Table, temperatures: tuple[float, ...]) -> Response:
    def values(name: str) -> np.ndarray[Any, Any]:
        array: np.ndarray[Any, Any] = row[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return array

    token_ids = values("token_ids").astype(np.int64)
    rows = None
    if temperatures:
        tokens = len(token_ids)
        rows = SparseRows(
            ids=values("top_ids").astype(np.int32).reshape(tokens, -1),
            logprobs=values("top_logprobs").astype(np.float32).reshape(tokens, -1),
            tail_logmass={t: values(f"{_TAIL}{t!r}") for t in temperatures},
            token_logprobs=values("token_logprobs"),
        )
    return Response(row["id"][0].as_py(), row["text"][0].as_py(), token_ids, row["finished"][0].as_py(), rows)
