"""The built-in strategies: the paper's four in our own words, and one for the user's own text.

Response priming (Goyal et al., 2024, arXiv 2412.17846): a sentence or two before the question changes how the
teacher answers; the student is trained and tested on the bare question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from kdprobe.host.hookspecs import hookimpl
from kdprobe.host.specs import StrategySpec
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import PromptPair, Strategy, bare

TEACHER = (
    "You are a patient teacher, and your reader meets this kind of problem for the first time. "
    "Explain each step in clear and simple words."
)
GROUND_TRUTH = (
    "You are a strong model whose answers smaller models are trained on as their ground truth. "
    "Answer in such detail that a smaller model can follow every step and learn from it."
)
CONFIDENCE = "When you have solved the problem, briefly check your answer once more at the end."


class TemplateOptions(BaseModel):
    """Options of the `template` strategy."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(description="The teacher's prompt; `{question}` is replaced by the question.")
    system: str | None = Field(default=None, description="A system message before the prompt.")

    @field_validator("text")
    @classmethod
    def _has_question(cls, text: str) -> str:
        if "{question}" not in text:
            raise ValueError("must contain {question}, which is replaced by the question")
        return text


def _bare(_options: None) -> Strategy:
    return lambda problem: PromptPair(teacher=bare(problem), student=bare(problem))


def _primed(priming: str) -> Callable[[Any], Strategy]:
    return lambda _options: _template(TemplateOptions(text=f"{priming}\n\n{{question}}"))


def _template(options: TemplateOptions) -> Strategy:
    def render(problem: Problem) -> PromptPair:
        # `replace`, not `format`, because a question or a template may contain braces.
        content = options.text.replace("{question}", problem.question)
        system = [{"role": "system", "content": options.system}] if options.system else []
        return PromptPair(teacher=[*system, {"role": "user", "content": content}], student=bare(problem))

    return render


@hookimpl
def kdprobe_strategies() -> Iterator[StrategySpec]:
    """The strategies `none`, `teacher`, `ground-truth`, `confidence` and `template`."""
    yield StrategySpec(name="none", summary="The bare question, unprimed", build=_bare)
    yield StrategySpec(name="teacher", summary="Told to teach a newcomer, clearly and simply", build=_primed(TEACHER))
    yield StrategySpec(
        name="ground-truth",
        summary="Told that smaller models learn from its answers as ground truth",
        build=_primed(GROUND_TRUTH),
    )
    yield StrategySpec(
        name="confidence", summary="Told to double-check its answer at the end", build=_primed(CONFIDENCE)
    )
    yield StrategySpec(
        name="template", summary="Your own text around {question}", build=_template, options=TemplateOptions
    )
