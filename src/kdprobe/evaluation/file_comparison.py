"""Comparing answers that are there already: every pair of files on the problems they share, and what may mislead.

No family was planned, so all pairs are one, and Holm's adjustment is over all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from kdprobe.errors import KdprobeError
from kdprobe.evaluation.comparison import SIGNIFICANT, Finding
from kdprobe.evaluation.outputs import Outputs
from kdprobe.evaluation.scoring import FileScore, Judged, judge, score
from kdprobe.evaluation.statistics import PairedTest, holm, paired_test
from kdprobe.problems.extractors import Extractor

_SHARE = 0.05
"""Of answers cut off, or without a value, that is worth a finding; and an accuracy that is at the floor."""


@dataclass(frozen=True)
class NamedOutputs:
    """A file's answers under the name that the comparison calls them by."""

    name: str
    outputs: Outputs


@dataclass(frozen=True)
class FilePair:
    """Two files on the problems they share.

    Attributes:
        a: One name.
        b: The other.
        test: On the problems they share.
        p_holm: Adjusted over all pairs.
    """

    a: str
    b: str
    test: PairedTest
    p_holm: float


@dataclass(frozen=True)
class FileComparison:
    """All files: their scores, all pairs, and findings."""

    arms: dict[str, FileScore]
    pairs: list[FilePair]
    findings: list[Finding]


def compare_files(files: Sequence[NamedOutputs], chosen: str, extractors: Mapping[str, Extractor]) -> FileComparison:
    """Compares files.

    Args:
        files: At least two.
        chosen: The extractor that decides.
        extractors: All extractors by name, the chosen one among them; the others are looked at for disagreement.

    Raises:
        KdprobeError: A problem occurs twice in a file, or two files share none.
    """
    for file in files:
        _refuse_doubles(file)
    shared = {(a.name, b.name): _shared(a, b) for a, b in combinations(files, 2)}
    judged = {
        name: {file.name: judge(file.outputs, extractor) for file in files} for name, extractor in extractors.items()
    }
    tests = {name: _tests(shared, _right(files, answers)) for name, answers in judged.items()}
    adjusted = holm([test.p for test in tests[chosen].values()])
    pairs = [
        FilePair(a, b, test, p_holm) for ((a, b), test), p_holm in zip(tests[chosen].items(), adjusted, strict=True)
    ]
    arms = {file.name: score(file.outputs, chosen, judged[chosen][file.name]) for file in files}
    findings = [
        *_problem_findings(files, shared),
        *_budget_findings(files),
        *_share_findings(arms),
        *_extractor_findings(chosen, judged, tests),
    ]
    return FileComparison(arms, pairs, findings)


def _refuse_doubles(file: NamedOutputs) -> None:
    key, count = Counter(file.outputs.keys).most_common(1)[0]
    if count > 1:
        raise KdprobeError(
            f"{file.outputs.file} answers the problem {key[:60]!r} {count} times.",
            "Answers are paired by problem: name a column of unique ids with --id-column, or split the file.",
        )


def _shared(a: NamedOutputs, b: NamedOutputs) -> list[str]:
    theirs = set(b.outputs.keys)
    keys = [key for key in a.outputs.keys if key in theirs]
    if not keys:
        raise KdprobeError(
            f"{a.outputs.file} and {b.outputs.file} share no problem.",
            "They are paired by id, else by question; name the column with --id-column.",
        )
    return keys


def _right(files: Sequence[NamedOutputs], judged: Mapping[str, Sequence[Judged]]) -> dict[str, dict[str, bool]]:
    """File to problem to whether it was solved."""
    return {
        file.name: {key: answer.right for key, answer in zip(file.outputs.keys, judged[file.name], strict=True)}
        for file in files
    }


def _tests(
    shared: Mapping[tuple[str, str], Sequence[str]], right: Mapping[str, Mapping[str, bool]]
) -> dict[tuple[str, str], PairedTest]:
    return {
        (a, b): paired_test([right[a][key] for key in keys], [right[b][key] for key in keys])
        for (a, b), keys in shared.items()
    }


