"""Checks that the prompts of an evaluation are, token for token, those that students were trained on.

lm-eval renders and tokenises prompts in its own way. If that differs from training (another system message, a doubled
first token, different white space), the score would measure the change in prompt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from kdprobe.errors import KdprobeError
from kdprobe.models.conversation import prompt_ids
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import bare


class PromptCheck:
    """Checks prompts against those of training.

    Args:
        tokenizer: The student's tokenizer.
        problems: The problems.
    """

    def __init__(self, tokenizer: Any, problems: Sequence[Problem]) -> None:
        self._expected = {problem.id: prompt_digest(prompt_ids(tokenizer, bare(problem))) for problem in problems}
        self._digests = frozenset(self._expected.values())

    def before_batch(self, prompts: Sequence[Sequence[int]]) -> None:
        """Checks the token ids of prompts before they are answered.

        Raises:
            KdprobeError: A prompt is not the conversation of any problem.
        """
        if any(prompt_digest(ids) not in self._digests for ids in prompts):
            raise _refusal("a problem")

    def of_record(self, problem: Problem, digest: str) -> None:
        """Checks that an answer belongs to its problem's prompt.

        Raises:
            KdprobeError: It belongs to a different prompt.
        """
        if digest != self._expected[problem.id]:
            raise _refusal(f"problem {problem.id!r}")


def prompt_digest(ids: Sequence[int]) -> str:
    """Digest of a prompt's token ids."""
    return hashlib.sha256(repr(list(ids)).encode()).hexdigest()[:16]


def _refusal(which: str) -> KdprobeError:
    return KdprobeError(
        f"lm-eval's prompt for {which} differs from the conversation that students are trained on.",
        "The score would measure the change in prompt; fix the task or the chat template.",
    )
