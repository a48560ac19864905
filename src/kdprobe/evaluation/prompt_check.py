"""The check of prompts before an evaluation: a student is asked what it was trained on, token by token.

lm-eval renders and tokenises prompts in its own way. Where that differs from the conversation of training (another
system message, a doubled first token, other white space), a score would measure the change of prompt.
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
    """What every prompt must be.

    Args:
        tokenizer: Of the student.
        problems: What it is asked.
    """

    def __init__(self, tokenizer: Any, problems: Sequence[Problem]) -> None:
        self._expected = {problem.id: prompt_digest(prompt_ids(tokenizer, bare(problem))) for problem in problems}
        self._digests = frozenset(self._expected.values())

    def before_batch(self, prompts: Sequence[Sequence[int]]) -> None:
        """Checks the token ids of prompts that are about to be answered.

        Raises:
            KdprobeError: One is not the conversation of any problem.
        """
        if any(prompt_digest(ids) not in self._digests for ids in prompts):
            raise _refusal("a problem")

    def of_record(self, problem: Problem, digest: str) -> None:
        """Checks that an answer was given to its own problem's prompt.

        Raises:
            KdprobeError: It was given to another prompt.
        """
        if digest != self._expected[problem.id]:
            raise _refusal(f"problem {problem.id!r}")


def prompt_digest(ids: Sequence[int]) -> str:
    """Digest of a prompt's token ids."""
    return hashlib.sha256(repr(list(ids)).encode()).hexdigest()[:16]


def _refusal(which: str) -> KdprobeError:
    return KdprobeError(
        f"lm-eval's prompt for {which} is not the conversation that students are trained on.",
        "A score would measure the change of prompt; this is a fault of the task or of the chat template.",
    )
