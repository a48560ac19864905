"""Memory and time of analyses as students, problems, tokens, heads and layers grow.

    python benchmarks/probing.py [--analyses heads patching ...] [--json FILE]

Random Llamas with the tokenizer of SmolLM2 and random adapters are probed, every analysis and size in a process of its
own: first at a base size, then with one size after the other multiplied. The first table has mebibytes at the peak
(Linux), above what the process held with all libraries imported, models included; the second has seconds. Both have the
base's figures and, for every size that grows, the ratio to them.
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

from peak_memory import peak_of
from result_file import write_result

BASE = {"students": 2, "problems": 4, "tokens": 256, "heads": 4, "layers": 4}
GROWN = {"students": 4, "problems": 4, "tokens": 4, "heads": 4, "layers": 4}
"""By what each size is multiplied."""
OPTIONS: dict[str, dict[str, Any]] = {
    "heads": {"control": 0},
    "divergence": {},
    "ablation": {"exact": 2, "together": 2, "random_sets": 3, "problems": 16},
    "patching": {"exact": 2, "together": 2, "random_sets": 3, "problems": 16},
    "circuits": {"exact": 2, "problems": 16},
    "attribution": {"problems": 16},
    "output_divergence": {},
    "logit_lens": {},
}
HEAD_DIM = 16
MODEL = "smollm2-135m-instruct"


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--analyses", nargs="+", choices=OPTIONS, default=list(OPTIONS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        name, sizes = given.one
        print(json.dumps(measured(name, json.loads(sizes))))
        return
    sizes = {"base": BASE, **{size: {**BASE, size: BASE[size] * times} for size, times in GROWN.items()}}
    found = {name: {what: in_child(name, chosen) for what, chosen in sizes.items()} for name in given.analyses}
    print(f"base: {', '.join(f'{size} {number}' for size, number in BASE.items())}")
    for what in ("MiB", "s"):
        grown = " | ".join(f"{size} x {times}" for size, times in GROWN.items())
        print(f"\n| analysis | {what} | {grown} |\n| --- |{' --- |' * (1 + len(GROWN))}")
        for name, each in found.items():
            base = each["base"][what]
            ratios = " | ".join(f"{each[size][what] / base:.2f}" for size in GROWN)
            print(f"| `{name}` | {base:.{0 if what == 'MiB' else 1}f} | {ratios} |")
    if given.json:
        write_result(given.json, {"base": BASE, "grown": GROWN, "found": found})


def in_child(name: str, sizes: dict[str, int]) -> dict[str, float]:
    """Peak and seconds of one analysis, in a process of its own."""
    command = [sys.executable, __file__, "--one", name, json.dumps(sizes)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(printed.splitlines()[-1])
    return found


def measured(name: str, sizes: dict[str, int]) -> dict[str, float]:
    """Peak in MiB and seconds of one analysis."""
    import kdprobe

    with tempfile.TemporaryDirectory() as folder:
        model, adapters = written(Path(folder), sizes)
        problems = problems_of(sizes)

        def probe(limit: int) -> None:
            kdprobe.probe(
                str(model), adapters=adapters, problems=problems, limit=limit, batch_size=4, analyses=[name],
                options={name: OPTIONS[name]}, progress=False,
            )  # fmt: skip

        # Libraries are imported once, and are not what is measured.
        probe(2)
        started = time.perf_counter()
        peak = peak_of(lambda: probe(len(problems)))
        return {"MiB": peak, "s": time.perf_counter() - started}


def written(folder: Path, sizes: dict[str, int]) -> tuple[Path, dict[str, str]]:
    """A random model and its adapters."""
    from kdprobe.models.load import load_tokenizer
    from kdprobe.models.reference import resolve
    from kdprobe.testing.models import random_llama, write_random_adapter

    tokenizer = load_tokenizer(resolve(MODEL))
    model = folder / "model"
    width = HEAD_DIM * sizes["heads"]
    random_llama(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=2 * width, num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"], num_key_value_heads=sizes["heads"] // 2, max_position_embeddings=4096,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    ).save_pretrained(model)  # fmt: skip
    tokenizer.save_pretrained(model)
    names = [f"student{index}" for index in range(sizes["students"])]
    return model, {name: str(write_random_adapter(model, folder / name, seed=seed)) for seed, name in enumerate(names)}


def problems_of(sizes: dict[str, int]) -> list[Any]:
    """Problems whose question and solution have about as many tokens as asked for."""
    from kdprobe import Problem

    filled = " and" * (sizes["tokens"] - 60)
    return [
        Problem(
            str(index),
            f"Add {index} and 4{filled} nothing.",
            f"{index} + 4 = {index + 4}\n#### {index + 4}",
            str(index + 4),
        )
        for index in range(sizes["problems"])
    ]


if __name__ == "__main__":
    main()
