"""Capturing a teacher's top k while it decodes, against plain decoding and against a second pass.

    python benchmarks/capture.py [--dtype float32] [--batch 32] [--new-tokens 64] [--repeats 5] [--json FILE]

All variants decode the same batch greedily with a model in SmolLM2-135M's shape, with the same number of new tokens for
every sequence.

    plain               `model.generate` alone
    capture, T = 1      with the top k and the tail's exact mass at temperature 1, captured while decoding
    capture, 3 T        with the tail's mass at temperatures 1, 2 and 4
    second pass         plain, then a teacher-forced pass over prompt and response, a few sequences at a time, that
                        captures the same as at temperature 1: what a tool without capture does

All must write the same tokens. The variants alternate within one process, so that other load on the machine affects all
of them; ratios are of medians. `own` is the time inside the capture alone as a share of the rest of its run, which is
far less noisy than a difference of two runs. Memory is the peak of a separate process above what it held before
(Linux); with `--model`, that includes the weights, which are only mapped by loading and first touched by decoding.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

from peak_memory import peak_in_child, peak_of
from result_file import write_result
from shapes import SHAPES

K, FORCED_BATCH = 64, 8
TEMPERATURES = {"capture, T = 1": (1.0,), "capture, 3 T": (1.0, 2.0, 4.0)}
WAYS = ("plain", *TEMPERATURES, "second pass")


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--prompt", type=int, default=110, help="tokens; plain decoding reads them, capture does not")
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--model", help="a model that kdprobe can load, instead of random weights")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory-of", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.memory_of:
        print(peak(given.memory_of, given))
        return
    seconds, own = times(given)
    memory = {way: child(way, given) for way in WAYS}
    print(f"{'way':<18}{'s':>8}{'ratio':>8}{'own':>8}{'MiB':>8}{'ratio':>8}")
    for way in WAYS:
        share = f"{own[way]:.2%}" if way in own else ""
        print(
            f"{way:<18}{seconds[way]:>8.2f}{seconds[way] / seconds['plain']:>8.3f}{share:>8}"
            f"{memory[way]:>8.0f}{memory[way] / memory['plain']:>8.2f}"
        )
    if given.json:
        asked = {name: getattr(given, name) for name in ("dtype", "batch", "prompt", "new_tokens", "repeats", "model")}
        write_result(given.json, {**asked, "seconds": seconds, "own": own, "mebibytes": memory})


def prepare(given: argparse.Namespace) -> tuple[Any, Any]:
    """A model in evaluation mode, and random prompts `[batch, tokens]`."""
    import torch
    from transformers import GenerationConfig

    if given.model:
        from kdprobe.models.load import load
        from kdprobe.models.reference import resolve

        model = load(resolve(given.model), dtype=given.dtype, device="cpu").model
    else:
        from kdprobe.testing.models import random_llama

        model = random_llama(dtype=given.dtype, **SHAPES["smollm2-135m"]).eval()
    # No end of turn: every sequence has the requested length.
    model.generation_config = GenerationConfig(do_sample=False, max_new_tokens=given.new_tokens, pad_token_id=0)
    torch.manual_seed(0)
    return model, torch.randint(model.config.vocab_size, (given.batch, given.prompt))


def run(way: str, model: Any, prompts: Any) -> tuple[Any, float]:
    """Decodes; returns the sequences and the seconds spent inside the capture."""
    import torch
    from transformers import LogitsProcessor, LogitsProcessorList

    from kdprobe.teachers.top_k_capture import TopKCapture, top_k

    class Timed(LogitsProcessor):  # type: ignore[misc]
        """Passes every step on to a capture, and measures the time."""

        def __init__(self, capture: TopKCapture) -> None:
            self.capture, self.seconds = capture, 0.0

        def __call__(self, input_ids: Any, scores: Any) -> Any:
            started = time.perf_counter()
            scores = self.capture(input_ids, scores)
            self.seconds += time.perf_counter() - started
            return scores

    batch, prompt = prompts.shape
    with torch.inference_mode():
        if way not in TEMPERATURES:
            sequences = model.generate(prompts, attention_mask=torch.ones_like(prompts))
            for some in sequences.split(FORCED_BATCH) if way == "second pass" else ():
                steps = torch.arange(prompt - 1, some.shape[1] - 1)
                logits = model(some, logits_to_keep=steps, use_cache=False).logits
                top_k(logits.flatten(0, 1), K, (1.0,))
            return sequences, 0.0
        timed = Timed(TopKCapture(K, model.config.vocab_size, TEMPERATURES[way]))
        processors = LogitsProcessorList([timed])
        sequences = model.generate(prompts, attention_mask=torch.ones_like(prompts), logits_processor=processors)
        started = time.perf_counter()
        timed.capture.finish(sequences)
        for index in range(batch):
            timed.capture.rows(index, sequences.shape[1] - prompt)
        return sequences, timed.seconds + time.perf_counter() - started


def times(given: argparse.Namespace) -> tuple[dict[str, float], dict[str, float]]:
    """Median seconds of every variant, and the median share of the capture itself."""
    model, prompts = prepare(given)
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    own: dict[str, list[float]] = {way: [] for way in TEMPERATURES}
    expected, _ = run("plain", model, prompts)
    for repeat in range(given.repeats):
        # In alternating order, so that no variant is always first.
        for way in WAYS if repeat % 2 == 0 else reversed(WAYS):
            started = time.perf_counter()
            sequences, inside = run(way, model, prompts)
            whole = time.perf_counter() - started
            taken[way].append(whole)
            if way in own:
                own[way].append(inside / (whole - inside))
            if not sequences.equal(expected):
                raise SystemExit(f"{way} wrote different tokens from plain decoding.")
    return (
        {way: statistics.median(values) for way, values in taken.items()},
        {way: statistics.median(values) for way, values in own.items()},
    )


def child(way: str, given: argparse.Namespace) -> float:
    """Peak memory of one variant in a separate process, in MiB."""
    asked = [f"--dtype={given.dtype}", f"--batch={given.batch}", f"--prompt={given.prompt}"]
    model = [f"--model={given.model}"] if given.model else []
    return peak_in_child(__file__, *asked, f"--new-tokens={given.new_tokens}", *model, "--memory-of", way)


def peak(way: str, given: argparse.Namespace) -> float:
    """Peak of this process above what it held before, in MiB."""
    model, prompts = prepare(given)
    return peak_of(lambda: run(way, model, prompts))


if __name__ == "__main__":
    main()
