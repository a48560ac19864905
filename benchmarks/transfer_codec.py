"""What a transfer set costs on disk, and what rounding its log-probabilities costs in nats.

    python benchmarks/transfer_codec.py [--problems 32] [--tokens 80] [--json FILE]

The built-in small model answers word problems with k = 64. Its rows are written in several ways, including the codec's
own, and read back. KL is from the captured distribution over the k + 1 cells to the one read back, with the exact tail,
converted to a temperature as the trainer does it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def main() -> None:
    """Prints the table, and writes it as JSON if requested."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=80)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows, vocabulary, whole = captured(arguments.problems, arguments.tokens)
    ids, logprobs, tail = (np.concatenate([getattr(row, name) for row in rows]) for name in ("ids", "logprobs", "tail"))
    tokens = len(ids)
    dense = 2 * vocabulary
    print(
        f"{tokens} response tokens, V = {vocabulary}, k = {ids.shape[1]}; a dense row in half precision: {dense} bytes"
    )
    print(f"the whole transfer set, all columns and overhead: {whole:.0f} bytes/token, 1/{dense / whole:.0f} of it\n")
    print(f"{'log-probabilities as':<26}{'bytes/token':>12}{'ids too':>10}{'mean KL':>11}{'largest KL':>12}")
    ids_alone = size(ids.astype(np.uint16).ravel()) / tokens
    table = []
    for name, encode in WAYS.items():
        stored, back = encode(logprobs)
        cost = kl(logprobs, back, tail)
        each = size(stored.ravel()) / tokens
        table.append(
            {"as": name, "bytes": each, "with_ids": each + ids_alone, "kl": cost.mean(), "largest": cost.max()}
        )
        print(f"{name:<26}{each:>12.1f}{each + ids_alone:>10.1f}{cost.mean():>11.1e}{cost.max():>12.1e}")
    if arguments.json:
        data = {"tokens": tokens, "vocabulary": vocabulary, "bytes_per_token": whole, "ways": table}
        arguments.json.write_text(json.dumps(data, indent=2, default=float), encoding="utf-8")


def captured(problems: int, tokens: int) -> tuple[list[Any], int, float]:
    """Rows in float32, the vocabulary, and bytes per token of the whole transfer set."""
    from tempfile import TemporaryDirectory
    from types import SimpleNamespace

    from kdprobe.host.registry import Host
    from kdprobe.models.load import load_tokenizer
    from kdprobe.strategies.prompt_pair import PromptPair, bare
    from kdprobe.teachers import Sampling
    from kdprobe.teachers.transformers_teacher import TransformersOptions, TransformersTeacher
    from kdprobe.transfer.capture import Setting, capture
    from kdprobe.transfer.transfer_set import read, write

    host = Host()
    options = host.options("problem-sources", "gsm-symbolic", {"templates": [6, 26, 31, 43]})
    source = host.build("problem-sources", "gsm-symbolic", options)
    drawn = [problem for problem, _ in zip(source("transfer"), range(problems), strict=False)]
    teacher = TransformersTeacher(TransformersOptions(model="smollm2-135m-instruct", dtype="float32"))
    vocabulary = len(load_tokenizer(teacher.record))
    setting = Setting(Sampling(tokens), {"strategy": "none", "vocabulary": vocabulary})
    made = capture(teacher, drawn, {p.id: PromptPair(bare(p), bare(p)) for p in drawn}, setting)
    with TemporaryDirectory() as folder:
        write(made, Path(folder))
        bytes_per_token = read(Path(folder)).manifest["bytes_per_token"]
    rows = [response.rows for response in made.responses]
    kept = [SimpleNamespace(ids=row.ids, logprobs=row.logprobs, tail=row.tail_logmass[1.0]) for row in rows if row]
    return kept, vocabulary, bytes_per_token


def steps(per_nat: int) -> Callable[[Any], tuple[Any, Any]]:
    """The codec's method at a different resolution."""

    def encode(logprobs: Any) -> tuple[Any, Any]:
        below = np.rint(-logprobs.astype(np.float64) * per_nat).astype(np.int64)
        return np.diff(below, axis=-1, prepend=0).astype(np.uint16), -below / per_nat

    return encode


def half(logprobs: Any) -> tuple[Any, Any]:
    """IEEE half precision."""
    stored = logprobs.astype(np.float16)
    return stored.view(np.uint16), stored.astype(np.float64)


WAYS = {
    "float32": lambda logprobs: (logprobs.view(np.uint32), logprobs.astype(np.float64)),
    "half precision": half,
    "steps of 1/1024 nat": steps(1024),
    "steps of 1/256 nat (ours)": steps(256),
    "steps of 1/64 nat": steps(64),
    "steps of 1/16 nat": steps(16),
    "steps of 1/4 nat": steps(4),
}


def size(values: Any) -> int:
    """Size in bytes of a Parquet file with these numbers, as written by the codec."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.table({"x": pa.array(values)}),
        sink,
        compression="zstd",
        use_dictionary=False,
        write_statistics=False,
        column_encoding={"x": "BYTE_STREAM_SPLIT"},
    )
    return int(sink.getvalue().size)


def kl(logprobs: Any, back: Any, tail: Any) -> Any:
    """KL between captured cells and those read back, `[tokens]`; both renormalised with the exact tail."""

    def renormalised(values: Any) -> Any:
        kept = np.log(-np.expm1(tail.astype(np.float64)))
        return values - (np.logaddexp.reduce(values, axis=-1) - kept)[:, None]

    p, q = renormalised(logprobs.astype(np.float64)), renormalised(back)
    return (np.exp(p) * (p - q)).sum(axis=-1)


if __name__ == "__main__":
    main()
