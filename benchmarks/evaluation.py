"""Engines and batches of `kdprobe eval`, against lm-eval's own Hugging Face model.

    KDPROBE_GSM8K=FOLDER python benchmarks/evaluation.py [--problems 192] [--sizes 1 8 16 32 48 64] [--json FILE]
    python benchmarks/evaluation.py --problems 16 --max-new-tokens 32 --sizes 1 8    # quick
    .venv-vllm/bin/python benchmarks/evaluation.py --sizes 64 --engines vllm         # after `make vllm`

All variants answer the same problems with the same model, each in its own process.

    HFLM N        lm-eval's own Hugging Face model with a batch size of N, as in `lm_eval run --batch_size N`
    N, shrinking  the built-in engine with a batch size of N, with rows that leave when they end
    automatic     what `kdprobe eval` does: the size depends on free memory, and rows leave when they end
    ENGINE        another engine, as in `kdprobe eval --engine ENGINE`

Only tokens that are part of an answer count; what lm-eval's rows generate after their end is wasted. Seconds cover
answering, not loading the model. Memory is the peak of the process, including the model, and of the processes that an
engine starts (Linux); on a GPU, also the peak on the device of this process. For engines, `identical` is the share of
answers that are token for token those of the automatic variant. Exits with 1 if the automatic variant reaches less
than 0.95 of the throughput of the best batch of HFLM.
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

AUTOMATIC, SHRINKING, STATIC = "automatic", "shrinking", "HFLM"
LEAST = 0.95
"""Of the throughput of the best batch of HFLM."""


def main() -> None:
    """Prints the table, writes it as JSON if requested, and fails if the automatic variant is too slow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--source", default="gsm8k", help="a problem source or a JSONL file")
    parser.add_argument("--option", action="append", default=[], help="an option of the source: NAME.KEY=VALUE")
    parser.add_argument("--problems", type=int, default=192)
    parser.add_argument("--max-new-tokens", type=int, default=256)
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 8, 16, 32, 48, 64], help="batch sizes of HFLM")
    parser.add_argument("--shrinking", type=int, nargs="*", default=[], help="sizes of batches that shrink")
    parser.add_argument("--engines", nargs="*", default=[], help="further engines, which must be installed")
    parser.add_argument("--repeats", type=int, default=1, help="the variants are run in turn; results are medians")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        print(json.dumps(measured(given.way, given)))
        return
    ways = [
        *(f"{STATIC} {n}" for n in given.sizes),
        *(f"{SHRINKING} {n}" for n in given.shrinking),
        AUTOMATIC,
        *given.engines,
    ]
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for _ in range(given.repeats):
        for way in ways:
            runs[way].append(child(way))
    first = runs[AUTOMATIC][0]["answers"]
    table = []
    for way, taken in runs.items():
        answers = [run.pop("answers") for run in taken]
        same = statistics.mean(mine == theirs for mine, theirs in zip(answers[0], first, strict=True))
        table.append({"way": way, "identical": same, **median(taken)})
    automatic = next(row for row in table if row["way"] == AUTOMATIC)
    best = max(row["tokens_per_second"] for row in table if str(row["way"]).startswith(STATIC))
    columns = f"{'way':<16}{'batch':>6}{'s':>9}{'tokens':>8}{'tok/s':>8}{'of best HFLM':>14}"
    print(f"{columns}{'MiB':>8}{'GPU MiB':>9}{'identical':>11}")
    for row in table:
        row["ratio"] = row["tokens_per_second"] / best
        print(
            f"{row['way']:<16}{row['size']:>6.0f}{row['seconds']:>9.1f}{row['tokens']:>8.0f}"
            f"{row['tokens_per_second']:>8.1f}{row['ratio']:>14.2f}{row['mebibytes']:>8.0f}{row['gpu_mebibytes']:>9.0f}"
            f"{row['identical']:>11.2f}"
        )
    if given.json:
        asked = {name: value for name, value in vars(given).items() if name not in {"json", "way"}}
        write_result(given.json, {**asked, "table": table})
    if automatic["ratio"] < LEAST:
        sys.exit(f"The automatic variant has less than {LEAST} of the throughput of the best batch of HFLM.")


