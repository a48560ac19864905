"""Analyses that read so few problems that their intervals and tests over problems mean little."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdprobe.comparison.finding import Finding
from kdprobe.host.registry import Host
from kdprobe.host.specs import AnalysisSpec
from kdprobe.stats.least import FEWEST_PROBLEMS, smallest_p
from kdprobe.words import counted


def few_problems(host: Host, analyses: Mapping[str, dict[str, Any]], problems: int) -> list[Finding]:
    """Says which analyses read fewer problems than a 95% interval or a test at 5% needs.

    Args:
        host: The plugins.
        analyses: The options of each analysis, by its name.
        problems: Number of problems that there are; an analysis may read fewer of them.
    """
    read = {
        name: min(problems, getattr(host.options("analyses", name, options), "problems", problems))
        for name, options in analyses.items()
        if isinstance(spec := host.get("analyses", name).spec, AnalysisSpec) and spec.samples_problems
    }
    few = {name: count for name, count in read.items() if count < FEWEST_PROBLEMS}
    if not few:
        return []
    fewest = min(few.values())
    listed = ", ".join(f"{name} ({counted(count, 'problem')})" for name, count in few.items())
    least = smallest_p(fewest)
    meaning = (
        "With one problem there are no intervals and no tests"
        if fewest == 1
        else f"With {fewest} problems, intervals are wide and assume that values are normally distributed over "
        f"problems, and no head can count as moved, because p cannot be below {least:.2g}"
    )
    return [
        Finding(
            "few-probed-problems",
            f"Some analyses use very few problems: {listed}. {meaning}.",
            f"Use at least {FEWEST_PROBLEMS} problems, and more for narrow intervals: raise `limit` (for `kdprobe "
            "run`, raise probe.problems and problems.test instead) or the analysis's option `problems`; for patterns "
            "from files, save more prompts per file.",
        )
    ]
