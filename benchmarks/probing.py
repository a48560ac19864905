"""Memory and time of analyses as students, problems, tokens, heads and layers grow, and what an 8B student would need.

    python benchmarks/probing.py [--analyses heads patching ...] [--json FILE]

Random Llamas with the tokenizer of SmolLM2 and random adapters are examined, every analysis in a process of its own:
first at a base size, then with one size after the other multiplied, then with three of them doubled. Analyses of the
teacher read one priming per student. The first table has mebibytes at the peak (Linux), above what the process held
with all libraries imported, models included; the second has seconds of the CPU, which vary less on a busy machine.
Both have the base's figures and, for every size that grows, the ratio to them. `predicted` is the ratio that
`probing_fit.py` predicts with three sizes doubled, which it is not fitted to. The third table has what each further
student adds to the peak, and to the result's tables; the last is for Llama 3.1 8B with eight adapters on a GPU of 80
GB, on paper. `--from FILE` prints the tables of an earlier run's `--json`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peak_memory import peak_of
from probing_fit import BATCH, fitted, paper_rows, predicted
from result_file import write_result

BASE = {"students": 1, "problems": 2, "tokens": 256, "heads": 8, "layers": 4}
GROWN = {"students": 4, "problems": 3, "tokens": 4, "heads": 2, "layers": 3}
"""By what each size is multiplied."""
DOUBLED = ("tokens", "heads", "layers")
OPTIONS: dict[str, dict[str, Any]] = {
    "heads": {"control": 0},
    "divergence": {},
    "attention": {},
    "association": {},
    "geometry": {},
    "confidence": {},
    "drift": {"max_new_tokens": 16, "samples": 1, "neutral": ["Tell me about owls.", "Name a colour."]},
    "output_divergence": {},
    "logit_lens": {"problems": 16},
    "attribution": {"problems": 16},
    "ablation": {"exact": 2, "together": 2, "random_sets": 3, "problems": 16},
    "patching": {"exact": 2, "together": 2, "random_sets": 3, "problems": 16},
    "circuits": {"exact": 2, "problems": 16},
    "contrast": {"layers": 2, "problems": 16},
    "priming_map": {},
    "priming_heads": {},
    "priming_gain": {},
}
PRIMING = "Show every step, so that a smaller model can learn from your answer."
HEAD_DIM = 32
MODEL = "smollm2-135m-instruct"


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--analyses", nargs="+", choices=OPTIONS, default=list(OPTIONS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--from", type=Path, dest="earlier", metavar="FILE")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measured(given.one)))
        return
    found = json.loads(given.earlier.read_text())["found"] if given.earlier else {}
    for name in () if found else given.analyses:
        found[name] = in_child(name)
        print(json.dumps({name: found[name]}), file=sys.stderr, flush=True)
    fits = print_tables(found)
    if given.json:
        write_result(given.json, {"base": BASE, "grown": GROWN, "found": found, "fits": fits})


def print_tables(found: Mapping[str, dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Prints all tables, and returns what was fitted to the peaks."""
    fits = {}
    for name, each in found.items():
        points = [
            (all_sizes(chosen), each[what]["MiB"], each[what]["tables"])
            for what, chosen in chosen_sizes().items()
            if what != "doubled"
        ]
        fits[name] = fitted(name, points)
    print(f"base: {', '.join(f'{size} {number}' for size, number in BASE.items())}")
    for what in ("MiB", "s"):
        last = f" {', '.join(DOUBLED)} x 2 | predicted |" if what == "MiB" else ""
        grown = " | ".join(f"{size} x {times}" for size, times in GROWN.items())
        print(f"\n| analysis | {what} | {grown} |{last}\n| --- |{' --- |' * (1 + len(GROWN) + 2 * bool(last))}")
        for name, each in found.items():
            base = each["base"][what]
            row = [f"{each[size][what] / base:.2f}" for size in GROWN]
            if last:
                doubled = each["doubled"][what]
                row += [
                    f"{doubled / base:.2f}",
                    f"{predicted(name, fits[name], all_sizes(chosen_sizes()['doubled'])) / base:.2f}",
                ]
            print(f"| `{name}` | {base:.{0 if what == 'MiB' else 1}f} | {' | '.join(row)} |")
    added = BASE["students"] * (GROWN["students"] - 1)
    print("\n| analysis | MiB per student, peak | tables |\n| --- | --- | --- |")
    for name, each in found.items():
        peak, tables = ((each["students"][what] - each["base"][what]) / added for what in ("MiB", "tables"))
        print(f"| `{name}` | {peak:.1f} | {tables:.1f} |")
    print("\n| analysis | weights, GiB | rest | float32 | 16 bits | largest batch | main memory |\n|" + " --- |" * 7)
    print("\n".join(paper_rows(fits)))
    return fits


