"""Head metrics streamed in hooks, against metrics computed from cached patterns.

    python benchmarks/head_metrics.py [--problems 64] [--batch 4] [--repeats 3] [--json FILE]

The four published metrics of every head of SmolLM2-135M-Instruct in float32, over questions and gold solutions of GSM8K
if KDPROBE_GSM8K names its folder, else of procedural problems, which are shorter:

    forward        Hugging Face's eager forward pass over the same batches, logits at the last position only: the floor
    streamed       `patterns.stream.head_metrics`: patterns are reduced as they appear, none is kept beyond the next
                   layer, and the common prefix of all sequences is read once
    all metrics    the same with all built-in metrics
    vectorised     `run_with_cache` of all patterns, logits at the last position, then the same formulas, batched
    per matrix     `run_with_cache` of all patterns, then numpy and scipy matrix by matrix, as published

All must give the same values. The variants alternate within one process; ratios are of medians. `beyond` is the time
beyond the forward pass. Memory is the peak of a separate process above what it held before (Linux). The last line
compares the streamed variant's peak over a quarter of the problems with its peak over the same problems sixteen times;
with different problems, the longest of them would determine the peak.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path
from typing import Any

from peak_memory import peak_in_child, peak_of
from result_file import write_result

WAYS = ("forward", "streamed", "all metrics", "vectorised", "per matrix")
PUBLISHED = ("entropy", "self_attention", "sparsity", "similarity")
MODEL = "smollm2-135m-instruct"
TEMPLATES = [6, 10, 16, 18, 43, 48, 58, 69]
TOLERANCE = 1e-4
TIMES = 16


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory-of", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--times", type=int, default=1, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.memory_of:
        print(peak(given.memory_of, given))
        return
    seconds = times(given)
    memory = {way: child(way, given.problems, given) for way in WAYS}
    floor = seconds["forward"]
    print(f"{'way':<14}{'s':>8}{'ratio':>8}{'beyond':>8}{'ratio':>8}{'MiB':>8}{'ratio':>8}")
    for way in WAYS:
        beyond = seconds[way] - floor
        print(
            f"{way:<14}{seconds[way]:>8.2f}{seconds[way] / seconds['streamed']:>8.2f}{beyond:>8.2f}"
            f"{beyond / (seconds['streamed'] - floor):>8.2f}{memory[way]:>8.0f}{memory[way] / memory['streamed']:>8.2f}"
        )
    print(f"streamed over the bare forward pass: {seconds['streamed'] / floor:.2f}")
    few_problems = max(1, given.problems // 4)
    few, many = (child("streamed", few_problems, given, times) for times in (1, TIMES))
    print(f"streamed, {few_problems} problems and {TIMES} times as many: {few:.0f} and {many:.0f} MiB")
    if given.json:
        asked = {name: getattr(given, name) for name in ("problems", "batch", "repeats")}
        write_result(given.json, {**asked, "seconds": seconds, "mebibytes": memory, "few": few, "many": many})


def prepare(count: int) -> tuple[Any, list[Any]]:
    """The student inside TransformerLens, and token ids of questions with their gold solutions."""
    from kdprobe.host.registry import Host
    from kdprobe.models.load import load_tokenizer
    from kdprobe.models.reference import resolve
    from kdprobe.problems.draw import draw
    from kdprobe.problems.sources.gsm8k import FOLDER_VARIABLE
    from kdprobe.students.bridge import boot
    from kdprobe.students.sequence import problem_sequences
    from kdprobe.students.student import Student

    record = resolve(MODEL)
    source = ("gsm8k", {}) if os.environ.get(FOLDER_VARIABLE) else ("gsm-symbolic", {"templates": TEMPLATES})
    drawn = draw(Host().create("problem-sources", *source), transfer=1, test=count)
    sequences = problem_sequences(load_tokenizer(record), drawn.test)
    return boot(Student("base", record), [sequence.ids for sequence in sequences[:2]]), sequences


def metrics_of(way: str) -> dict[str, Any]:
    """The four published metrics, or all built-in ones."""
    from kdprobe.host.registry import Host
    from kdprobe.probing.metrics.metric import head_metrics_of

    metrics = head_metrics_of(Host())
    return metrics if way == "all metrics" else {name: metrics[name] for name in PUBLISHED}


def batches(sequences: list[Any], size: int, student: Any) -> Any:
    """Indices, ids and mask of batches of similar length, as `head_metrics` makes them."""
    from kdprobe.models.batching import batches as batches_of
    from kdprobe.models.batching import right_padded

    for places in batches_of([len(sequence.ids) for sequence in sequences], size):
        read = [sequences[place].ids for place in places]
        ids, mask = right_padded(read, student.tokenizer.pad_token_id, "cpu")
        yield places, ids, mask


def run(way: str, student: Any, sequences: list[Any], size: int) -> dict[str, Any]:
    """Metric to values `[problem, layer, head]`; empty for the bare forward pass."""
    import torch

    from kdprobe.console import progress
    from kdprobe.probing.patterns.stream import head_metrics

    if way in {"streamed", "all metrics"}:
        with progress(way, len(sequences)) as bar:
            return head_metrics(student, sequences, metrics_of(way), batch_size=size, bar=bar)
    values: dict[str, Any] = {}
    with torch.inference_mode():
        for places, ids, mask in batches(sequences, size, student):
            if way == "forward":
                student.take().model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=1)
                continue
            kept = {"logits_to_keep": 1} if way == "vectorised" else {}
            _, cache = student.bridge.run_with_cache(
                ids, attention_mask=mask, names_filter=lambda name: name.endswith("hook_pattern"), **kept
            )
            measure = vectorised if way == "vectorised" else per_matrix
            measure(
                cache, places, mask, values, (len(sequences), student.bridge.cfg.n_layers, student.bridge.cfg.n_heads)
            )
    return values


def vectorised(cache: Any, places: list[int], mask: Any, values: dict[str, Any], shape: tuple[int, ...]) -> None:
    """The same formulas on cached patterns, as one would write them in torch, one batch at a time."""
    import numpy as np
    import torch

    from kdprobe.students.pattern_sources import pattern_hook

    valid = mask[:, None, :, None]
    lengths = mask.sum(dim=1, keepdim=True)
    below = None
    for layer in range(shape[1]):
        pattern = cache[pattern_hook(layer)] * valid
        measured = {
            "entropy": -torch.special.xlogy(pattern, pattern).sum(dim=(-2, -1)) / lengths,
            "self_attention": pattern.diagonal(dim1=-2, dim2=-1).sum(dim=-1) / lengths,
            "sparsity": (pattern > 0.1).sum(dim=(-2, -1)) / lengths**2,
            "similarity": torch.full(pattern.shape[:2], torch.nan)
            if below is None
            else torch.cosine_similarity(pattern.flatten(2), below.flatten(2), dim=-1),
        }
        for name, value in measured.items():
            values.setdefault(name, np.full(shape, np.nan))[places, layer] = value.double().numpy()
        below = pattern


def per_matrix(cache: Any, places: list[int], mask: Any, values: dict[str, Any], shape: tuple[int, ...]) -> None:
    """Matrix by matrix, as in a script for one prompt."""
    import numpy as np
    from scipy.spatial.distance import cosine
    from scipy.stats import entropy

    from kdprobe.students.pattern_sources import pattern_hook

    for row, place in enumerate(places):
        length = int(mask[row].sum())
        below = None
        for layer in range(shape[1]):
            matrices = cache[pattern_hook(layer)][row, :, :length, :length].numpy()
            for head, matrix in enumerate(matrices):
                measured = {
                    "entropy": entropy(matrix, axis=1).mean(),
                    "self_attention": np.diag(matrix).mean(),
                    "sparsity": (matrix > 0.1).mean(),
                    "similarity": np.nan if below is None else 1 - cosine(matrix.ravel(), below[head].ravel()),
                }
                for name, value in measured.items():
                    values.setdefault(name, np.full(shape, np.nan))[place, layer, head] = value
            below = matrices


def times(given: argparse.Namespace) -> dict[str, float]:
    """Median seconds of every variant; fails if variants disagree."""
    import numpy as np

    student, sequences = prepare(given.problems)
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    expected = run("streamed", student, sequences, given.batch)
    for repeat in range(given.repeats):
        # In alternating order, so that no variant is always first.
        for way in WAYS if repeat % 2 == 0 else reversed(WAYS):
            started = time.perf_counter()
            values = run(way, student, sequences, given.batch)
            taken[way].append(time.perf_counter() - started)
            for name, measured in values.items():
                if name in expected and not np.allclose(measured, expected[name], atol=TOLERANCE, equal_nan=True):
                    raise SystemExit(f"{way} gives a different {name} from streaming.")
    return {way: statistics.median(values) for way, values in taken.items()}


def child(way: str, problems: int, given: argparse.Namespace, times: int = 1) -> float:
    """Peak memory of one variant in a separate process, in MiB."""
    asked = (f"--problems={problems}", f"--batch={given.batch}", f"--times={times}", "--memory-of", way)
    # The C library returns memory at once; otherwise the peak would depend on what it keeps in reserve.
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    return peak_in_child(__file__, *asked, env=env)


def peak(way: str, given: argparse.Namespace) -> float:
    """Peak of this process above what it held before, in MiB."""
    student, sequences = prepare(given.problems)
    return peak_of(lambda: run(way, student, sequences * given.times, given.batch))


if __name__ == "__main__":
    main()
