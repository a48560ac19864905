"""Batches of `kdprobe eval`, with an automatic size and rows that leave when they end, against lm-eval's static ones.

    KDPROBE_GSM8K=FOLDER python benchmarks/evaluation.py [--problems 192] [--sizes 1 8 16 32 48 64] [--json FILE]
    python benchmarks/evaluation.py --problems 16 --max-new-tokens 32 --sizes 1 8    # quick

All variants answer the same problems with the same model, each in its own process.

    static N      lm-eval's Hugging Face model with a batch size of N, as in `lm_eval run --batch_size N`
    N, shrinking  a batch size of N, with rows that leave when they end
    automatic     what `kdprobe eval` does: the size depends on free memory, and rows leave when they end

Only tokens that are part of an answer count; what lm-eval's rows generate after their end is wasted. Seconds cover
answering, not loading the model. Memory is the peak of the process, including the model (Linux); on a GPU, also the
peak on the device. Exits with 1 if the automatic variant reaches less than 0.95 of the best static batch's throughput.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from peak_memory import high_water
from result_file import write_result

AUTOMATIC, SHRINKING, STATIC = "automatic", "shrinking", "static"
LEAST = 0.95
"""Of the throughput of the best static batch."""


def main() -> None:
    """Prints the table, writes it as JSON if requested, and fails if the automatic variant is too slow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--source", default="gsm8k", help="a problem source or a JSONL file")
    parser.add_argument("--option", action="append", default=[], help="an option of the source: NAME.KEY=VALUE")
    parser.add_argument("--problems", type=int, default=192)
    parser.add_argument("--max-new-tokens", type=int, default=256)
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 8, 16, 32, 48, 64], help="sizes of static batches")
    parser.add_argument("--shrinking", type=int, nargs="*", default=[], help="sizes of batches that shrink")
    parser.add_argument("--repeats", type=int, default=1, help="the variants are run in turn; results are medians")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        print(json.dumps(measured(given.way, given)))
        return
    ways = [*(f"{STATIC} {n}" for n in given.sizes), *(f"{SHRINKING} {n}" for n in given.shrinking), AUTOMATIC]
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(given.repeats):
        for way in ways:
            runs[way].append(child(way))
    table = [{"way": way, **median(taken)} for way, taken in runs.items()]
    best = max(row["tokens_per_second"] for row in table if str(row["way"]).startswith(STATIC))
    print(f"{'way':<16}{'batch':>6}{'s':>9}{'tokens':>8}{'tok/s':>8}{'of best static':>16}{'MiB':>8}{'GPU MiB':>9}")
    for row in table:
        row["ratio"] = row["tokens_per_second"] / best
        print(
            f"{row['way']:<16}{row['size']:>6.0f}{row['seconds']:>9.1f}{row['tokens']:>8.0f}"
            f"{row['tokens_per_second']:>8.1f}{row['ratio']:>16.2f}{row['mebibytes']:>8.0f}{row['gpu_mebibytes']:>9.0f}"
        )
    if given.json:
        asked = {name: value for name, value in vars(given).items() if name not in {"json", "way"}}
        write_result(given.json, {**asked, "table": table})
    if table[-1]["ratio"] < LEAST:
        sys.exit(f"The automatic variant has less than {LEAST} of the throughput of the best static batch.")


def child(way: str) -> dict[str, float]:
    """One variant in a separate process."""
    print(f"{way} …", file=sys.stderr)
    command = [sys.executable, __file__, *sys.argv[1:], "--way", way]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    result: dict[str, float] = json.loads(told.splitlines()[-1])
    return result


def median(runs: list[dict[str, float]]) -> dict[str, Any]:
    """The median of each measurement."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def measured(way: str, given: argparse.Namespace) -> dict[str, float]:
    """Answers the problems with one variant."""
    import torch

    from kdprobe.cli.inputs import is_finite, open_problems, read_settings
    from kdprobe.evaluation import recording
    from kdprobe.evaluation.ledger import Ledger
    from kdprobe.evaluation.lm_eval_run import evaluate
    from kdprobe.evaluation.protocol import Protocol
    from kdprobe.experiment.evaluations.models import eval_request
    from kdprobe.host.registry import Host
    from kdprobe.models.load import load
    from kdprobe.models.reference import resolve

    kind, _, number = way.partition(" ")
    if kind == STATIC:
        recording.can_shrink = lambda _: False
    size = int(number) if number else "auto"
    protocol = Protocol(max_new_tokens=given.max_new_tokens, dtype=given.dtype, batch_size=size)
    host = Host()
    source = open_problems(host, given.source, read_settings(tuple(given.option)))
    request = eval_request(source, given.source, given.problems, protocol, finite=is_finite(host, given.source))
    student = load(resolve(given.model), dtype=given.dtype)
    ledger = Ledger(None)
    started = time.perf_counter()
    records = evaluate(student, request.problems, protocol, label=way, ledger=ledger)
    seconds = time.perf_counter() - started
    tokens = sum(record["tokens"] for record in records)
    gpu = torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else 0
    return {
        "size": ledger[recording.PLAN]["size"],
        "seconds": seconds,
        "tokens": tokens,
        "tokens_per_second": tokens / seconds,
        "right": sum(record["correct"] for record in records),
        "cut_off": sum(record["cut_off"] for record in records),
        "mebibytes": high_water(),
        "gpu_mebibytes": gpu,
    }


if __name__ == "__main__":
    main()
