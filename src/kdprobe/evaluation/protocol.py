"""Everything that decides a score besides the student, the same for all arms."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

TASK = "gsm8k_kdprobe"
COMPLETION_TASK = "gsm8k_kdprobe_completion"


@dataclass(frozen=True)
class Protocol:
    """How every student is examined.

    Attributes:
        max_new_tokens: Token budget of a response.
        temperature: Of the sampling; 0 decodes greedily.
        top_p: Nucleus of the sampling.
        seed: Of the sampling.
        batch_size: Problems decoded at once.
        dtype: Data type of the student's weights.
    """

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    batch_size: int = 32
    dtype: str = "auto"

    def generation_arguments(self) -> dict[str, Any]:
        """The arguments that lm-eval takes over the task's own."""
        sampled = {"temperature": self.temperature, "top_p": self.top_p} if self.temperature > 0 else {}
        return {"max_gen_toks": self.max_new_tokens, "do_sample": self.temperature > 0, **sampled}

    def as_row(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return asdict(self)
