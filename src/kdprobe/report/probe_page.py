"""The page of `kdprobe probe`: one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from kdprobe.comparison.finding import Finding
from kdprobe.probing.analysis import AnalysisResult
from kdprobe.report.payload.arms import named_arms
from kdprobe.report.payload.attention import shown_attention
from kdprobe.report.payload.duplicates import is_explored
from kdprobe.report.payload.heads import few_students, head_measures
from kdprobe.report.templates import packed, plotly_for, safe_names, template
from kdprobe.report.terms import head_terms

PAGE = "probe.html"


def write_probe_page(
    folder: Path,
    names: Sequence[str],
    subject: str,
    results: Mapping[str, AnalysisResult],
    findings: Sequence[Finding] = (),
) -> Path:
    """Writes the statements and figures of all analyses.

    Args:
        folder: The folder to write to.
        names: The students or files.
        subject: What was analysed, as a sentence.
        results: Results by analysis.
        findings: Findings about results that may mislead.

    Returns:
        The file.
    """
    heads = {name: head_measures(result.tables) for name, result in results.items()}
    measures = [*chain(*heads.values())]
    figures: list[dict[str, Any]] = []
    analyses = []
    for name, result in results.items():
        first = len(figures)
        new = [figure for figure in result.figures if not is_explored(figure.plotly, measures)]
        figures += [safe_names(figure.plotly) for figure in new]
        shown = [(figure, first + index) for index, figure in enumerate(new)]
        analyses.append((SimpleNamespace(name=name, statements=result.statements), shown))
    attention = [found for result in results.values() if (found := shown_attention(result.tables))]
    page = folder / PAGE
    page.write_text(
        template("probe.html.jinja").render(
            names=names,
            subject=subject,
            one_seed="",
            concerned={},
            findings=findings,
            analyses=analyses,
            data=packed(
                {
                    "name": "heads",
                    "arms": named_arms(names),
                    "figures": figures,
                    "heads": measures,
                    "attention": next(iter(attention), None),
                }
            ),
            heads=bool(measures),
            only=few_students(heads, {name: name for name in names}),
            terms=head_terms(
                [
                    *chain(*(result.statements for result in results.values())),
                    *(measure["title"] for measure in measures),
                ]
            ),
            plotly=plotly_for(figures),
        ),
        encoding="utf-8",
    )
    return page
