"""Writes a run's page: one HTML file that needs no network.

Model text reaches the page through jinja's escaping only; figures travel as JSON whose `<` cannot close the script.
"""

from __future__ import annotations

import html
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from plotly.offline import get_plotlyjs

from kdprobe.console import visible
from kdprobe.evaluation.comparison import Comparison
from kdprobe.evaluation.verdict import p_text
from kdprobe.experiment.results import Results
from kdprobe.experiment.store import clean
from kdprobe.report.figures import accuracy_figure, loss_figure, retained_figure

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
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"p": p_text, "visible": visible}
    template = environment.from_string(files("kdprobe.report").joinpath("page.html.jinja").read_text(encoding="utf-8"))
    figures: list[dict[str, Any]] = []

    def place(figure: dict[str, Any]) -> int:
        figures.append(_safe_names(figure))
        return len(figures) - 1

    return template.render(
        results=results,
        comparison=comparison,
        taught=any(arm.strategy for arm in results.arms),
        trained=any(arm.training for arm in results.arms),
        accuracy=place(accuracy_figure(comparison)),
        losses=place(loss_figure(results.arms)),
        analyses=[
            (analysis, [(figure, place(figure["plotly"])) for figure in analysis.figures])
            for analysis in results.analyses
        ],
        fidelity=results.fidelity,
        retained=place(retained_figure(results.fidelity)),
        examples=_examples(results),
        figures=lambda: _script_json(figures),
        plotlyjs=get_plotlyjs().replace("</script", "<\\/script"),
    )


def _examples(results: Results) -> list[dict[str, Any]]:
    """Problems with every arm's answer; those that arms disagree on come first."""
    problems = results.record["problems"]["test"]
    rows = []
    for place, problem in enumerate(problems):
        answers = [(arm.name, arm.records[place]) for arm in results.arms]
        split = len({record["correct"] for _, record in answers})
        rows.append((split == 1, place, {"problem": problem, "answers": answers}))
    return [row for _, _, row in sorted(rows, key=lambda row: row[:2])[:EXAMPLES]]


def _script_json(data: Any) -> str:
    """JSON that is safe inside a script element."""
    text = json.dumps(clean(data), ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _safe_names(figure: dict[str, Any]) -> dict[str, Any]:
    """A figure whose trace names are plain text: plotly would read a subset of HTML in them."""
    traces = [
        {**trace, "name": html.escape(str(trace["name"]))} if "name" in trace else trace
        for trace in figure.get("data", [])
    ]
    return {**figure, "data": traces}
