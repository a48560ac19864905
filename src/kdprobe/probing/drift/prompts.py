"""The prompts after which text is sampled: those of the problems, and everyday requests unrelated to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kdprobe.models.conversation import prompt_ids
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import bare

Kind = Literal["task", "neutral"]
KINDS: tuple[Kind, ...] = ("task", "neutral")
NEUTRAL = (
    "What should I pack for a weekend at the seaside?",
    "Suggest a name for a small grey cat.",
    "How do I keep basil alive on a windowsill?",
    "Write a short thank-you note to a neighbour who watered my plants.",
    "Why is the sky red in the evening?",
    "Explain what a library card is for.",
    "Describe the smell of rain in one sentence.",
    "What is a polite way to decline an invitation?",
    "Give me an idea for a rainy afternoon with children.",
    "How does a bicycle stay upright?",
    "Write a two-line poem about a lighthouse.",
    "What is the difference between jam and jelly?",
    "How can I fall asleep more easily?",
    "Recommend a hobby that can be done indoors.",
    "What does a gardener do in winter?",
    "Tell me something interesting about owls.",
    "How should I store fresh bread?",
    "What do people usually bring to a picnic?",
    "Write a message that tells a friend I will be late.",
    "Why do leaves change colour in autumn?",
    "How do I remove a coffee stain from a shirt?",
    "Describe a quiet street in the early morning.",
    "What makes a good listener?",
    "Explain to a child what a bridge is.",
    "How can I make a small room look larger?",
    "What is a simple dish to cook with mushrooms?",
    "Write a cheerful greeting for a birthday card.",
    "What should I say to someone who is nervous about an interview?",
    "How do bees make honey?",
    "Suggest a quiet place to read in a city.",
    "What is the purpose of a compass?",
    "How do I introduce a new dog to an old one?",
)
"""Everyday requests without numbers, written for kdprobe. If you change them, raise the format of the analysis."""


@dataclass(frozen=True)
class Prompt:
    """A prompt as all students read it.

    Attributes:
        kind: Which list it is from.
        index: Its index in that list, from 0.
        id: The problem's id, or `neutral-INDEX`.
        text: The bare question or request.
        ids: The whole conversation up to the start of the answer, as token ids.
    """

    kind: Kind
    index: int
    id: str
    text: str
    ids: tuple[int, ...]


def drift_prompts(tokenizer: Any, problems: Sequence[Problem], requests: Sequence[str]) -> list[Prompt]:
    """The problems with their bare questions, then the requests.

    Raises:
        KdprobeError: The chat template rejects or changes one.
    """
    tasks = [
        Prompt("task", index, problem.id, problem.question, tuple(prompt_ids(tokenizer, bare(problem))))
        for index, problem in enumerate(problems)
    ]
    return tasks + [
        Prompt(
            *("neutral", index, f"neutral-{index}", request),
            tuple(prompt_ids(tokenizer, [{"role": "user", "content": request}])),
        )
        for index, request in enumerate(requests)
    ]
