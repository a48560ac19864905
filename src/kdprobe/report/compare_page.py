"""Writes the page of files, models or runs: scores, pairs and all answers in one HTML file that needs no network."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

from kdprobe.comparison.arms import Arm
from kdprobe.comparison.result import Comparison
from kdprobe.errors import KdprobeError
from kdprobe.problems.extractors import Extractor
from kdprobe.report.comparison_parts import comparison_parts
from kdprobe.report.facts import comparison_facts
from kdprobe.report.headline import headline
from kdprobe.report.payload.compared import compared
from kdprobe.report.templates import packed, template
from kdprobe.report.terms import comparison_terms


def write_compare_page(
    file: Path,
    arms: Sequence[Arm],
    comparison: Comparison,
    extractor: Extractor,
    *,
    facts: Sequence[tuple[str, str]] = (),
    cautions: Sequence[str] = (),
) -> Path:
    """Writes the page.

    Args:
        file: Where to.
        arms: The arms that were compared, including those without answers; or the only one.
        comparison: The result of the comparison.
        extractor: The extractor that decided.
        facts: What else is known about the arms, as names and values.
        cautions: Sentences that are shown above everything else.

    Returns:
        The file.

    Raises:
        KdprobeError: It cannot be written.
    """
    known = dict(facts)
    shown = [*facts, *((name, value) for name, value in comparison_facts(comparison) if name not in known)]
    if "Finished" not in known:
        shown.append(("Page written", f"{dt.datetime.now(dt.UTC):%Y-%m-%d} (UTC)"))
    answer = headline(comparison)
    payload = compared(
        file.stem, arms, comparison, extractor, headline=answer, facts=shown, solutions={}, cautions=cautions
    )
    text = template("compare.html.jinja").render(
        title=file.stem,
        question="Which model solves more problems?" if len(arms) > 1 else "How many problems does this model solve?",
        data=packed(payload),
        plotly="",
        told="",
        taught=[],
        terms=comparison_terms(comparison),
        **comparison_parts(comparison, answer, payload, facts=shown, cautions=cautions),
    )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise KdprobeError(f"Cannot write {file}: {error.strerror}.", "Choose another file with --out.") from error
    return file
