"""Tells a rejected prompt, of which only the answer is lost, from other refusals; refuses what no server can give.

The patterns match the messages of OpenAI, Azure, vLLM, SGLang, llama.cpp, TGI, Mistral, Gemini and Anthropic.
"""

from __future__ import annotations

import re

from kdprobe import KdprobeError
from kdprobe.teachers import PROMPT_TOO_LONG, Sampling

CONTENT_FILTER = "content_filter"
_TOO_LONG = re.compile(
    r"context[ _-]?(?:length|size|window)|maximum context|maximum model length|prompt is too long|input is too long"
    r"|too many (?:input )?tokens|reduce the length|maximum number of tokens|`?inputs`? (?:tokens|must have less)"
    r"|(?:prompt|input)\b.{0,60}\b(?:longer than|exceeds?|too large for model)|string_above_max_length",
    re.IGNORECASE,
)
_FILTERED = re.compile(
    r"content[ _-]?(?:filter|policy|management)|data_?inspection_?failed|moderation|usage polic|safety (?:system|polic)"
    r"|flagged",
    re.IGNORECASE,
)
_NOT = (
    r"(?:not (?:\w+ )?(?:support|available|allowed|permitted|implement)|unsupported|unknown|unrecogni[sz]ed|unexpected)"
)
_NO_LOG_PROBABILITIES = re.compile(rf"logprobs.{{0,80}}{_NOT}|{_NOT}.{{0,80}}logprobs", re.IGNORECASE)
_OF_ONE_PROMPT = frozenset({200, 400, 403, 413, 422, 500})
"""Statuses of rejected prompts; llama.cpp's server has sent 500, and 200 with an error."""


def refuses_log_probabilities(said: str) -> bool:
    """Whether a server says that it returns no log-probabilities at all, rather than that too many were requested."""
    return _NO_LOG_PROBABILITIES.search(said) is not None


def reason_of(status: int, said: str) -> str | None:
    """Returns why a prompt has no answer, as a finish reason; `None` if the refusal is not about this prompt.

    Args:
        status: The reply's status code.
        said: The reply's body.
    """
    if status not in _OF_ONE_PROMPT:
        return None
    if status == 413 or _TOO_LONG.search(said):  # noqa: PLR2004 - Content Too Large
        return PROMPT_TOO_LONG
    return CONTENT_FILTER if _FILTERED.search(said) else None


def refuse_temperatures(sampling: Sampling) -> None:
    """Refuses what a server cannot give.

    Raises:
        KdprobeError: A distillation temperature other than 1 is planned.
    """
    if other := [temperature for temperature in sampling.temperatures if temperature != 1]:
        raise KdprobeError(
            f"The teacher 'openai' cannot be used at temperature {other[0]:g}: a server returns only the "
            "top log-probabilities, at temperature 1; the mass of all other tokens cannot be computed from them "
            "for a different temperature.",
            "Set distill.options.temperature = 1, use the distiller 'sequence', or use the teacher 'transformers'.",
        )