def _problem_findings(files: Sequence[NamedOutputs], shared: Mapping[tuple[str, str], Sequence[str]]) -> list[Finding]:
    counts = {file.name: len(file.outputs.keys) for file in files}
    apart = [
        f"{a} has {counts[a]}, {b} {counts[b]}, {len(keys)} in both"
        for (a, b), keys in shared.items()
        if not len(keys) == counts[a] == counts[b]
    ]
    findings = []
    if apart:
        action = "Pairs are compared on what they share; their accuracies above are on different problems."
        findings.append(Finding("mismatched-problems", f"Different problems: {'; '.join(apart)}.", action))
    gold = {file.name: dict(zip(file.outputs.keys, file.outputs.gold, strict=True)) for file in files}
    unlike = [
        f"{a} and {b} at {differing} problems"
        for (a, b), keys in shared.items()
        if (differing := sum(gold[a][key] != gold[b][key] for key in keys))
    ]
    if unlike:
        action = "Score all files with one set of gold values."
        findings.append(Finding("gold-mismatch", f"Gold values differ: {'; '.join(unlike)}.", action))
    return findings


def budget(outputs: Outputs) -> int | None:
    """The token budget that answers were cut off at: the commonest length of those that were; `None` where unknown."""
    if outputs.tokens is None or outputs.cut_off is None:
        return None
    lengths = Counter(n for n, cut in zip(outputs.tokens, outputs.cut_off, strict=True) if cut)
    return lengths.most_common(1)[0][0] if lengths else None


def _budget_findings(files: Sequence[NamedOutputs]) -> list[Finding]:
    budgets = {file.name: found for file in files if (found := budget(file.outputs)) is not None}
    if len(set(budgets.values())) <= 1:
        return []
    counts = ", ".join(f"{name} at {tokens}" for name, tokens in budgets.items())
    action = "Generate all answers with one budget; a shorter one makes a worse score by itself."
    return [Finding("unequal-budget", f"Answers were cut off at different token counts: {counts}.", action)]


def _share_findings(arms: Mapping[str, FileScore]) -> list[Finding]:
    def over(values: Mapping[str, float | None]) -> str:
        return ", ".join(f"{name} {share:.1%}" for name, share in values.items() if share and share > _SHARE)

    findings = []
    if cut := over({name: arm.cut_off for name, arm in arms.items()}):
        action = "Generate with a larger budget, or read these accuracies as lower bounds."
        findings.append(Finding("cut-off", f"Answers that reached the token budget: {cut}.", action))
    if mute := over({name: arm.no_answer for name, arm in arms.items()}):
        action = "Read some of them; they count as wrong."
        findings.append(Finding("no-answer", f"Answers without a value: {mute}.", action))
    accuracies = [arm.accuracy for arm in arms.values()]
    if max(accuracies) < _SHARE:
        action = "Use easier problems, or log-probabilities of the gold value."
        findings.append(Finding("floor", f"No file solves more than {_SHARE:.0%} of its problems.", action))
    if min(accuracies) > 1 - _SHARE:
        action = "Use harder problems; these cannot tell the files apart."
        findings.append(Finding("ceiling", f"Every file solves more than {1 - _SHARE:.0%} of its problems.", action))
    return findings


def _extractor_findings(
    chosen: str,
    judged: Mapping[str, Mapping[str, Sequence[Judged]]],
    tests: Mapping[str, Mapping[tuple[str, str], PairedTest]],
) -> list[Finding]:
    """Pairs whose order, significance or difference hangs on the extractor."""
    evidence = []
    for other in judged:
        # One that finds a value in few answers was not made for these.
        if other == chosen or not _applies(judged[other]):
            continue
        for pair, test in tests[chosen].items():
            if why := _disagreement(test, tests[other][pair]):
                evidence.append(f"{pair[0]} - {pair[1]}: {why} ({chosen} against {other})")
    if not evidence:
        return []
    action = "Choose one extractor before looking at the answers, and report how much hangs on it."
    return [Finding("extractor-disagreement", f"{'; '.join(evidence)}.", action)]


def _applies(judged: Mapping[str, Sequence[Judged]]) -> bool:
    found = [answer.found for answers in judged.values() for answer in answers]
    return sum(found) > len(found) / 2


def _disagreement(test: PairedTest, other: PairedTest) -> str | None:
    moved = f"{test.difference * 100:+.1f} and {other.difference * 100:+.1f} points"
    if test.difference * other.difference < 0:
        return f"the order turns round, {moved}"
    if (test.p < SIGNIFICANT) != (other.p < SIGNIFICANT):
        return f"significant under one only, {moved}"
    if not test.interval.low <= other.difference <= test.interval.high:
        return f"the difference leaves its interval, {moved}"
    return None
