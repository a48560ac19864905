"""The prompts of a stage as token ids: written beside what was made of them, and the form that they all have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdprobe.models.conversation import Messages, prompt_form, prompt_text, text_ids
from kdprobe.problems.problem import Problem

PROMPTS = "prompts.parquet"


def write_prompts(
    folder: Path, tokenizer: Any, problems: Sequence[Problem], conversations: Mapping[str, Messages]
) -> str | None:
    """Writes the token ids of what was read of every problem.

    Args:
        folder: The stage's.
        tokenizer: Of the model that reads.
        problems: The problems.
        conversations: Problem id to what is read.

    Returns:
        The form of the prompts, with `{question}` for the question, or `None` where they have several.
    """
    import pandas as pd

    texts = {problem.id: prompt_text(tokenizer, conversations[problem.id]) for problem in problems}
    rows = [{"id": id_, "token_ids": text_ids(tokenizer, text)} for id_, text in texts.items()]
    pd.DataFrame(rows).to_parquet(folder / PROMPTS)
    forms = {prompt_form(texts[problem.id], problem.question) for problem in problems}
    return forms.pop() if len(forms) == 1 else None
