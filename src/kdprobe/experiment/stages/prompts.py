"""The prompts of a stage as token ids, stored next to the stage's results, and the form they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdprobe.errors import KdprobeError
from kdprobe.models.conversation import Messages, prompt_form, prompt_ids
from kdprobe.models.outline.batches import prompt_texts, texts_ids
from kdprobe.models.reference import ModelRecord
from kdprobe.problems.problem import Problem

PROMPTS = "prompts.parquet"
Tokens = Sequence[int] | NDArray[np.integer[Any]]


def write_prompts(
    folder: Path, tokenizer: Any, problems: Sequence[Problem], conversations: Mapping[str, Messages]
) -> str | None:
    """Writes the token ids of the prompt for every problem.

    Args:
        folder: The folder of the stage.
        tokenizer: The tokenizer of the model that reads the prompts.
        problems: The problems.
        conversations: Problem id mapped to the conversation.

    Returns:
        The form of the prompts, with `{question}` for the question, or `None` if they have several.
    """
    texts = prompt_texts(tokenizer, [conversations[problem.id] for problem in problems])
    ids = texts_ids(tokenizer, texts)
    write_prompt_ids(folder, {problem.id: tokens for problem, tokens in zip(problems, ids, strict=True)})
    forms = {prompt_form(text, problem.question) for problem, text in zip(problems, texts, strict=True)}
    return forms.pop() if len(forms) == 1 else None


def write_prompt_ids(folder: Path, prompts: Mapping[str, Tokens]) -> None:
    """Writes prompt token ids by problem id into a stage's folder."""
    import pandas as pd

    pd.DataFrame({"id": [*prompts], "token_ids": [*prompts.values()]}).to_parquet(folder / PROMPTS)


def read_prompt_ids(folder: Path) -> dict[str, list[int]]:
    """The prompt token ids in a stage's folder by problem id; empty if it has none."""
    import pyarrow.parquet as pq

    file = folder / PROMPTS
    rows = pq.read_table(file).to_pylist() if file.is_file() else []
    return {row["id"]: row["token_ids"] for row in rows}


def count_unlike_template(
    record: ModelRecord, prompts: Mapping[str, Tokens], conversations: Mapping[str, Messages]
) -> int:
    """Counts a server's prompts that differ from what a model's chat template renders for the same messages.

    Args:
        record: The model whose tokenizer decodes the server's answers, with the experiment's conversation settings.
        prompts: Problem id mapped to the token ids that the server reports having read.
        conversations: Problem id mapped to the messages sent.
    """
    from kdprobe.models.load import load_tokenizer

    try:
        tokenizer = load_tokenizer(record)
        return sum(list(ids) != prompt_ids(tokenizer, conversations[id_]) for id_, ids in prompts.items())
    except KdprobeError:
        # A template that rejects the messages renders no prompt that could match the server's.
        return len(prompts)
