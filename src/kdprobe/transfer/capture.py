"""Asking a teacher every problem under one strategy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import PromptPair
from kdprobe.teachers.teacher import Request, Sampling, Teacher, checked
from kdprobe.transfer.transfer_set import TransferSet


def capture(
    teacher: Teacher,
    problems: Sequence[Problem],
    conversations: Mapping[str, PromptPair],
    sampling: Sampling,
    manifest: dict[str, Any],
) -> TransferSet:
    """Asks the teacher every problem as the strategy puts it.

    Args:
        teacher: Who answers.
        problems: What is asked, in the order that the transfer set keeps.
        conversations: Problem id to what the strategy made of it.
        sampling: How to decode and what to keep.
        manifest: What else the manifest should say (strategy, tokenizer, versions).
    """
    requests = [Request(problem.id, conversations[problem.id].teacher) for problem in problems]
    responses = {response.id: response for response in checked(requests, teacher.respond(requests, sampling))}
    return TransferSet(
        responses=tuple(responses[problem.id] for problem in problems),
        manifest={**manifest, "teacher": teacher.provenance, "sampling": asdict(sampling)},
    )
