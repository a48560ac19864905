"""The page of `kdprobe probe`: one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from kdprobe.comparison.finding import Finding
from kdprobe.probing.analysis import AnalysisResult
from kdprobe.report.payload.arms import named_arms
from kdprobe.report.payload.attention import shown_attention
from kdprobe.report.payload.heads import head_measures
from kdprobe.report.templates import packed, plotly_for, safe_names, template

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
        findings: What may be misleading.

    Returns:
        The file.
    """
    figures: list[dict[str, Any]] = []
    analyses = []
    for name, result in results.items():
        first = len(figures)
        figures += [safe_names(figure.plotly) for figure in result.figures]
        shown = [(figure, first + index) for index, figure in enumerate(result.figures)]
        analyses.append((SimpleNamespace(name=name, statements=result.statements), shown))
    heads = [measure for result in results.values() for measure in head_measures(result.tables)]
    attention = [found for result in results.values() if (found := shown_attention(result.tables))]
    page = folder / PAGE
    page.write_text(
        template("probe.html.jinja").render(
            names=names,
            subject=subject,
            findings=findings,
            analyses=analyses,
            data=packed(
                {
                    "name": "heads",
                    "arms": named_arms(names),
                    "figures": figures,
                    "heads": heads,
                    "attention": next(iter(attention), None),
                }
            ),
            heads=bool(heads),
            plotly=plotly_for(figures),
        ),
        encoding="utf-8",
    )
    return page
