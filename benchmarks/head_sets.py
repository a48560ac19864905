"""Replacing sets of heads from the lowest layer of the set upwards, against whole passes.

    python benchmarks/head_sets.py [--problems 4] [--sets 20] [--size 4] [--batch-size 8] [--rounds 3] [--json FILE]

Random sets of heads of SmolLM2-135M-Instruct, the size of those that `ablation` compares with, are set to their mean
outputs in float32, and the log-probability of gold solutions of procedural problems is computed:

    restarted    `interventions.joint_effects`: each batch of sets starts at its lowest layer
    whole        the same, with every pass from the embedding on

Both are run in turn; seconds are medians. Memory is the peak of a separate process above what it held before (Linux).
The floor is the share of the layers that lie above the lowest one of each set, without batches.
"""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ablation import Setting
from peak_memory import peak_in_child, peak_of
from result_file import write_result

WAYS = ("restarted", "whole")


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=4)
    parser.add_argument("--sets", type=int, default=20)
    parser.add_argument("--size", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory-of", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.stride = 1
    setting = Setting(given)
    drawn = sets_of(setting, given)
    if given.memory_of:
        print(peak_of(lambda: effects(given.memory_of, setting, drawn, given.batch_size)))
        return
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    found: dict[str, Any] = {}
    for _ in range(given.rounds):
        for way in WAYS:
            start = time.perf_counter()
            found[way] = effects(way, setting, drawn, given.batch_size)
            seconds[way].append(time.perf_counter() - start)
    taken = {way: statistics.median(each) for way, each in seconds.items()}
    apart = float((found["restarted"] - found["whole"]).abs().max())
    same = [f"--{name}={getattr(given, name.replace('-', '_'))}" for name in ("problems", "sets", "size", "batch-size")]
    memory = {way: peak_in_child(__file__, *same, "--memory-of", way) for way in WAYS}
    layers = len(setting.layers)
    floor = sum(layers - min(layer for layer, _ in each) for each in drawn) / (layers * len(drawn))
    print(f"{len(setting.sequences)} problems, {setting.tokens} tokens, {len(drawn)} sets of {given.size} heads")
    for way in WAYS:
        print(f"{way:<11}{taken[way]:>8.2f} s{taken[way] / taken['whole']:>7.2f}{memory[way]:>7.0f} MiB")
    print(f"floor {floor:.2f}; largest difference of an effect {apart:.1e} nats")
    if given.json:
        write_result(given.json, {"seconds": taken, "mebibytes": memory, "apart": apart, "floor": floor})


def sets_of(setting: Setting, given: argparse.Namespace) -> list[list[tuple[int, int]]]:
    """Random sets of heads."""
    from kdprobe.probing.interventions.joint_effects import random_sets

    any_heads = [(0, head) for head in range(given.size)]
    return random_sets(any_heads, (len(setting.layers), setting.heads), given.sets, same_layers=False, seed=0)


def effects(way: str, setting: Setting, drawn: list[list[tuple[int, int]]], batch_size: int) -> Any:
    """Log-probability without each set minus with all heads, `[sequence, set, target]`."""
    from kdprobe.console import progress
    from kdprobe.probing.interventions import joint_effects
    from kdprobe.probing.interventions.forward import head_outputs, reader
    from kdprobe.probing.interventions.replacement import ablated

    shipped = joint_effects.started_at
    if way == "whole":
        joint_effects.started_at = lambda *_: nullcontext()
    try:
        with reader(setting.student) as reading, progress(way) as bar:
            donor = ablated(head_outputs(reading, setting.sequences, bar=bar), "mean")
            return joint_effects.joint_effects(reading, setting.sequences, donor, drawn, batch_size=batch_size, bar=bar)
    finally:
        joint_effects.started_at = shipped


if __name__ == "__main__":
    main()
