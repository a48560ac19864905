"""Strategies that add an instruction to the question, in our own words.

| name | after |
| --- | --- |
| `step-back` | Zheng et al., "Take a Step Back" (2023), arXiv 2310.06117 |
| `plan-and-solve` | Wang et al., "Plan-and-Solve Prompting" (2023), arXiv 2305.04091 |
| `least-to-most` | Zhou et al., "Least-to-Most Prompting" (2022), arXiv 2205.10625 |
| `analogical` | Yasunaga et al., "Large Language Models as Analogical Reasoners" (2023), arXiv 2310.01714 |
| `self-verification` | Weng et al., "... Better Reasoners with Self-Verification" (2022), arXiv 2212.09561 |
| `answer-order` | Wei et al., "Chain-of-Thought Prompting" (2022), arXiv 2201.11903, section 3.3 |

If a paper queries a model several times (step-back, least-to-most, self-verification), the teacher is still queried
only once, so that a response is one text that a student can learn from.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from kdprobe import Problem, PromptPair, StrategySpec
from kdprobe.strategies import Strategy, bare


class Options(BaseModel):
    """Base of all options; unknown ones are rejected."""

    model_config = ConfigDict(extra="forbid")


class StepBackOptions(Options):
    """What the teacher names first."""

    name_first: str = Field(default="the general principle", min_length=1, description="What to name before solving.")


class PlanAndSolveOptions(Options):
    """The paper's two forms of the instruction."""

    variables: bool = Field(
        default=True, description="Also list the known quantities and calculate with care, as in the paper's PS+."
    )


class LeastToMostOptions(Options):
    """How finely a problem is decomposed."""

    most: int = Field(default=4, ge=2, description="Maximum number of smaller questions.")


class AnalogicalOptions(Options):
    """How many problems are recalled."""

    problems: int = Field(default=3, ge=1, description="Number of related problems to recall and solve.")


class SelfVerificationOptions(Options):
    """How the answer is checked."""

    method: Literal["backward", "recompute"] = Field(
        default="backward",
        description="backward: put the answer into the question and derive one of its numbers; recompute: solve it "
        "a second time in another way.",
    )


class AnswerOrderOptions(Options):
    """Where the answer is."""

    answer: Literal["first", "last"] = Field(description="Before the reasoning, or after it.")


def step_back(options: StepBackOptions) -> Strategy:
    """The principle before the solution."""
    return _before(
        f"Take a step back first: name {options.name_first} that problems like this one rest on, in a sentence. "
        "Then use it to solve the problem step by step."
    )


def plan_and_solve(options: PlanAndSolveOptions) -> Strategy:
    """A plan before the solution."""
    plan = "Make a plan that takes the problem apart into steps. Then carry the plan out, one step after the other."
    if not options.variables:
        return _after(f"Understand the problem first. {plan}")
    return _after(
        f"Understand the problem first, and list the quantities that it gives, with their values and units. {plan} "
        "Calculate each intermediate result carefully."
    )


def least_to_most(options: LeastToMostOptions) -> Strategy:
    """Smaller questions before the whole one, the easiest first."""
    return _after(
        f"Break this problem into at most {options.most} smaller questions, the easiest first, so that each can be "
        "answered with the answers before it. Answer them in that order; the last answer solves the whole problem."
    )


def analogical(options: AnalogicalOptions) -> Strategy:
    """Related problems, recalled by the teacher, before the question."""
    count = "one related problem" if options.problems == 1 else f"{options.problems} related problems"
    return _after(
        f"Before you solve it, recall {count}, different from this one and from each other, and solve each in short. "
        "Then solve the problem above step by step in the same manner."
    )


def self_verification(options: SelfVerificationOptions) -> Strategy:
    """A check after the solution."""
    check = {
        "backward": "put your answer into the problem as if it were given, and derive from it one of the numbers that "
        "the problem states; they must agree",
        "recompute": "solve it a second time in another way; both results must agree",
    }[options.method]
    return _after(
        f"Solve the problem step by step. Then verify the result: {check}. If they do not, find the mistake and "
        "correct it. End with the final answer."
    )


def answer_order(options: AnswerOrderOptions) -> Strategy:
    """The answer before the reasoning, or after it, to measure the effect of order alone."""
    return _after(
        {
            "first": "Give the final answer in the first line. Explain step by step below it how to get there.",
            "last": "Explain step by step how to get to the answer. Give the final answer in the last line.",
        }[options.answer]
    )


def specs() -> Iterator[StrategySpec]:
    """The strategies of this module."""
    yield StrategySpec(
        name="step-back", summary="The principle first, then the solution", build=step_back, options=StepBackOptions
    )
    yield StrategySpec(
        name="plan-and-solve", summary="A plan first, then its steps", build=plan_and_solve, options=PlanAndSolveOptions
    )
    yield StrategySpec(
        name="least-to-most",
        summary="Smaller questions, the easiest first",
        build=least_to_most,
        options=LeastToMostOptions,
    )
    yield StrategySpec(
        name="analogical", summary="Recalls related problems first", build=analogical, options=AnalogicalOptions
    )
    yield StrategySpec(
        name="self-verification",
        summary="Checks the answer against the problem",
        build=self_verification,
        options=SelfVerificationOptions,
    )
    yield StrategySpec(
        name="answer-order",
        summary="The answer first or last, to compare the two",
        build=answer_order,
        options=AnswerOrderOptions,
    )


def _before(instruction: str) -> Strategy:
    return lambda problem: _primed(problem, f"{instruction}\n\n{problem.question}")


def _after(instruction: str) -> Strategy:
    return lambda problem: _primed(problem, f"{problem.question}\n\n{instruction}")


def _primed(problem: Problem, content: str) -> PromptPair:
    return PromptPair(teacher=[{"role": "user", "content": content}], student=bare(problem))
