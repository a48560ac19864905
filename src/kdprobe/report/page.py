"""Writes a run's page: one HTML file that needs no network.

Model text reaches the page only through jinja's escaping; figures are JSON in which no `<` can close the script.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kdprobe.comparison.result import Comparison
from kdprobe.distill.targets import adapters_sentence
from kdprobe.experiment.results import Results
from kdprobe.report.figures import accuracy_figure, loss_figure, retained_figure
from kdprobe.report.templates import plotlyjs, safe_names, script_json, template

PAGE = "report.html"
EXAMPLES = 8


def write_page(results: Results, comparison: Comparison) -> Path:
    """Renders the page into the run's folder.

    Returns:
        The file.
    """
    page = results.folder / PAGE
    partial = page.with_suffix(".partial")
    partial.write_text(render(results, comparison), encoding="utf-8")
    partial.replace(page)
    return page


def render(results: Results, comparison: Comparison) -> str:
    """The page as text."""
    figures: list[dict[str, Any]] = []

    def add(figure: dict[str, Any]) -> int:
        figures.append(safe_names(figure))
        return len(figures) - 1

    return template("page.html.jinja").render(
        results=results,
        comparison=comparison,
        thinking=any(score.thinking for score in comparison.arms),
        taught=any(arm.strategy for arm in results.arms),
        trained=any(arm.training for arm in results.arms),
        accuracy=add(accuracy_figure(comparison)),
        losses=add(loss_figure(results.arms)),
        analyses=[
            (analysis, [(figure, add(figure["plotly"])) for figure in analysis.figures])
            for analysis in results.analyses
        ],
        fidelity=results.fidelity,
        adapters_sentence=adapters_sentence,
        retained=add(retained_figure(results.fidelity)),
        examples=_examples(results),
        figures=lambda: script_json(figures),
        plotlyjs=plotlyjs(),
    )


def _examples(results: Results) -> list[dict[str, Any]]:
    """Problems with every arm's answer, those on which the arms disagree first."""
    problems = results.record["problems"]["test"]
    rows = []
    for index, problem in enumerate(problems):
        answers = [(arm.name, arm.records[index]) for arm in results.arms if arm.records]
        split = len({record["correct"] for _, record in answers})
        rows.append((split == 1, index, {"problem": problem, "answers": answers}))
    return [row for _, _, row in sorted(rows, key=lambda row: row[:2])[:EXAMPLES]]
