"""Memory and time of transfer sets too large to hold: capturing one, opening it, and everything that reads it.

    python benchmarks/transfer_scale.py [--problems 1000 5000] [--tokens 500] [--folder FOLDER]

The answers are synthetic, without a model: 500 tokens with 64 log-probabilities at each. Each step runs in a process of
its own; peak memory is its largest resident size (Linux), all libraries included. From two sizes follows what 50,000
problems need. Exits with 1 if that is more than 1 GiB anywhere, or more than 5 s to open.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from peak_memory import high_water

FULL = 50_000
LIMIT_MIB, LIMIT_OPEN = 1_024, 5.0
K, VOCABULARY, PART = 64, 49_152, 64
BATCH = 8
_SHOWN = 400
STEPS = ("libraries", "capture", "open", "train", "fidelity", "select", "answers")


def main() -> None:
    """Runs every step at every size in its own process, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, nargs=2, default=[1_000, 5_000])
    parser.add_argument("--tokens", type=int, default=500)
    parser.add_argument("--folder", type=Path, help="The folder in which to create the temporary folder.")
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        name, count = given.step
        print(json.dumps(_step(name, int(count), given.tokens, given.folder)))
        return
    small, large = given.problems
    failed = []
    print(f"answers of {given.tokens} tokens, top {K}, V = {VOCABULARY}")
    print(f"\n{'step':<12}{'problems':>9}{'peak MiB':>10}{'s':>8}{'at 50,000:':>14}{'MiB':>7}{'s':>9}")
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for name in STEPS:
            # Seconds are those of the processor, which other work on the machine changes less.
            found = [_measured(name, count, given.tokens, Path(folder) / str(count)) for count in (small, large)]
            peak, seconds = (_at_full(small, large, *(each[key] for each in found)) for key in ("peak", "seconds"))
            for count, each in zip((small, large), found, strict=True):
                end = "\n" if count == small else ""
                print(f"{name:<12}{count:>9,}{each['peak']:>10.0f}{each['seconds']:>8.1f}", end=end)
            print(f"{'':>14}{peak:>7.0f}{seconds:>9.0f}")
            failed += [f"{name}: {peak:.0f} MiB"] * (peak > LIMIT_MIB)
            failed += [f"open: {seconds:.1f} s"] * (name == "open" and seconds > LIMIT_OPEN)
            if "note" in found[1]:
                print(f"    {found[1]['note']}")
    if failed:
        sys.exit("Too much at 50,000 problems: " + ", ".join(failed))


def _at_full(small: int, large: int, at_small: float, at_large: float) -> float:
    """The value at the full size on the line through two measurements; never below the larger one."""
    slope = max(0.0, (at_large - at_small) / (large - small))
    return at_large + slope * (FULL - large)


def _measured(name: str, count: int, tokens: int, folder: Path) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, __file__, "--step", name, str(count), "--tokens", str(tokens), "--folder", str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | {"NO_COLOR": "1"})
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _step(name: str, count: int, tokens: int, folder: Path) -> dict[str, Any]:
    """Runs a step in this process."""
    import torch  # noqa: F401 - every step's process has it loaded in an experiment
    import transformers  # noqa: F401

    from kdprobe.transfer.transfer_set import read

    work: dict[str, Callable[[], str | None]] = {
        "libraries": lambda: None,
        "capture": lambda: _capture(count, tokens, folder),
        "open": lambda: read(folder) and None,
        "train": lambda: _train(folder),
        "fidelity": lambda: _fidelity(count, folder),
        "select": lambda: _select(count, folder),
        "answers": lambda: _answers(folder),
    }
    started = time.process_time()
    note = work[name]()
    found = {"seconds": time.process_time() - started, "peak": high_water()}
    return found | ({"note": note} if note else {})


