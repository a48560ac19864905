"""Writes a run's page: one HTML file that needs no network.

What does not change while somebody reads is HTML from a template, in which all text is escaped. The rest is
drawn by the page's script from compressed data, so that no text in it can be markup, and is inserted as text.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from kdprobe.comparison.arms import Arm
from kdprobe.comparison.result import Comparison
from kdprobe.console.streams import visible
from kdprobe.distill.targets import adapters_sentence
from kdprobe.experiment.audit import scope
from kdprobe.experiment.results import Results, arms_of
from kdprobe.problems.correctness import ROBUST
from kdprobe.report.comparison_parts import comparison_parts
from kdprobe.report.facts import names_told, run_facts, training_options
from kdprobe.report.figures import loss_figure, retained_figure
from kdprobe.report.headline import headline
from kdprobe.report.payload.attention import shown_attention
from kdprobe.report.payload.compared import compared
from kdprobe.report.payload.duplicates import is_explored
from kdprobe.report.payload.heads import few_students, head_measures
from kdprobe.report.payload.teaching import teacher_answers
from kdprobe.report.prompt_diff import prompt_diffs
from kdprobe.report.reproduce import config_toml
from kdprobe.report.taught import taught_arms
from kdprobe.report.templates import packed, plotly_for, safe_names, template
from kdprobe.report.terms import TEACHING, comparison_terms, head_terms

PAGE = "report.html"


def write_page(results: Results, comparison: Comparison) -> Path:
    """Renders the page into the run's folder.

    Returns:
        The file.
    """
    page = results.folder / PAGE
    partial = page.with_suffix(".partial")
    partial.write_text(render(results, comparison, arms_of(results)), encoding="utf-8")
    partial.replace(page)
    return page


def render(results: Results, comparison: Comparison, arms: Sequence[Arm]) -> str:
    """The page as text.

    Args:
        results: The run.
        comparison: What came out.
        arms: The arms that were compared, including those without answers.
    """
    figures: list[dict[str, Any]] = []

    def add(figure: dict[str, Any]) -> int:
        figures.append(safe_names(figure))
        return len(figures) - 1

    record, fidelity = results.record, results.fidelity
    heads = {analysis.name: head_measures(analysis.tables) for analysis in results.analyses}
    measures = [*chain(*heads.values())]
    places = {
        "losses": add(loss_figure(results.arms)) if any(arm.training for arm in results.arms) else None,
        "retained": add(retained_figure(fidelity)) if fidelity else None,
        "analyses": [
            (
                analysis,
                [
                    (figure, add(figure["plotly"]))
                    for figure in analysis.figures
                    if not is_explored(figure["plotly"], measures)
                ],
            )
            for analysis in results.analyses
        ],
    }
    answer, facts = headline(comparison), run_facts(results)
    solutions = {problem["id"]: problem["solution"] for problem in record["problems"]["test"]}
    config = config_toml(record["config"])
    cautions = record.get("cautions", [])
    payload = compared(
        results.run,
        arms,
        comparison,
        ROBUST,
        headline=answer,
        facts=facts,
        solutions=solutions,
        cautions=cautions,
    )
    attention = [shown for analysis in results.analyses if (shown := shown_attention(analysis.tables))]
    payload |= {"figures": figures, "heads": measures, "attention": next(iter(attention), None), "config": config}
    payload["teaching"] = teacher_answers(results, payload["arms"], answer.pair)
    distilled = any(arm.strategy for arm in results.arms)
    terms = comparison_terms(comparison) | (TEACHING if distilled else {})
    if results.analyses:
        statements = chain(*(analysis.statements for analysis in results.analyses))
        terms |= head_terms([*statements, *(measure["title"] for measure in measures)])
    unprimed = next((arm.strategy for arm in results.arms if arm.unprimed), None)
    untrained = next((visible(arm.name) for arm in arms if arm.untrained), None)
    groups = {visible(arm.name): visible(arm.group) for arm in arms}
    prompts = prompt_diffs(record["conversations"], unprimed)
    return template("page.html.jinja").render(
        title=results.run,
        question=(
            "Did the way the teacher was prompted make a better student?"
            if distilled
            else "Which student solves more problems?"
        ),
        told=names_told(comparison) if answer.sides else "",
        record=record,
        fidelity=fidelity,
        prompts=prompts,
        taught=taught_arms(comparison, payload["arms"], prompts, fidelity),
        teaching=payload["teaching"],
        options=training_options(record["config"]),
        config=config,
        heads=bool(measures),
        only=few_students(heads, groups, untrained),
        terms=terms,
        adapters_sentence=adapters_sentence,
        data=packed(payload),
        plotly=plotly_for(figures),
        **places,
        **comparison_parts(comparison, answer, payload, facts=facts, cautions=cautions, reach=scope(record)),
    )
