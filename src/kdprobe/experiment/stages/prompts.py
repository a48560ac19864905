"""The prompts of a stage as token ids: written beside what was made of them, and the form that they all have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdprobe.errors import KdprobeError
from kdprobe.models.conversation import Messages, prompt_form, prompt_ids, prompt_text, text_ids
from kdprobe.models.reference import ModelRecord
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
    texts = {problem.id: prompt_text(tokenizer, conversations[problem.id]) for problem in problems}
    write_prompt_ids(folder, {id_: text_ids(tokenizer, text) for id_, text in texts.items()})
    forms = {prompt_form(texts[problem.id], problem.question) for problem in problems}
    return forms.pop() if len(forms) == 1 else None


def write_prompt_ids(folder: Path, prompts: Mapping[str, Sequence[int]]) -> None:
    """Writes token ids, problem id to what was read, into a stage's folder."""
    import pandas as pd

    rows = [{"id": id_, "token_ids": list(ids)} for id_, ids in prompts.items()]
    pd.DataFrame(rows).to_parquet(folder / PROMPTS)


def count_unlike_template(
    record: ModelRecord, prompts: Mapping[str, Sequence[int]], conversations: Mapping[str, Messages]
) -> int:
    """How many prompts of a server are not what a model's chat template makes of the same messages.

    Args:
        record: The model whose tokenizer reads the server's answers, told the experiment's conversation.
        prompts: Problem id to the token ids that the server says it read.
        conversations: Problem id to the messages that it was sent.
    """
    from kdprobe.models.load import load_tokenizer

    try:
        tokenizer = load_tokenizer(record)
        return sum(list(ids) != prompt_ids(tokenizer, conversations[id_]) for id_, ids in prompts.items())
    except KdprobeError:
        # A template that refuses the messages makes no prompt that is like the server's.
        return len(prompts)
