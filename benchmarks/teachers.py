"""The teacher `vllm` against the teacher `transformers`: the same answers, the same distributions, and how fast.

    KDPROBE_GSM8K=FOLDER .venv-vllm/bin/python benchmarks/teachers.py [--problems 64] [--dtype float32] [--json FILE]

After `make vllm`. Both answer the same problems greedily, each in its own process, and then score the answers of
`transformers`, so that their distributions at identical token ids can be compared:

    identical  share of answers that are token for token the same
    log p      mean absolute difference of the tokens' log-probabilities, in nats
    top k      share of the k ids at each position that are the same, in the same order
    tail at T  mean and largest absolute difference of the log of the mass outside the top k, in nats

Seconds do not include loading. Memory is the peak of the process, with those that vLLM starts (Linux), and includes the
space that vLLM reserves for keys and values. With --least, exits with 1 if fewer answers are identical, or if
log-probabilities differ by more than 0.001 nats on average.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from evaluation import children, peak_of_process
from peak_memory import high_water
from result_file import write_result

TEMPERATURES = (1.0, 2.0)
ALLOWED = 1e-3


def main() -> None:
    """Prints what both took, and how far they are apart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--source", default="gsm8k", help="problem source")
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32, help="of transformers")
    parser.add_argument("--k", type=int, default=64)
    parser.add_argument("--least", type=float, help="share of answers that must be identical")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--way", choices=["transformers", "vllm"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        print(json.dumps(measured(given.way, given.folder, given)))
        return
    with tempfile.TemporaryDirectory() as folder:
        table = {way: child(way, folder) for way in ("transformers", "vllm")}
        apart = difference(Path(folder))
    print(f"{'teacher':<14}{'tokens':>8}{'s':>8}{'tok/s':>8}{'scoring s':>11}{'tok/s':>8}{'load s':>8}{'MiB':>8}")
    for way, row in table.items():
        answering, scoring = row["tokens"] / row["seconds"], row["scored"] / row["scoring"]
        print(
            f"{way:<14}{row['tokens']:>8}{row['seconds']:>8.1f}{answering:>8.1f}"
            f"{row['scoring']:>11.1f}{scoring:>8.1f}{row['loading']:>8.1f}{row['mebibytes']:>8.0f}"
        )
    print(f"identical {apart['identical']:.1%}, log p {apart['log_p']:.2g}, top k {apart['top_k']:.2%}")
    for temperature, (mean, largest) in apart["tails"].items():
        print(f"tail at {temperature}: {mean:.2g} on average, {largest:.2g} at most")
    if given.json:
        asked = {name: getattr(given, name) for name in ("model", "dtype", "source", "problems", "max_new_tokens", "k")}
        write_result(given.json, {**asked, "batch": given.batch, "table": table, "difference": apart})
    if given.least and (apart["identical"] < given.least or apart["log_p"] > ALLOWED):
        sys.exit(
            f"Fewer than {given.least:.0%} of answers are identical, or log p differs by more than {ALLOWED} nats."
        )


def child(way: str, folder: str) -> dict[str, Any]:
    """One teacher in a separate process."""
    print(f"{way} …", file=sys.stderr)
    command = [sys.executable, __file__, *sys.argv[1:], "--way", way, "--folder", folder]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    result: dict[str, Any] = json.loads(told.splitlines()[-1])
    return result


def measured(way: str, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Answers the problems with one teacher, and scores the answers of `transformers`."""
    from kdprobe.api.given.inputs import problem_source
    from kdprobe.host.registry import Host
    from kdprobe.models.conversation import prompt_ids
    from kdprobe.models.load import load_tokenizer
    from kdprobe.strategies.prompt_pair import bare
    from kdprobe.teachers.teacher import Passage, Request, Sampling

    host = Host()
    source = problem_source(host, given.source, {})
    problems = [problem for problem, _ in zip(source.source("test"), range(given.problems), strict=False)]
    own = {"batch_size": given.batch} if way == "transformers" else {"max_model_len": 2048, "answers_at_once": 1024}
    teacher = host.create("teachers", way, {"model": given.model, "dtype": given.dtype, **own})
    requests = [Request(problem.id, bare(problem)) for problem in problems]
    sampling = Sampling(given.max_new_tokens, top_logprobs=given.k, temperatures=TEMPERATURES)
    started = time.perf_counter()
    answering = teacher.respond(requests, sampling)
    loaded = time.perf_counter()
    answers = {answer.id: answer.token_ids.tolist() for answer in answering}
    answered = time.perf_counter()
    file = folder / f"{way}.json"
    file.write_text(json.dumps(answers), encoding="utf-8")
    texts = json.loads((folder / "transformers.json").read_text(encoding="utf-8"))
    tokenizer = load_tokenizer(teacher.record)
    passages = [Passage(each.id, prompt_ids(tokenizer, each.messages), texts[each.id]) for each in requests]
    begun = time.perf_counter()
    rows = dict(teacher.score(passages, sampling))
    scored = time.perf_counter()
    ordered = [rows[each.id] for each in requests]
    np.savez(
        folder / f"{way}.npz",
        ids=np.concatenate([row.ids for row in ordered]),
        log_p=np.concatenate([row.token_logprobs for row in ordered]),
        **{f"tail{t:g}": np.concatenate([row.tail_logmass[t] for row in ordered]) for t in TEMPERATURES},
    )
    memory = high_water() + sum(map(peak_of_process, children()))
    if hasattr(teacher, "close"):
        teacher.close()
    return {
        "tokens": sum(map(len, answers.values())),
        "seconds": answered - loaded,
        "scored": sum(map(len, texts.values())),
        "scoring": scored - begun,
        "loading": loaded - started,
        "mebibytes": memory,
    }


def difference(folder: Path) -> dict[str, Any]:
    """How far the two are apart."""
    theirs, ours = (
        json.loads((folder / f"{way}.json").read_text(encoding="utf-8")) for way in ("transformers", "vllm")
    )
    expected, found = (np.load(folder / f"{way}.npz") for way in ("transformers", "vllm"))
    apart = {name: np.abs(expected[name] - found[name]) for name in expected.files if name != "ids"}
    return {
        "identical": float(np.mean([ours[id_] == tokens for id_, tokens in theirs.items()])),
        "log_p": float(apart["log_p"].mean()),
        "top_k": float((expected["ids"] == found["ids"]).mean()),
        "tails": {f"{t:g}": [float(f(apart[f"tail{t:g}"])) for f in (np.mean, np.max)] for t in TEMPERATURES},
    }


if __name__ == "__main__":
    main()