class SyntheticTeacher:
    """Answers without a model: skewed ids that depend on the token before, falling log-probabilities, a small tail."""

    provenance = {"model": "synthetic"}  # noqa: RUF012
    part_size = PART

    def __init__(self, tokens: int) -> None:
        self._tokens = tokens
        random = np.random.default_rng(0)
        self._order = np.stack([random.permutation(VOCABULARY)[: 4 * K] for _ in range(512)])
        # The likeliest of some candidates after each token, in an order that varies.
        scores = np.arange(4 * K) + random.gumbel(0, 8, (1_024, 4 * K))
        self._chosen = np.argsort(scores, axis=1)[:, :K]

    def respond(self, requests: Sequence[Any], sampling: Any) -> Iterator[Any]:
        """An answer to every request."""
        from kdprobe.teachers import Response, SparseRows

        for request in requests:
            random = np.random.default_rng([len(request.id), *request.id.encode()])
            token_ids = random.zipf(1.3, self._tokens) % VOCABULARY
            before = np.concatenate([[0], token_ids[:-1]]) % len(self._order)
            chosen = self._chosen[random.integers(len(self._chosen), size=self._tokens)]
            ids = np.take_along_axis(self._order[before], chosen, axis=1).astype(np.int32)
            logprobs = -np.cumsum(random.exponential(0.15, (self._tokens, K)), axis=1).astype(np.float32) - 0.7
            logprobs -= np.log(np.exp(logprobs).sum(axis=1, keepdims=True)) - np.log(0.999)
            tail = np.full(self._tokens, np.log(0.001), np.float32)
            rows = SparseRows(ids, logprobs, dict.fromkeys(sampling.temperatures, tail), logprobs[:, 0])
            text = f"So the answer is {request.id}. " * (self._tokens // 12)
            yield Response(request.id, text, token_ids, finished=True, rows=rows)


def _problems(count: int) -> list[Any]:
    from kdprobe.problems.problem import Problem

    return [
        Problem(
            f"problem-{index}", f"Box {index} holds {index} marbles. How many are in it?", f"#### {index}", str(index)
        )
        for index in range(count)
    ]


def _conversations(count: int) -> dict[str, Any]:
    from kdprobe.strategies.prompt_pair import PromptPair, bare

    return {problem.id: PromptPair(bare(problem), bare(problem)) for problem in _problems(count)}


def _tokenizer(folder: Path) -> Any:
    from kdprobe.models.load import load_tokenizer
    from kdprobe.models.reference import resolve
    from kdprobe.testing.models import write_tiny_model

    model = folder / "tiny"
    return load_tokenizer(resolve(str(model if model.is_dir() else write_tiny_model(model))))


def _capture(count: int, tokens: int, folder: Path) -> str:
    from kdprobe.models.conversation import tokenizer_digest
    from kdprobe.teachers import Sampling
    from kdprobe.transfer.capture import Setting, capture
    from kdprobe.transfer.transfer_set import read, write

    scratch = folder / "scratch"
    scratch.mkdir()
    manifest = {"strategy": "none", "vocabulary": VOCABULARY, "tokenizer": tokenizer_digest(_tokenizer(folder))}
    setting = Setting(Sampling(tokens, top_logprobs=K), manifest, scratch=scratch)
    write(capture(SyntheticTeacher(tokens), _problems(count), _conversations(count), setting), folder)
    return f"{read(folder).manifest['bytes_per_token']:.0f} bytes per token"


def _train(folder: Path) -> str:
    """One epoch of batches in shuffled order, as training reads them."""
    from kdprobe.distill.examples import collate
    from kdprobe.distill.lazy_examples import from_transfer
    from kdprobe.transfer.transfer_set import read

    transfer = read(folder)
    tokenizer = _tokenizer(folder)
    count = len(transfer.responses)
    started = time.process_time()
    examples = from_transfer(transfer, _conversations(count), tokenizer, rows=True)
    prepared = time.process_time()
    order = np.random.default_rng(0).permutation(count)
    for start in range(0, count, BATCH):
        collate([examples[int(index)] for index in order[start : start + BATCH]], 0, 1.0)
    each = (time.process_time() - prepared) / count
    return f"{prepared - started:.1f} s to prepare, {1_000 * each:.1f} ms per example in shuffled order"


def _fidelity(count: int, folder: Path) -> None:
    from kdprobe.transfer.fidelity import fidelity
    from kdprobe.transfer.transfer_set import read

    fidelity(read(folder), _problems(count))


def _select(count: int, folder: Path) -> None:
    from kdprobe.transfer.selection import right_answers
    from kdprobe.transfer.transfer_set import read

    read(folder).only(right_answers(read(folder).responses.texts, _problems(count)))


def _answers(folder: Path) -> None:
    """What a report reads: all texts, of which it shows some."""
    from kdprobe.transfer.transfer_set import first_answers, read_answers

    first_answers(read_answers(folder), _SHOWN)


if __name__ == "__main__":
    main()
