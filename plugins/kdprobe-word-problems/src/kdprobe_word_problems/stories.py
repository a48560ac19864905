"""Stories generated offline: somebody has some things, and a few events change how many.

Every story has the requested number of steps, a worked solution, and optionally sentences with irrelevant numbers
(Shi et al., "Large Language Models Can Be Easily Distracted by Irrelevant Context" (2023), arXiv 2302.00093). The group
of a problem is the sequence of its operations, so overlap and clustering are judged per kind of calculation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from kdprobe import KdprobeError, Problem
from kdprobe.problems import Split, normalised
from kdprobe_word_problems.splits import split_of

NAMES = ("Ann", "Ben", "Carla", "David", "Ella", "Farid", "Grace", "Hugo", "Ines", "Jon", "Kira", "Liam")
THINGS = ("apples", "beads", "books", "cards", "coins", "marbles", "pens", "shells", "stamps", "stickers")
OTHERS = ("balloons", "bottles", "candles", "hats", "keys", "mugs", "spoons", "tickets")
_LARGEST_FACTOR = 4
_MOST_MISSES = 2_000


class StoriesOptions(BaseModel):
    """Length of the stories and size of their numbers."""

    model_config = ConfigDict(extra="forbid")

    steps: int = Field(default=2, ge=1, le=8, description="Number of calculations in a story.")
    largest: int = Field(default=100, ge=10, description="Largest number in a story or its solution.")
    distractors: int = Field(default=0, ge=0, le=3, description="Sentences with irrelevant numbers.")
    seed: int = Field(default=0, description="Seed of the random numbers.")


class Cast(NamedTuple):
    """Who has something, who else is there, and what is counted."""

    name: str
    friend: str
    things: str


@dataclass(frozen=True)
class Event:
    """An event: the operation, its number, and the sentence that describes it."""

    operation: str
    sign: str
    number: int
    sentence: str

    def apply(self, count: int) -> int:
        """Returns how many there are afterwards."""
        return {
            "+": count + self.number,
            "-": count - self.number,
            "*": count * self.number,
            "/": count // self.number,
        }[self.sign]


def build(options: StoriesOptions) -> Callable[[Split], Iterator[Problem]]:
    """Returns a source that yields stories until it finds no new ones."""

    def problems(split: Split) -> Iterator[Problem]:
        random = Random(f"{options.seed}/{split}")  # noqa: S311 - not for secrets
        seen: set[str] = set()
        misses = 0
        while misses < _MOST_MISSES:
            problem = _story(random, options, f"story-{split}-{len(seen) + 1}")
            question = normalised(problem.question)
            if question in seen or split_of(question) != split:
                misses += 1
                continue
            seen.add(question)
            misses = 0
            yield problem
        raise KdprobeError(
            f"These options allow too few stories for the {split} split: {len(seen)}.",
            "Request fewer problems, or raise the option `steps` or `largest`.",
        )

    return problems


def _story(random: Random, options: StoriesOptions, id_: str) -> Problem:
    name, friend = random.sample(NAMES, 2)
    things = random.choice(THINGS)
    cast = Cast(name, friend, things)
    count = random.randint(2, options.largest // 2)
    sentences, lines, operations = [f"{name} has {count} {things}."], [], []
    for _ in range(options.steps):
        event = random.choice(_events(random, cast, count, options.largest))
        after = event.apply(count)
        sentences.append(event.sentence)
        lines.append(f"{count} {event.sign} {event.number} = {after} {things}.")
        operations.append(event.operation)
        count = after
    for _ in range(options.distractors):
        sentence = (
            f"{random.choice([name, friend])} also has {random.randint(2, options.largest)} {random.choice(OTHERS)}."
        )
        sentences.insert(random.randint(1, len(sentences)), sentence)
    question = f"{' '.join(sentences)} How many {things} does {name} have now?"
    solution = "\n".join([*lines, f"#### {count}"])
    return Problem(id_, question, solution, str(count), group="-".join(operations))


def _events(random: Random, cast: Cast, count: int, largest: int) -> list[Event]:
    """Returns one event of every possible kind; there is always at least one."""
    name, friend, things = cast
    events = []
    if count < largest:
        more = random.randint(1, min(largest - count, largest // 2))
        events.append(Event("add", "+", more, f"Then {friend} gives {name} {more} more {things}."))
    if count > 1:
        fewer = random.randint(1, count - 1)
        events.append(Event("subtract", "-", fewer, f"Then {name} loses {fewer} of them."))
    times = random.randint(2, _LARGEST_FACTOR)
    if count * times <= largest:
        events.append(Event("multiply", "*", times, f"A week later {name} has {times} times as many {things}."))
    if divisors := [d for d in range(2, _LARGEST_FACTOR + 1) if count % d == 0 and count > d]:
        among = random.choice(divisors)
        sentence = f"Then {name} splits the {things} into {among} equal parts and keeps one part."
        events.append(Event("divide", "/", among, sentence))
    return events
