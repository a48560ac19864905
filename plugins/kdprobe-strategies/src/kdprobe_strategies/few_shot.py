"""`few-shot`: worked examples before the question.

Chain of thought by example: Wei et al. (2022), arXiv 2201.11903. Choosing the examples most similar to the question:
Liu et al., "What Makes Good In-Context Examples for GPT-3?" (2021), arXiv 2101.06804. Here, similarity is the cosine of
word counts, so no model is needed.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from pathlib import Path
from random import Random
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from kdprobe import KdprobeError, Problem, PromptPair, StrategySpec
from kdprobe.strategies import Strategy, bare

OWN = (
    {
        "question": "A baker fills 4 trays with 6 rolls each and sells 9 rolls. How many rolls are left?",
        "answer": "The trays hold 4 * 6 = 24 rolls. After selling 9 there are 24 - 9 = 15 rolls left.\n#### 15",
    },
    {
        "question": "Mia reads 12 pages on Monday, twice as many on Tuesday, and 5 on Wednesday. How many pages "
        "has she read?",
        "answer": "On Tuesday she reads 12 * 2 = 24 pages. Altogether that is 12 + 24 + 5 = 41 pages.\n#### 41",
    },
    {
        "question": "Three friends share a bill of $48 and a tip of 25 percent equally. How many dollars does each "
        "pay?",
        "answer": "The tip is 48 * 0.25 = 12 dollars, so they pay 48 + 12 = 60 dollars. Each pays 60 / 3 = 20 "
        "dollars.\n#### 20",
    },
    {
        "question": "A train leaves at 9:40 and arrives at 12:05. How many minutes does it travel?",
        "answer": "From 9:40 to 12:00 there are 140 minutes. 5 more make 140 + 5 = 145 minutes.\n#### 145",
    },
)
"""Written for this package, so that none is in any test set."""


class FewShotOptions(BaseModel):
    """Which examples, how many, and in what form."""

    model_config = ConfigDict(extra="forbid")

    shots: int = Field(default=3, ge=1, description="Examples before the question.")
    examples: Path | None = Field(
        default=None,
        description="JSON lines with `question` and `answer` to choose from; the package's own by default.",
    )
    choose: Literal["first", "similar", "random"] = Field(
        default="first", description="The first ones, the most similar to the question, or a random choice per problem."
    )
    seed: int = Field(default=0, description="Seed of the random choice.")
    turns: bool = Field(default=False, description="Write the examples as earlier turns of the conversation.")

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if self.examples is None and self.shots > len(OWN):
            raise ValueError(
                f"the package has only {len(OWN)} examples; for {self.shots} shots, set the option `examples` to a file"
            )
        return self


def build(options: FewShotOptions) -> Strategy:
    """Reads the examples and returns the strategy.

    Raises:
        KdprobeError: The file of examples cannot be read, or has too few.
    """
    examples = _read(options.examples) if options.examples else _own()

    def render(problem: Problem) -> PromptPair:
        # A problem must not be its own example: the teacher would read its gold solution.
        others = [example for example in examples if _words(example.question) != _words(problem.question)]
        if len(others) < options.shots:
            count = "1 example" if len(others) == 1 else f"{len(others)} examples"
            raise KdprobeError(
                f"The strategy 'few-shot' has {count} for problem {problem.id!r}, but shots = {options.shots}.",
                "Add examples, or lower shots.",
            )
        chosen = _chosen(others, problem, options)
        return PromptPair(
            teacher=_turns(chosen, problem) if options.turns else _text(chosen, problem), student=bare(problem)
        )

    return render


def spec() -> StrategySpec:
    """`few-shot`."""
    return StrategySpec(name="few-shot", summary="Worked examples first", build=build, options=FewShotOptions)


def _chosen(examples: list[Problem], problem: Problem, options: FewShotOptions) -> list[Problem]:
    if options.choose == "random":
        return Random(f"{options.seed}/{problem.id}").sample(examples, options.shots)  # noqa: S311 - not for secrets
    if options.choose == "similar":
        likeness = [_cosine(_words(example.question), _words(problem.question)) for example in examples]
        best = sorted(range(len(examples)), key=lambda index: -likeness[index])[: options.shots]
        # The most similar one is next to the question.
        return [examples[index] for index in reversed(best)]
    return examples[: options.shots]


def _text(examples: list[Problem], problem: Problem) -> list[dict[str, str]]:
    shown = "\n\n".join(f"Question: {example.question}\nAnswer: {_answer(example)}" for example in examples)
    return [{"role": "user", "content": f"{shown}\n\nQuestion: {problem.question}\nAnswer:"}]


def _turns(examples: list[Problem], problem: Problem) -> list[dict[str, str]]:
    turns = [
        {"role": role, "content": content}
        for example in examples
        for role, content in (("user", example.question), ("assistant", _answer(example)))
    ]
    return [*turns, *bare(problem)]


def _answer(example: Problem) -> str:
    """The worked solution, ending in a sentence instead of GSM8K's mark."""
    reasoning = example.plain_solution.rsplit("####", 1)[0].strip()
    return f"{reasoning} The answer is {example.value}."


def _own() -> list[Problem]:
    return [Problem.from_gsm8k(f"example-{index}", row) for index, row in enumerate(OWN, start=1)]


def _read(file: Path) -> list[Problem]:
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
        rows = [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError, RecursionError) as error:
        raise KdprobeError(
            f"The file of examples {file} cannot be read: {error}.", "Use JSON lines with `question` and `answer`."
        ) from error
    return [
        Problem.from_gsm8k(f"{file.name}, example {index}", row if isinstance(row, dict) else {})
        for index, row in enumerate(rows, start=1)
    ]


def _words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text.lower()))


def _cosine(some: Counter[str], others: Counter[str]) -> float:
    """Cosine similarity of two word counts; 0 if one of them is empty."""
    product = sum(count * others[word] for word, count in some.items())
    norms = math.prod(math.sqrt(sum(count**2 for count in counts.values())) for counts in (some, others))
    return product / norms if norms else 0.0
