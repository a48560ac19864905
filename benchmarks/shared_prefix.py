"""Reading the common beginning of a batch's sequences once, against reading it in every row.

    python benchmarks/shared_prefix.py [--rows 40] [--prefix 24] [--own 43] [--written 44] [--rounds 5] [--json FILE]

SmolLM2-135M-Instruct in float32 reads random tokens: a prefix that all rows share, tokens of each row's own, and as
many tokens as an answer has. The lengths are by default those of the embedded experiment's test problems.

    prefill    all keys and values of the prompts, as before decoding
    scoring    log-probabilities of the answers

The two ways alternate; seconds are medians. Memory is the peak of a separate process above what it held before (Linux).
The floor is the share of tokens that are left if the prefix is read for one row only.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peak_memory import peak_in_child, peak_of
from result_file import write_result

WORK = ("prefill", "scoring")
WAYS = ("once", "in every row")


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, tokens in (("rows", 40), ("prefix", 24), ("own", 43), ("written", 44), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=tokens)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.memory_of:
        work, way = given.memory_of
        print(peak_of(prepare(given)[work, way]))
        return
    tasks = prepare(given)
    taken: dict[tuple[str, str], list[float]] = {each: [] for each in tasks}
    for _ in range(given.rounds + 1):
        for each, run in tasks.items():
            start = time.perf_counter()
            run()
            taken[each].append(time.perf_counter() - start)
    # The first round warms up.
    seconds = {each: statistics.median(found[1:]) for each, found in taken.items()}
    same = [f"--{name}={getattr(given, name)}" for name in ("rows", "prefix", "own", "written")]
    rows = []
    print(f"{'':<10}{'s once':>8}{'s':>8}{'ratio':>8}{'floor':>8}{'MiB once':>10}{'MiB':>8}")
    for work in WORK:
        once, every = (seconds[work, way] for way in WAYS)
        memory = [peak_in_child(__file__, *same, "--memory-of", work, way) for way in WAYS]
        row = {"work": work, "seconds": [once, every], "mebibytes": memory, "floor": floor(work, given)}
        print(
            f"{work:<10}{once:>8.2f}{every:>8.2f}{once / every:>8.2f}{row['floor']:>8.2f}"
            f"{memory[0]:>10.0f}{memory[1]:>8.0f}"
        )
        rows.append(row)
    if given.json:
        asked = {name: getattr(given, name) for name in ("rows", "prefix", "own", "written", "rounds")}
        write_result(given.json, {**asked, "work": rows})


def floor(work: str, given: argparse.Namespace) -> float:
    """The share of tokens that are left."""
    alone = given.own + (0 if work == "prefill" else given.written)
    return (given.prefix + given.rows * alone) / (given.rows * (given.prefix + alone))


def prepare(given: argparse.Namespace) -> dict[tuple[str, str], Callable[[], Any]]:
    """What is timed, by work and way."""
    import torch

    from kdprobe.models.forward.prefix import logits_once, read_common_prefix
    from kdprobe.models.lm_head import without_lm_head
    from kdprobe.models.load import load
    from kdprobe.models.reference import resolve

    loaded = load(resolve("smollm2-135m-instruct"), dtype="float32")
    plain, vocabulary = loaded.model, len(loaded.tokenizer)
    torch.manual_seed(0)
    ids = torch.randint(100, 40000, (given.rows, given.prefix + given.own + given.written))
    ids[:, : given.prefix] = ids[0, : given.prefix]
    prompt = given.prefix + given.own
    keep, mask = torch.arange(prompt - 1, ids.shape[1] - 1), torch.ones_like(ids)

    @torch.inference_mode()
    def prefill(once: bool) -> None:
        prompts = ids[:, :prompt]
        begun, start = None, 0
        if once:
            prefix = read_common_prefix(plain, prompts.tolist())
            assert prefix is not None  # noqa: S101 - otherwise both ways are the same
            begun, start = prefix.begun(torch.zeros(len(ids), dtype=torch.long)), prefix.length
        plain(input_ids=prompts[:, start:], past_key_values=begun, use_cache=True, logits_to_keep=1)

    @torch.inference_mode()
    def scoring(once: bool) -> None:
        with without_lm_head(plain, vocabulary):
            if once:
                logits_once(plain, ids, mask, keep)
            else:
                plain(input_ids=ids, attention_mask=mask, logits_to_keep=keep, use_cache=False)

    works = dict(zip(WORK, (prefill, scoring), strict=True))
    return {(name, way): (lambda run=run, way=way: run(way == WAYS[0])) for name, run in works.items() for way in WAYS}


if __name__ == "__main__":
    main()
