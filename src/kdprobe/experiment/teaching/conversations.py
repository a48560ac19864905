"""What a run records of its strategies' conversations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kdprobe.comparison.leaks.quotes import Reading, priming_passages
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import Message, PromptPair, bare


def recorded_conversations(
    conversations: Mapping[str, Mapping[str, PromptPair]], problems: Sequence[Problem]
) -> dict[str, dict[str, Any]]:
    """For each strategy, the first problem's conversations, whether students read the bare question, and the priming.

    Args:
        conversations: Conversations by strategy and problem id.
        problems: The transfer problems.
    """
    return {
        strategy: {
            "teacher": first.teacher,
            "student": first.student,
            "bare": all(pairs[problem.id].student == bare(problem) for problem in problems),
            "priming": priming_passages(
                reading(pairs[problem.id].teacher, pairs[problem.id].student, problem) for problem in problems
            ),
        }
        for strategy, pairs in conversations.items()
        for first in [next(iter(pairs.values()))]
    }


def reading(teacher: Sequence[Message], student: Sequence[Message], problem: Problem) -> Reading:
    """What a teacher and its student read of a problem; the gold solution is known to both."""
    known = [*(message["content"] for message in student), problem.question, problem.solution]
    return Reading([message["content"] for message in teacher], known)
