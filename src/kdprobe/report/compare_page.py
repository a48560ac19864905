"""Writes the page of `kdprobe compare --out`: a comparison and all answers in one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kdprobe.comparison.arms import Arm
from kdprobe.comparison.result import Comparison
from kdprobe.errors import KdprobeError
from kdprobe.problems.extractors import Extractor
from kdprobe.report.facts import chips, comparison_facts
from kdprobe.report.headline import headline
from kdprobe.report.payload.compared import compared
from kdprobe.report.templates import packed, template


def write_compare_page(
    file: Path, arms: Sequence[Arm], comparison: Comparison, extractor: Extractor, *, cautions: Sequence[str] = ()
) -> Path:
    """Writes the page.

    Args:
        file: Where to.
        arms: The arms that were compared, including those without answers.
        comparison: What came out.
        extractor: The extractor that decided.
        cautions: What stands above everything else.

    Returns:
        The file.

    Raises:
        KdprobeError: It cannot be written.
    """
    answer, facts = headline(comparison), comparison_facts(comparison)
    payload = compared(file.stem, arms, comparison, extractor, headline=answer, facts=facts, solutions={})
    text = template("compare.html.jinja").render(
        title=file.stem,
        question="Which student solves more?",
        headline=answer,
        cautions=cautions,
        chips=chips(comparison),
        facts=facts,
        comparison=comparison,
        thinking=any(score.thinking for score in comparison.arms),
        data=packed(payload),
        plotly="",
    )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise KdprobeError(f"Cannot write {file}: {error.strerror}.", "Choose another file with --out.") from error
    return file