def chosen_sizes() -> dict[str, dict[str, int]]:
    """The sizes that are measured, by what grows."""
    grown = {size: {**BASE, size: BASE[size] * times} for size, times in GROWN.items()}
    return {"base": BASE, **grown, "doubled": {**BASE, **{size: 2 * BASE[size] for size in DOUBLED}}}


def all_sizes(sizes: dict[str, int]) -> dict[str, int]:
    """Sizes with those that follow from them."""
    width = HEAD_DIM * sizes["heads"]
    shape = {"width": width, "inner": 7 * width // 2, "kv_width": width // 4, "vocabulary": 49_152, "tied": 1}
    return {**sizes, **shape, "batch": BATCH}


def in_child(name: str) -> dict[str, dict[str, float]]:
    """Peaks and CPU seconds of one analysis, in a process of its own."""
    command = [sys.executable, __file__, "--one", name]
    # glibc (Linux) then returns freed tensors at once, so that peaks vary by a few MiB instead of tens.
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
    printed = subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout
    found: dict[str, dict[str, float]] = json.loads(printed.splitlines()[-1])
    return found


def measured(name: str) -> dict[str, dict[str, float]]:
    """Peak in MiB and CPU seconds of one analysis at all sizes."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        # Libraries are imported once, and are not what is measured.
        run(name, written(Path(folder) / "first", BASE), problems_of(BASE))
        for what, sizes in chosen_sizes().items():
            students, problems = written(Path(folder) / what, sizes), problems_of(sizes)
            started = time.process_time()
            tables: list[float] = []
            peak = peak_of(
                lambda students=students, problems=problems, tables=tables: tables.append(run(name, students, problems))
            )
            found[what] = {"MiB": peak, "s": time.process_time() - started, "tables": tables[0]}
    return found


def run(name: str, students: list[Any], problems: list[Any]) -> float:
    """Runs an analysis with a pool of its own, as `kdprobe.probe` does; returns the MiB of its tables."""
    from kdprobe.host.registry import Host
    from kdprobe.probing.analysis import AnalysisContext, run_analysis
    from kdprobe.probing.metrics.metric import head_metrics_of
    from kdprobe.students.pool import StudentPool

    host = Host()
    analysis = host.build("analyses", name, host.options("analyses", name, OPTIONS[name]))
    with StudentPool() as pool:
        context = AnalysisContext(
            students=students, problems=problems, batch_size=BATCH, pool=pool, head_metrics=head_metrics_of(host),
            records={student.name: [answered(problem) for problem in problems] for student in students},
            counterfactuals=lambda problem: [problem_of(int(problem.id) + 1, len(problem.question.split()))],
            teaching=teaching(host, students, problems) if name.startswith("priming") else None,
        )  # fmt: skip
        result = run_analysis(name, analysis, context)
    return sum(float(table.memory_usage(deep=True).sum()) for table in result.tables.values()) / 2**20


def written(folder: Path, sizes: dict[str, int], shape: Mapping[str, Any] | None = None) -> list[Any]:
    """A random Llama and its adapters, as students; of the given shape, or of one that follows from the sizes."""
    from kdprobe.models.load import load_tokenizer
    from kdprobe.models.reference import resolve
    from kdprobe.students.student import Student
    from kdprobe.testing.models import random_llama, write_random_adapter

    tokenizer, model = load_tokenizer(resolve(MODEL)), folder / "model"
    special = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    random_llama(**(shape or shape_of(sizes, len(tokenizer))), **special).save_pretrained(model)
    tokenizer.save_pretrained(model)
    base = resolve(str(model))
    names = [f"student{index}" for index in range(sizes["students"])]
    adapters = [write_random_adapter(model, folder / name, seed=seed, size=0.05) for seed, name in enumerate(names)]
    return [Student("base", base), *(Student(name, base, path) for name, path in zip(names, adapters, strict=True))]


def shape_of(sizes: dict[str, int], vocabulary: int) -> dict[str, Any]:
    """Arguments of `LlamaConfig`."""
    shape = all_sizes(sizes)
    return {
        "vocab_size": vocabulary,
        "hidden_size": shape["width"],
        "intermediate_size": shape["inner"],
        "num_hidden_layers": sizes["layers"],
        "num_attention_heads": sizes["heads"],
        "num_key_value_heads": sizes["heads"] // 4,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
    }


def problems_of(sizes: dict[str, int]) -> list[Any]:
    """Problems whose question and solution have about as many tokens as asked for."""
    # One token per word, besides the template, the numbers and the solution.
    return [problem_of(index, sizes["tokens"] - 50) for index in range(sizes["problems"])]


def problem_of(index: int, words: int) -> Any:
    """A problem with a number of words."""
    from kdprobe import Problem

    number = 10 + index
    question = " ".join(["Add", str(number), "and", "4", *["and"] * (words - 5), "nothing."])
    return Problem(str(index), question, f"{number} + 4 = {number + 4}\n#### {number + 4}", str(number + 4))


def answered(problem: Any) -> dict[str, Any]:
    """A record of an answer that is correct for every other problem."""
    correct = not int(problem.id) % 2
    gold = {"log_p_gold_value": -float(problem.id), "log_p_gold_solution": -9.0 - float(problem.id)}
    return {"id": problem.id, "response": problem.solution, "correct": correct, "cut_off": False, "tokens": 20, **gold}


def teaching(host: Any, students: list[Any], problems: list[Any]) -> Any:
    """What the untrained model reads and writes as a teacher: for each trained student, a strategy of its name."""
    import numpy as np

    from kdprobe.models.conversation import prompt_ids
    from kdprobe.models.load import load_tokenizer
    from kdprobe.probing.priming.teaching import Priming, Teaching
    from kdprobe.strategies.prompt_pair import PromptPair, bare
    from kdprobe.teachers.teacher import Response

    base = students[0].base
    tokenizer = load_tokenizer(base)
    options = {"model": str(base.path), "dtype": "float32"}
    teacher = host.build("teachers", "transformers", host.options("teachers", "transformers", options))
    answers = [
        Response(problem.id, problem.solution, np.array(tokenizer(problem.solution)["input_ids"]), finished=True)
        for problem in problems
    ]

    def priming(name: str, words: str) -> Priming:
        pairs = {problem.id: PromptPair(primed(problem, words), bare(problem)) for problem in problems}
        prompts = {number: prompt_ids(tokenizer, pair.teacher) for number, pair in pairs.items()}
        return Priming(name, unprimed=not words, prompts=prompts, responses=answers, tests=pairs)

    def primed(problem: Any, words: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": f"{problem.question} {words}".strip()}]

    primings = [priming(student.arm, "" if student is students[0] else PRIMING) for student in students]
    return Teaching(teacher, problems, primings, "own")


if __name__ == "__main__":
    main()
