"""The prompts of a stage as token ids, stored next to the stage's results, and the form they share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from kdprobe.errors import KdprobeError
from kdprobe.models.conversation import Messages, prompt_form, prompt_ids
from kdprobe.models.outline.batches import prompt_texts, texts_ids
from kdprobe.models.reference import ModelRecord
from kdprobe.problems.problem import Problem

PROMPTS = "prompts.parquet"
_AT_ONCE = 512
"""Prompts in memory: Python's lists of numbers are large."""
Item = TypeVar("Item")
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
    forms: set[str] = set()

    def prompts() -> Iterator[tuple[str, Tokens]]:
        for some in _chunks(problems):
            texts = prompt_texts(tokenizer, [conversations[problem.id] for problem in some])
            forms.update(prompt_form(text, problem.question) for problem, text in zip(some, texts, strict=True))
            ids = texts_ids(tokenizer, texts)
            yield from ((problem.id, tokens) for problem, tokens in zip(some, ids, strict=True))

    write_prompt_ids(folder, prompts())
    return forms.pop() if len(forms) == 1 else None


def write_prompt_ids(folder: Path, prompts: Iterable[tuple[str, Tokens]]) -> None:
    """Writes pairs of problem id and prompt token ids into a stage's folder, without holding all of them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema({"id": pa.string(), "token_ids": pa.list_(pa.int64())})
    with pq.ParquetWriter(folder / PROMPTS, schema) as writer:
        for some in _chunks(prompts):
            writer.write_table(pa.table([[id_ for id_, _ in some], [ids for _, ids in some]], schema=schema))


def read_prompt_ids(folder: Path) -> Iterator[tuple[str, list[int]]]:
    """Pairs of problem id and prompt token ids in a stage's folder; none if it has no prompts."""
    import pyarrow.parquet as pq

    file = folder / PROMPTS
    if file.is_file():
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(_AT_ONCE):
                yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _chunks(values: Iterable[Item]) -> Iterator[list[Item]]:
    remaining = iter(values)
    return iter(lambda: list(islice(remaining, _AT_ONCE)), [])


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
