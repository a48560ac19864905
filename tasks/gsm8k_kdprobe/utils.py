"""Data and scoring of the task `gsm8k_kdprobe`, for `lm_eval run --include_path tasks` and for kdprobe itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import datasets

from kdprobe.problems.answers import extract, matches
from kdprobe.problems.sources.gsm8k import DATASET, FOLDER_VARIABLE
from kdprobe.problems.sources.jsonl import read


def load(folder: str | None = None, **_metadata: Any) -> dict[str, datasets.Dataset]:
    """The problems of `folder`, else of the folder that KDPROBE_GSM8K names, else GSM8K from the Hub."""
    folder = folder or os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return datasets.load_dataset(DATASET, "main")
    return {part: _from_file(Path(folder) / f"{part}.jsonl") for part in ("train", "test")}


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Scores one response; numbers only, because lm-eval aggregates whatever this returns."""
    extraction = extract(results[0])
    gold = doc["answer"].rsplit("####", 1)[1].strip()
    return {
        "exact_match": float(matches(extraction, gold)),
        "no_answer": float(extraction.value is None),
    }


def _from_file(file: Path) -> datasets.Dataset:
    return datasets.Dataset.from_list(
        [{"question": problem.question, "answer": problem.solution} for problem in read(file)]
    )
