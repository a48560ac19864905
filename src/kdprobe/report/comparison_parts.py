"""What the page of a run and the page of a comparison have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kdprobe.comparison.result import Comparison
from kdprobe.comparison.samples.at_k import at_k_measures
from kdprobe.report.deciding import deciding_problems
from kdprobe.report.facts import concerned, one_seed, scope, several_told
from kdprobe.report.headline import Headline


def comparison_parts(
    comparison: Comparison,
    headline: Headline,
    payload: Mapping[str, Any],
    *,
    facts: Sequence[tuple[str, str]],
    cautions: Sequence[str],
    reach: Sequence[str] = (),
) -> dict[str, Any]:
    """The arguments for the templates of the first screen and of the comparison.

    Args:
        comparison: The result of the comparison.
        headline: The result in one sentence.
        payload: The data for the page's script.
        facts: What was compared, as names and values.
        cautions: Sentences that are shown above everything else.
        reach: How far the results reach, as sentences, beyond what the comparison says.
    """
    return {
        "headline": headline,
        "cautions": cautions,
        "deciding": deciding_problems(payload["answers"], payload["arms"], headline.sides),
        "scope": scope(comparison, reach),
        "one_seed": one_seed(comparison),
        "concerned": concerned(comparison, headline),
        "facts": facts,
        "comparison": comparison,
        "scores": "Who beats whom" if len(comparison.arms) > 1 else "Accuracy",
        "several": several_told(comparison),
        "at_k_measures": at_k_measures(score.at_k for score in comparison.arms),
        "thinking": any(score.thinking for score in comparison.arms),
    }
