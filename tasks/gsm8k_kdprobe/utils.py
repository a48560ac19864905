"""Data and scoring of the tasks `gsm8k_kdprobe*`, for `lm_eval run --include_path tasks` and for kdprobe itself."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import datasets
from lm_eval.api.task import ConfigurableTask

from kdprobe.host.registry import Host
from kdprobe.models.thinking import split_thinking, with_opening
from kdprobe.problems.correctness import judge
from kdprobe.problems.extractors import Extractor
from kdprobe.problems.gold import gold_text
from kdprobe.problems.sources.gsm8k import DATASET, FOLDER_VARIABLE
from kdprobe.problems.sources.jsonl import read

MAIN = "robust"
"""The extractor used for `exact_match`."""


class PromptedTask(ConfigurableTask):  # type: ignore[misc]  # lm-eval is untyped
    """A task that uses its prompts in scoring, because some prompts begin the model's thinking."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config={name: value for name, value in config.items() if name != "class"})

    def apply_filters(self) -> Any:
        """Prepends to each response the thinking mark at the end of its prompt, then filters as lm-eval does."""
        opened = []
        for instance in self._instances:
            written = [with_opening(str(instance.args[0]), response or "") for response in instance.resps]
            opened += [text for text, response in zip(written, instance.resps, strict=True) if text != response]
            instance.resps = written
        if opened and not any(split_thinking(text).closed for text in opened):
            logging.getLogger("lm_eval").warning(
                "The prompts begin the thinking and no response ends it, so there are no answers. Raise max_gen_toks; "
                "if think_end_token was given, omit it: kdprobe's tasks separate thinking from answers themselves."
            )
        return super().apply_filters()


def load(folder: str | None = None, **_metadata: Any) -> dict[str, datasets.Dataset]:
    """The problems in `folder`, else in the folder named by KDPROBE_GSM8K, else GSM8K from the Hub."""
    folder = folder or os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return datasets.load_dataset(DATASET, "main")
    return {part: _from_file(Path(folder) / f"{part}.jsonl") for part in ("train", "test")}


def all_responses(responses: list[list[str | None]], _docs: list[dict[str, Any]]) -> list[list[str | None]]:
    """The tasks' filter: keeps every response to a problem, while lm-eval's default keeps only the first."""
    return responses


def process_results(doc: dict[str, Any], results: list[Any]) -> dict[str, float]:
    """Scores the responses to one problem under every extractor that kdprobe finds.

    Args:
        doc: The problem.
        results: The filtered responses: a response, or a list of them if lm-eval's `repeats` is above 1. An API may
            send no text for one.

    Returns:
        `exact_match`, `exact_match_NAME` for every other extractor, `no_answer`, `thinking` for responses with
        thinking, and `unclosed_thinking` for responses that never end it. Each is the mean over the responses to the
        problem, so that every problem has equal weight. Numbers only, because lm-eval aggregates all returned values.
    """
    responses = list(_texts(results)) or [""]
    gold = gold_text(doc["answer"])
    judged = [judge(response, gold) for response in responses]
    written = [split_thinking(response) for response in responses]
    return {
        "exact_match": fmean(answer.right for answer in judged),
        **{
            f"exact_match_{name}": fmean(_score(other, response, gold) for response in responses)
            for name, other in _others().items()
        },
        "no_answer": fmean(not answer.found for answer in judged),
        "thinking": fmean(response.thinking is not None for response in written),
        "unclosed_thinking": fmean(not response.closed for response in written),
    }


def _texts(results: Any) -> Iterator[str]:
    """All responses, however filters nest them."""
    if isinstance(results, list | tuple):
        for result in results:
            yield from _texts(result)
    else:
        yield results or ""


def _score(extractor: Extractor, response: str, gold: str) -> float:
    """1 if it is correct, else 0; NaN if the extractor fails, so that its mean is NaN too."""
    try:
        return float(judge(response, gold, extractor).right)
    except Exception:  # noqa: BLE001 - generation took hours: a plugin's bug must not cost the other scores
        return math.nan


@cache
def _others() -> dict[str, Extractor]:
    """The other built-in extractors and those of plugins; one that cannot be built is skipped with a warning."""
    host = Host()
    built = {}
    for name in host.names("extractors"):
        if name == MAIN:
            continue
        try:
            built[name] = host.create("extractors", name)
        except Exception as error:  # noqa: BLE001 - as above
            logging.getLogger("lm_eval").warning("kdprobe's extractor %r is skipped: %s", name, error)
    return built


def _from_file(file: Path) -> datasets.Dataset:
    return datasets.Dataset.from_list(
        [{"question": problem.question, "answer": problem.solution} for problem in read(file)]
    )
