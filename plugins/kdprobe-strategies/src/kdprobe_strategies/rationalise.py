"""`rationalise`: the teacher gets the gold answer and writes the reasoning that leads to it.

After Zelikman et al., "STaR: Bootstrapping Reasoning With Reasoning" (2022), arXiv 2203.14465, section 3.2. There a
model rationalises what it failed to solve; here the teacher does so for every problem. Only the teacher sees the
answer: the student reads the bare question, in training and testing.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from kdprobe import Problem, PromptPair, StrategySpec
from kdprobe.strategies import Strategy, bare


class RationaliseOptions(BaseModel):
    """What the teacher is shown."""

    model_config = ConfigDict(extra="forbid")

    show: Literal["value", "solution"] = Field(
        default="value", description="Only the gold value, or the worked gold solution."
    )
    secret: bool = Field(
        default=True,
        description="Tell the teacher not to mention that it was given the answer, since students are not.",
    )


def build(options: RationaliseOptions) -> Strategy:
    """Returns the strategy, which reads a problem's gold answer."""
    secret = (
        " Write as if you had found the result yourself, and do not mention that it was given."
        if options.secret
        else ""
    )

    def render(problem: Problem) -> PromptPair:
        given = problem.value if options.show == "value" else f"\n\n{problem.plain_solution}"
        content = (
            f"{problem.question}\n\nThe correct answer is known: {given}\n\n"
            f"Explain step by step, in your own words, how to get there from the question.{secret}"
        )
        return PromptPair(teacher=[{"role": "user", "content": content}], student=bare(problem))

    return render


def spec() -> StrategySpec:
    """`rationalise`."""
    return StrategySpec(
        name="rationalise",
        summary="Explains the gold answer, which only the teacher sees",
        build=build,
        options=RationaliseOptions,
    )
