"""Strategies whose prompts do not contain the question."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from kdprobe.comparison.finding import Finding
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import PromptPair

_SHOWN = 3


def questions_left_out(
    conversations: Mapping[str, Mapping[str, PromptPair]], problems: Sequence[Problem]
) -> Iterator[Finding]:
    """Prompts in which the teacher does not read the question word for word.

    Args:
        conversations: Strategy to problem id to its two conversations.
        problems: The transfer problems.
    """
    for strategy, pairs in conversations.items():
        without = [problem.id for problem in problems if not _asks(pairs[problem.id], problem)]
        if without:
            more = f" and {len(without) - _SHOWN} more" if len(without) > _SHOWN else ""
            yield Finding(
                "question-left-out",
                f"Under the strategy {strategy!r}, the teacher's prompt lacks the exact question for {len(without)} of "
                f"{len(problems)} transfer problems: {', '.join(without[:_SHOWN])}{more}.",
                "Unless the strategy rephrases questions on purpose, put `problem.question` into the teacher's prompt.",
            )


def _asks(pair: PromptPair, problem: Problem) -> bool:
    return any(problem.question.strip() in message["content"] for message in pair.teacher)
