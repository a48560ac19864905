"""Writes the page of `kdprobe eval`: all answers, scores and, for several models, their paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kdprobe.comparison.arms import Arm
from kdprobe.comparison.compare import compare
from kdprobe.comparison.engine_words import engine_words
from kdprobe.evaluation.protocol import Protocol
from kdprobe.problems.extractors import Extractor
from kdprobe.report.compare_page import write_compare_page

PAGE = "eval.html"


def write_eval_page(
    folder: Path,
    arms: Sequence[Arm],
    extractors: Mapping[str, Extractor],
    chosen: str,
    *,
    model: str,
    source: str,
    protocol: Protocol,
    baseline: str | None,
) -> Path:
    """Writes the page.

    Args:
        folder: The folder to write to.
        arms: The answers of every model.
        extractors: Extractors by name, including the chosen one.
        chosen: The extractor that decides.
        model: The model, as it was named.
        source: Where the problems are from.
        protocol: The settings of the evaluation.
        baseline: The model that all others are compared with, or `None` for all pairs.

    Returns:
        The file.

    Raises:
        KdprobeError: It cannot be written.
    """
    engines = dict.fromkeys(engine_words(arm.outputs.conditions) for arm in arms)
    facts = [("Model", model), ("Problem source", source), ("Decoding", _decoding(protocol))]
    facts += [("Engine", words) for words in engines if words]
    comparison = compare(arms, extractors, chosen, baseline)
    return write_compare_page(folder / PAGE, arms, comparison, extractors[chosen], facts=facts)


def _decoding(protocol: Protocol) -> str:
    several = f"{protocol.samples} samples per problem, " if protocol.samples > 1 else ""
    sampled = f"{several}temperature {protocol.temperature:g}, top-p {protocol.top_p:g}, seed {protocol.seed}"
    return f"{sampled if protocol.temperature > 0 else 'greedy'}, at most {protocol.max_new_tokens} tokens"