def child(way: str) -> dict[str, Any]:
    """One variant in a separate process."""
    print(f"{way} …", file=sys.stderr)
    command = [sys.executable, __file__, *sys.argv[1:], "--way", way]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    result: dict[str, Any] = json.loads(told.splitlines()[-1])
    return result


def median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of each measurement."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def measured(way: str, given: argparse.Namespace) -> dict[str, Any]:
    """Answers the problems with one variant."""
    import torch

    from kdprobe.api.given.engines import given_engine
    from kdprobe.api.given.inputs import problem_source
    from kdprobe.cli.inputs import read_options
    from kdprobe.evaluation import lm_eval_run
    from kdprobe.evaluation.ledger import Ledger
    from kdprobe.evaluation.protocol import Protocol
    from kdprobe.evaluation.recording import PLAN
    from kdprobe.experiment.evaluations.models import eval_request
    from kdprobe.host.registry import Host
    from kdprobe.models.conversation import PLAIN_CONVERSATION
    from kdprobe.models.reference import resolve
    from kdprobe.models.shared_bases import SharedBases
    from kdprobe.students.student import Student

    kind, _, number = way.partition(" ")
    protocol = Protocol(
        max_new_tokens=given.max_new_tokens, dtype=given.dtype, batch_size=int(number) if number else "auto"
    )
    host, options = Host(), read_options(given.option)
    source = problem_source(host, given.source, options)
    request = eval_request(
        source.source, source.name, given.problems, protocol, PLAIN_CONVERSATION, finite=source.finite
    )
    engine = given_engine(host, kind if kind in given.engines else "transformers", options)
    student = engine.load(Student("it", resolve(given.model)), dtype=given.dtype, bases=SharedBases())
    if kind == STATIC:
        lm_eval_run.RecordingModel = without_engine(lm_eval_run.RecordingModel)  # type: ignore[misc]
    ledger = Ledger(None)
    started = time.perf_counter()
    records = lm_eval_run.evaluate(student, request.problems, protocol, label=way, ledger=ledger)
    seconds = time.perf_counter() - started
    tokens = sum(record["tokens"] for record in records)
    memory = high_water() + sum(map(peak_of_process, children()))
    engine.close()
    return {
        "size": ledger[PLAN]["size"],
        "seconds": seconds,
        "tokens": tokens,
        "tokens_per_second": tokens / seconds,
        "right": sum(record["correct"] for record in records),
        "cut_off": sum(record["cut_off"] for record in records),
        "mebibytes": memory,
        "gpu_mebibytes": torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else 0,
        "answers": [f"{record['thinking'] or ''}{record['response']}" for record in records],
    }


def without_engine(recording: Any) -> Any:
    """The recording model, except that lm-eval's own code writes the tokens."""
    from lm_eval.models.huggingface import HFLM

    from kdprobe.evaluation.prompt_check import prompt_digest

    class Recording(recording):  # type: ignore[misc]
        def _model_generate(self, context: Any, max_length: int, stop: list[str], **kwargs: Any) -> Any:
            masks = kwargs["attention_mask"].bool()
            sequences = HFLM._model_generate(self, context, max_length, stop, **kwargs)  # noqa: SLF001
            for row, prompt, mask in zip(sequences, context, masks, strict=True):
                written = row[len(prompt) :].tolist()
                end = next((at + 1 for at, id_ in enumerate(written) if id_ in self.student.end_ids), len(written))
                finished = end < len(written) or written[-1] in self.student.end_ids
                entry = {"tokens": end, "finished": finished, "prompt": prompt_digest(prompt[mask].tolist())}
                self.decoded.append(entry)
            return sequences

    return Recording


def children() -> list[int]:
    """The processes that this one has started, and those that they have."""
    import psutil

    return [process.pid for process in psutil.Process().children(recursive=True)]


def peak_of_process(process: int) -> float:
    """A process's peak resident size in MiB."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    return next((int(line.split()[1]) for line in status if line.startswith("VmHWM")), 0) / 2**10


if __name__ == "__main__":
    main()
