"""Findings: what may make a comparison misleading, from the answers themselves and from how they were generated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from kdprobe.comparison.answers import Outputs
from kdprobe.comparison.finding import Finding
from kdprobe.comparison.judging import JudgedAnswers
from kdprobe.comparison.pairing import Rows
from kdprobe.comparison.scoring import Score
from kdprobe.problems.gold import gold_value
from kdprobe.stats.mcnemar import PairedTest
from kdprobe.stats.p_values import SIGNIFICANT

_LONGEST = 60
"""Characters of a value that a finding shows."""
MANY = 0.05
"""A larger share of answers cut off or without a value is a finding; so is an accuracy below this (the floor)."""


def problem_findings(arms: Mapping[str, Outputs], shared: Mapping[tuple[str, str], Sequence[Rows]]) -> list[Finding]:
    """Finds arms that answer different problems, or that have different gold values for the same problem.

    Args:
        arms: Answers by name.
        shared: For each pair of names, the rows of the shared problems in the first arm and in the second.
    """
    counts = {name: len(outputs.responses) for name, outputs in arms.items()}
    mismatches = [
        f"{a} has {counts[a]}, {b} has {counts[b]}, and they share {len(rows)}"
        for (a, b), (rows, _) in shared.items()
        if not len(rows) == counts[a] == counts[b]
    ]
    findings = []
    if mismatches:
        action = "Compare arms only in pairs, on shared problems; their accuracies were measured on different problems."
        findings.append(Finding("mismatched-problems", f"The problems differ: {'; '.join(mismatches)}.", action))
    contradictions = [
        f"{a} and {b} on {differing} {'problem' if differing == 1 else 'problems'}"
        for (a, b), rows in shared.items()
        if (differing := sum(map(_are_different, *_golds((arms[a], arms[b]), rows))))
    ]
    if contradictions:
        action = "Score all files against the same gold values."
        findings.append(Finding("gold-mismatch", f"Gold values differ: {'; '.join(contradictions)}.", action))
    return findings


def _golds(pair: Sequence[Outputs], rows: Sequence[Rows]) -> list[list[str]]:
    return [[outputs.gold[row] for row in held] for outputs, held in zip(pair, rows, strict=True)]


def _are_different(gold: str, other: str) -> bool:
    """Whether gold values differ in more than notation: 18 equals 18.0."""
    if gold == other:
        return False
    value = gold_value(gold)
    return value is None or value != gold_value(other)


_KINDS = {
    "prompt": (
        "unequal-prompt",
        "Use one prompt for all arms; scores under different prompts are not comparable.",
    ),
    "decoding": ("unequal-decoding", "Decode all answers in the same way."),
    "task": ("unequal-task", "Evaluate all arms with the same version of the task."),
    "versions": (
        "unequal-versions",
        "Use the same library versions for all arms, or show that the differences do not matter.",
    ),
}
_ASPECTS = {"form": "the form of the prompt", "rendered": "where prompts were rendered"}
_VALUES = {("rendered", "here"): "locally"}
"""The names that findings use for aspects and values whose recorded names would be unclear in a sentence."""


def condition_findings(arms: Mapping[str, Outputs]) -> list[Finding]:
    """Finds arms that were evaluated under different conditions, where these are known."""
    findings = _budget_findings(arms)
    for kind, (code, action) in _KINDS.items():
        conditions = {name: outputs.conditions[kind] for name, outputs in arms.items() if kind in outputs.conditions}
        aspects = sorted({aspect for values in conditions.values() for aspect in values})
        differences = []
        for aspect in aspects:
            by_value: dict[str, list[str]] = {}
            for name, values in conditions.items():
                if aspect in values:
                    by_value.setdefault(values[aspect], []).append(name)
            if len(by_value) > 1:
                shown = zip(
                    excerpts([_VALUES.get((aspect, value), value) for value in by_value], quoted=aspect == "form"),
                    by_value.values(),
                    strict=True,
                )
                values_text = ", ".join(f"{excerpt} ({', '.join(names)})" for excerpt, names in shown)
                differences.append(f"{_ASPECTS.get(aspect, aspect)}: {values_text}")
        if differences:
            findings.append(Finding(code, f"The arms differ in {'; '.join(differences)}.", action))
    return findings


def prompt_findings(arms: Mapping[str, Outputs], shared: Mapping[tuple[str, str], Sequence[Rows]]) -> list[Finding]:
    """Finds arms whose prompts for the same problems differ by lm-eval's hashes, where their prompt forms do not.

    Args:
        arms: Answers by name.
        shared: For each pair of names, the rows of the shared problems in the first arm and in the second.
    """
    differing = []
    for (a, b), (rows_a, rows_b) in shared.items():
        prompts, others = arms[a].prompts, arms[b].prompts
        if prompts is None or others is None or _differ_in_form(arms[a], arms[b]):
            continue
        pairs = [(prompts[row_a], others[row_b]) for row_a, row_b in zip(rows_a, rows_b, strict=True)]
        if count := sum(first != second for first, second in pairs if first and second):
            differing.append(f"{a} and {b} on {count} of {len(pairs)} problems")
    if not differing:
        return []
    code, action = _KINDS["prompt"]
    return [Finding(code, f"The arms read different prompts: {'; '.join(differing)}.", action)]


def _differ_in_form(first: Outputs, second: Outputs) -> bool:
    """Whether the prompts differ in form, or in where they were rendered; in both cases every hash differs."""
    mine, theirs = first.conditions.get("prompt", {}), second.conditions.get("prompt", {})
    return any(mine[aspect] != theirs[aspect] for aspect in ("form", "rendered") if aspect in mine and aspect in theirs)


def excerpts(values: Sequence[str], *, quoted: bool = False) -> list[str]:
    """Different values: short ones whole, quoted if asked for; long ones around the first character that differs."""
    if max(map(len, values)) <= _LONGEST:
        return [repr(value) for value in values] if quoted else list(values)
    columns = enumerate(zip(*values, strict=False))
    shared = next((index for index, characters in columns if len(set(characters)) > 1), min(map(len, values)))
    start = max(0, shared - _LONGEST // 3)
    return [
        ("…" if start else "") + repr(value[start : start + _LONGEST]) + ("…" if len(value) > start + _LONGEST else "")
        for value in values
    ]


def budget(outputs: Outputs) -> int | None:
    """The token budget: as declared, or the most common length of the answers that were cut off; `None` if unknown."""
    if declared := outputs.conditions.get("budget", {}).get("tokens"):
        return int(declared)
    if outputs.tokens is None or outputs.cut_off is None:
        return None
    lengths = Counter(n for n, cut in zip(outputs.tokens, outputs.cut_off, strict=True) if cut)
    return lengths.most_common(1)[0][0] if lengths else None


def _budget_findings(arms: Mapping[str, Outputs]) -> list[Finding]:
    budgets = {name: length for name, outputs in arms.items() if (length := budget(outputs)) is not None}
    if len(set(budgets.values())) <= 1:
        return []
    counts = ", ".join(f"{name} {length}" for name, length in budgets.items())
    action = "Generate all answers with the same budget; a smaller budget alone lowers the score."
    return [Finding("unequal-budget", f"Token budgets differ: {counts}.", action)]


def share_findings(scores: Mapping[str, Score]) -> list[Finding]:
    """Finds answers that were cut off, have no value or never stop thinking, and accuracies at the floor or ceiling."""

    def over(values: Mapping[str, float | None]) -> str:
        return ", ".join(f"{name} {share:.1%}" for name, share in values.items() if share and share > MANY)

    findings = []
    if cut := over({name: score.cut_off for name, score in scores.items()}):
        action = "Generate with a larger budget, or treat these accuracies as lower bounds."
        findings.append(Finding("cut-off", f"Answers that reached the token budget: {cut}.", action))
    if unclosed := over({name: score.unclosed_thinking for name, score in scores.items()}):
        action = "Generate with a larger budget; values are never read from thinking, so these answers count as wrong."
        findings.append(Finding("unclosed-thinking", f"Answers in which thinking never ended: {unclosed}.", action))
    if runs_on := over({name: score.run_on for name, score in scores.items()}):
        action = "Stop generation at the next question or the end of the turn; `robust` ignores the extra text."
        findings.append(Finding("run-on", f"Answers that run on into another problem: {runs_on}.", action))
    if same := ", ".join(name for name, score in scores.items() if score.identical_samples):
        action = (
            "Check that the model is really sampling: with greedy decoding, or a server that ignores seeds, all "
            "samples are identical, so one per problem is enough."
        )
        findings.append(Finding("identical-samples", f"Arms whose samples of a problem never differ: {same}.", action))
    if left_out := [f"{name} {s.left_out} of {s.n + s.left_out}" for name, s in scores.items() if s.left_out]:
        action = "Complete the evaluation; until then, the accuracy covers only the samples that were finished."
        findings.append(Finding("left-out", f"Samples without a result: {', '.join(left_out)}.", action))
    without_gold = [f"{name} {s.gold_without_value} of {s.n}" for name, s in scores.items() if s.gold_without_value]
    if without_gold:
        action = "Correct these gold answers or remove the problems; every answer to them counts as wrong."
        evidence = f"Gold answers without a number: {', '.join(without_gold)}."
        findings.append(Finding("gold-without-value", evidence, action))
    if without_value := over({name: score.no_answer for name, score in scores.items()}):
        action = "Look at some of these answers; all of them count as wrong."
        evidence = f"Answers from which no value could be extracted: {without_value}."
        findings.append(Finding("no-answer", evidence, action))
    accuracies = [score.accuracy for score in scores.values()]
    if max(accuracies) < MANY:
        action = "Compare log p(gold value) or the share of correct arithmetic steps instead, or use easier problems."
        findings.append(Finding("floor", f"No arm solves more than {MANY:.0%} of its problems.", action))
    if min(accuracies) > 1 - MANY:
        action = "Use harder problems; these cannot distinguish the arms."
        findings.append(Finding("ceiling", f"Every arm solves more than {1 - MANY:.0%} of its problems.", action))
    return findings


Tests = Mapping[tuple[str, str], PairedTest]
"""For each pair of names, the test of the first arm against the second."""


def extractor_findings(
    chosen: str, judged: Mapping[str, Mapping[str, JudgedAnswers]], tests: Mapping[str, Tests]
) -> list[Finding]:
    """Finds pairs whose order, significance or difference depends on the extractor.

    Args:
        chosen: The extractor used for the scores.
        judged: Judged answers by extractor, then by arm.
        tests: Tests of all pairs by extractor.
    """
    evidence = []
    for other in judged:
        # An extractor that finds a value in only a few answers was not made for this kind of answer.
        if other == chosen or not _applies(judged[other]):
            continue
        for pair, test in tests[chosen].items():
            if why := _disagreement(test, tests[other][pair], chosen, other):
                evidence.append(f"{pair[0]} - {pair[1]}: {why}")
    if not evidence:
        return []
    action = "Choose one extractor before looking at the answers, and report how much the results depend on it."
    return [Finding("extractor-disagreement", f"{'; '.join(evidence)}.", action)]


def _applies(judged: Mapping[str, JudgedAnswers]) -> bool:
    found = [answers.found for answers in judged.values()]
    return sum(int(values.sum()) for values in found) > sum(map(len, found)) / 2


def _disagreement(test: PairedTest, other: PairedTest, chosen: str, name: str) -> str | None:
    both = f"{chosen} {test.difference * 100:+.1f}, {name} {other.difference * 100:+.1f} points"
    if test.difference * other.difference < 0:
        return f"with the extractor {name!r}, the order reverses ({both})"
    if (test.p < SIGNIFICANT) != (other.p < SIGNIFICANT):
        shown, missed = (chosen, name) if test.p < SIGNIFICANT else (name, chosen)
        return f"unadjusted p is below {SIGNIFICANT:g} with the extractor {shown!r} but not with {missed!r} ({both})"
    if not test.interval.low <= other.difference <= test.interval.high:
        return f"with the extractor {name!r}, the difference is outside the interval found with {chosen!r} ({both})"
    return None
