"""What every page of a comparison shows, whether a run made it or files of answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kdprobe.comparison.arms import Arm
from kdprobe.comparison.result import Comparison
from kdprobe.console.streams import visible
from kdprobe.problems.extractors import Extractor
from kdprobe.report.headline import Headline
from kdprobe.report.payload.answers import Solutions, shown_answers
from kdprobe.report.payload.arms import shown_arms
from kdprobe.report.payload.pairs import baselines, shown_accuracies
from kdprobe.report.reproduce import summary


def compared(
    name: str,
    arms: Sequence[Arm],
    comparison: Comparison,
    extractor: Extractor,
    *,
    headline: Headline,
    facts: Sequence[tuple[str, str]],
    solutions: Solutions,
    cautions: Sequence[str] = (),
) -> dict[str, Any]:
    """The data of a comparison; `Payload` in `frontend/src/payload.ts` says what all of it is.

    Args:
        name: The name of files that are saved from the page.
        arms: The arms that were compared, including those without answers.
        comparison: The result of the comparison.
        extractor: The extractor that decided.
        headline: The result in one sentence.
        facts: What was compared, as names and values.
        solutions: The gold solutions that are known.
        cautions: Sentences that must accompany the results everywhere.
    """
    return {
        "name": name,
        "arms": shown_arms(arms),
        "answers": shown_answers(arms, extractor, solutions),
        "accuracies": shown_accuracies(comparison),
        "baselines": baselines(comparison),
        "pair": headline.pair and [visible(name) for name in headline.pair],
        "figures": [],
        "heads": [],
        "attention": None,
        "teaching": None,
        "config": "",
        "summary": summary(headline, comparison, facts, cautions),
    }
