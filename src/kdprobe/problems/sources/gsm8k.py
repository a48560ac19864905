"""GSM8K from the Hugging Face Hub, or from a local folder with `train.jsonl` and `test.jsonl`.

Cobbe et al., "Training Verifiers to Solve Math Word Problems" (2021), arXiv 2110.14168.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from kdprobe.errors import KdprobeError, UsageError
from kdprobe.problems.problem import Problem, Split
from kdprobe.problems.sources import jsonl

DATASET = "openai/gsm8k"
FOLDER_VARIABLE = "KDPROBE_GSM8K"
_PARTS: dict[str, str] = {"transfer": "train", "test": "test"}


class Gsm8kOptions(BaseModel):
    """Options of the source `gsm8k`."""

    model_config = ConfigDict(extra="forbid")

    revision: str | None = Field(default=None, description="A commit of the data set on the Hub.")


def build(options: Gsm8kOptions) -> Callable[[Split], Iterator[Problem]]:
    """A source: transfer problems from the train part, test problems from the test part."""

    def problems(split: Split) -> Iterator[Problem]:
        if split not in _PARTS:
            raise UsageError(f"The problem source 'gsm8k' has no {split} split.", "Available: transfer and test.")
        part = _PARTS[split]
        folder = os.environ.get(FOLDER_VARIABLE)
        return jsonl.read(Path(folder) / f"{part}.jsonl") if folder else _from_hub(part, options.revision)

    return problems


def _from_hub(part: str, revision: str | None) -> Iterator[Problem]:
    from datasets import load_dataset

    try:
        rows = load_dataset(DATASET, "main", split=part, revision=revision)
    except Exception as error:
        # `datasets` raises errors from four libraries here; they all mean the same to the user.
        raise KdprobeError(
            f"GSM8K could not be loaded from the Hub ({type(error).__name__}).",
            f"Connect to the network once, or set {FOLDER_VARIABLE} to a folder with train.jsonl and test.jsonl.",
        ) from error
    for row_number, row in enumerate(rows, start=1):
        yield Problem.from_gsm8k(f"{part}-{row_number}", row)
