"""Scores and audits the paper's published answers: every number in docs/explanation/published-answers.md.

    python examples/published_answers.py FOLDER

FOLDER holds no_distillation.csv.gz, none.csv.gz and ground_truth.csv.gz: the answers of three students of Goyal et al.
(2024, arXiv 2412.17846) to GSM8K's test problems, with the columns question, answer, model_answer, model_output_tokens and
model_max_tokens. The script reads nothing else.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from kdprobe.comparison import (
    Arm,
    Claim,
    Columns,
    Comparison,
    Outputs,
    claim_findings,
    compare_arms,
    read_outputs,
    scores,
    token_budget,
)
from kdprobe.host import Host
from kdprobe.problems import Extractor
from kdprobe.stats import Interval

ARMS = ("no_distillation", "none", "ground_truth")
REPORTED = {
    "no_distillation": ("12.20", 161),
    "fine-tuning": ("25.01", 303),
    "none": ("30.62", 404),
    "confidence": ("34.04", 499),
    "teacher": ("42.30", 558),
    "ground_truth": ("48.14", 635),
}
"""The paper's table: percent, and number correct out of 1,319."""
PROBLEMS = 1_319


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    print("\n\n".join(tables(parser.parse_args().folder)))


def tables(folder: Path) -> Iterator[str]:
    """Every table of the page in Markdown, in the page's order."""
    answers = {arm: read_outputs(folder / f"{arm}.csv.gz", Columns()) for arm in ARMS}
    extractors: dict[str, Extractor] = Host().all("extractors")
    yield _extractors(answers, extractors)
    yield _budgets(answers)
    yield _cut_to_same_length(answers, extractors)
    compared = {name: _compared(answers, extractors, name) for name in ("published", "robust", "flexible")}
    yield _pairs(compared)
    yield _steps(compared["robust"])
    yield _findings(compared["published"])


def _extractors(answers: Mapping[str, Outputs], extractors: Mapping[str, Extractor]) -> str:
    names = ("published", "robust", "flexible", "strict")
    rows = []
    for arm, outputs in answers.items():
        found = scores(outputs, {name: extractors[name] for name in names})
        shown = [f"{one.correct} ({one.accuracy:.1%}, {_percent(one.interval)})" for one in found]
        rows.append([f"`{arm}`", f"{REPORTED[arm][1]} ({REPORTED[arm][0]}%)", *shown])
    return _table(["arm", "as printed", *(f"`{name}`" for name in names)], rows)


def _budgets(answers: Mapping[str, Outputs]) -> str:
    rows = []
    for arm, outputs in answers.items():
        cut = outputs.cut_off or []
        whole = len(cut) - sum(cut)
        rows.append([f"`{arm}`", str(token_budget(outputs)), f"{sum(cut) / len(cut):.1%}", str(whole)])
    return _table(["arm", "token budget", "reached it", "answers that ended by themselves"], rows)


def _cut_to_same_length(answers: Mapping[str, Outputs], extractors: Mapping[str, Extractor]) -> str:
    """All arms, with each answer cut to the length in characters of the control's answer to the same problem."""
    limits = {key: len(text) for key, text in zip(answers[ARMS[0]].keys, answers[ARMS[0]].responses, strict=True)}
    rows = []
    for arm, outputs in answers.items():
        short = [text[: limits[key]] for key, text in zip(outputs.keys, outputs.responses, strict=True)]
        chosen = {name: extractors[name] for name in ("published", "robust")}
        whole, cut = (scores(one, chosen) for one in (outputs, replace(outputs, responses=short)))
        rows.append([f"`{arm}`", *(f"{one.accuracy:.1%}" for one in (*whole, *cut))])
    columns = [f"{length}, `{name}`" for length in ("whole", "cut to same length") for name in ("published", "robust")]
    return _table(["arm", *columns], rows)


def _compared(answers: Mapping[str, Outputs], extractors: Mapping[str, Extractor], chosen: str) -> Comparison:
    compared = compare_arms([Arm(name, outputs) for name, outputs in answers.items()], extractors, chosen)
    claims = [Claim(arm, Decimal(share), count, PROBLEMS) for arm, (share, count) in REPORTED.items()]
    compared.findings.extend(claim_findings(claims, compared.arms))
    return compared


def _pairs(compared: Mapping[str, Comparison]) -> str:
    rows = []
    for name, comparison in compared.items():
        for pair in comparison.pairs:
            test = pair.test
            interval = f"{test.interval.low * 100:+.1f} to {test.interval.high * 100:+.1f}"
            decided = f"{test.only_a} : {test.only_b}"
            points = f"{test.difference * 100:+.1f}"
            rows.append([f"`{name}`", f"`{pair.a}` - `{pair.b}`", points, interval, decided, f"{pair.p_holm:.0e}"])
    return _table(["extractor", "a - b", "points", "95% interval", "only a : only b", "p (Holm)"], rows)


def _steps(comparison: Comparison) -> str:
    rows = [
        [
            f"`{arm.name}`",
            str(arm.arithmetic.steps),
            f"{arm.arithmetic.share:.1%} ({_percent(arm.arithmetic.interval)})",
            f"{arm.arithmetic.silent / arm.arithmetic.answers:.1%}",
        ]
        for arm in comparison.arms
    ]
    return _table(["arm", "steps", "correct", "answers without a step"], rows)


def _findings(comparison: Comparison) -> str:
    return _table(["finding", "evidence"], [[f"`{one.code}`", one.evidence] for one in comparison.findings])


def _percent(interval: Interval) -> str:
    return f"{interval.low * 100:.1f} to {interval.high * 100:.1f}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
