"""All arms on the same problems: accuracies with intervals, the planned families of paired tests, findings, a verdict.

What a verdict may say: with one seed, "these two students differ", never "this strategy is better". A seed's own
spread makes single-seed tests wrong far more often than their level says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kdprobe.errors import KdprobeError
from kdprobe.evaluation.statistics import (
    Interval,
    PairedTest,
    accuracy_interval,
    holm,
    mean_interval,
    paired_test,
)

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class ArmRecords:
    """One arm's records.

    Attributes:
        name: The arm.
        strategy: Its strategy, or `None` for a control.
        distiller: Its distiller, or `None` for the untrained student.
        seed: Of its training.
        records: One per problem, from `kdprobe.evaluation.harness.evaluate`, with `log_p_gold_value`.
    """

    name: str
    strategy: str | None
    distiller: str | None
    seed: int
    records: Sequence[dict[str, Any]]

    def column(self, name: str) -> list[Any]:
        """One field of all records."""
        return [record[name] for record in self.records]


@dataclass(frozen=True)
class ArmScore:
    """An arm's figures: accuracy with a 95 % interval, and what may spoil it."""

    name: str
    strategy: str | None
    distiller: str | None
    seed: int
    n: int
    correct: int
    accuracy: float
    interval: Interval
    log_p_gold_value: float
    log_p_interval: Interval
    cut_off: float
    no_answer: float
    mean_tokens: float


@dataclass(frozen=True)
class Pair:
    """A planned comparison of two arms; `p_holm` is adjusted within its family."""

    family: str
    a: str
    b: str
    test: PairedTest
    p_holm: float
    log_p_difference: float
    log_p_interval: Interval

    @property
    def significant(self) -> bool:
        """Whether the two students differ at 5 % after Holm."""
        return self.p_holm < SIGNIFICANT


@dataclass(frozen=True)
class Finding:
    """Something the reader must know before believing the figures."""

    code: str
    evidence: str
    action: str


@dataclass(frozen=True)
class Comparison:
    """The answer to the experiment's question."""

    arms: list[ArmScore]
    pairs: list[Pair]
    verdict: list[str]
    findings: list[Finding] = field(default_factory=list)


def compare(arms: Sequence[ArmRecords]) -> Comparison:
    """Compares all arms on the problems they share.

    Raises:
        KdprobeError: Two arms were examined on different problems.
    """
    for arm in arms[1:]:
        if arm.column("prompt_hash") != arms[0].column("prompt_hash"):
            raise KdprobeError(
                f"The arms {arms[0].name!r} and {arm.name!r} were examined on different problems.",
                "Only arms with the same problems in the same order can be compared.",
            )
    scores = [_score(arm) for arm in arms]
    pairs = _pairs(arms)
    return Comparison(scores, pairs, _verdict(arms, pairs), _findings(scores))


def _score(arm: ArmRecords) -> ArmScore:
    correct, n = sum(arm.column("correct")), len(arm.records)
    log_p = np.asarray(arm.column("log_p_gold_value"), dtype=float)
    return ArmScore(
        name=arm.name,
        strategy=arm.strategy,
        distiller=arm.distiller,
        seed=arm.seed,
        n=n,
        correct=correct,
        accuracy=correct / n,
        interval=accuracy_interval(correct, n),
        log_p_gold_value=float(log_p.mean()),
        log_p_interval=mean_interval(log_p),
        cut_off=float(np.mean(arm.column("cut_off"))),
        no_answer=float(np.mean([value is None for value in arm.column("value")])),
        mean_tokens=float(np.mean(arm.column("tokens"))),
    )


def _pairs(arms: Sequence[ArmRecords]) -> list[Pair]:
    """The families that were planned: distilled arms against each control, primed arms against `none`."""
    distilled = [arm for arm in arms if arm.strategy is not None]
    controls = [arm for arm in arms if arm.strategy is None]
    pairs: list[Pair] = []
    for control in (arm for arm in controls if arm.distiller is None):
        pairs += _family(f"distilled against {control.name}", [(arm, control) for arm in distilled])
    against_tuned = [
        (arm, control)
        for arm in distilled
        for control in controls
        if control.distiller is not None and control.seed == arm.seed
    ]
    pairs += _family("distilled against fine-tuned", against_tuned)
    against_none = [
        (arm, other)
        for arm in distilled
        for other in distilled
        if arm.strategy != "none"
        and other.strategy == "none"
        and (arm.distiller, arm.seed) == (other.distiller, other.seed)
    ]
    return pairs + _family("primed against none", against_none)


def _family(name: str, members: Sequence[tuple[ArmRecords, ArmRecords]]) -> list[Pair]:
    tests = [paired_test(a.column("correct"), b.column("correct")) for a, b in members]
    adjusted = holm([test.p for test in tests])
    pairs = []
    for (a, b), test, p_holm in zip(members, tests, adjusted, strict=True):
        apart = np.asarray(a.column("log_p_gold_value")) - np.asarray(b.column("log_p_gold_value"))
        pairs.append(Pair(name, a.name, b.name, test, p_holm, float(apart.mean()), mean_interval(apart)))
    return pairs


def _verdict(arms: Sequence[ArmRecords], pairs: Sequence[Pair]) -> list[str]:
    sentences = [_sentence(pair) for pair in pairs if pair.family == "primed against none"]
    if not sentences:
        sentences = ["No primed arm stands beside an unprimed one, so nothing can be said about priming."]
    gains = [pair for pair in pairs if pair.family.startswith("distilled against") and pair.b == "untrained"]
    if gains:
        better = [pair.a for pair in gains if pair.significant and pair.test.difference > 0]
        worst = max(pair.p_holm for pair in gains if pair.a in better) if better else 1.0
        sentences.append(
            f"Better than the untrained student: {', '.join(better)} (Holm-adjusted p at most {p_text(worst)})."
            if better
            else "No distilled student is significantly better than the untrained one."
        )
    seeds = {arm.seed for arm in arms if arm.strategy is not None}
    few = "one seed" if len(seeds) == 1 else f"{len(seeds)} seeds"
    sentences.append(f"With {few} these sentences speak of these students, not of the strategies that taught them.")
    return sentences


def _sentence(pair: Pair) -> str:
    test = pair.test
    kind = "differ" if pair.significant else "do not differ significantly"
    apart = abs(test.difference) * 100
    more = "more" if test.difference > 0 else "fewer"
    told = f"solves {apart:.1f} points {more}" if test.difference else "solves as many"
    return (
        f"The students {pair.a} and {pair.b} {kind}: {pair.a} {told} "
        f"(95 % interval {test.interval.low * 100:+.1f} to {test.interval.high * 100:+.1f}; "
        f"{test.only_a} problems solved only by it, {test.only_b} only by the other; p = {p_text(pair.p_holm)}). "
        f"Its log p(gold value) differs by {pair.log_p_difference:+.2f} nats "
        f"({pair.log_p_interval.low:+.2f} to {pair.log_p_interval.high:+.2f})."
    )


def p_text(p: float) -> str:
    """A p-value as people write it."""
    return f"{p:.2f}" if p >= 0.1 else f"{p:.3f}" if p >= 0.001 else f"{p:.1g}"  # noqa: PLR2004


_CUT_OFF = 0.05
_NO_ANSWER = 0.05
_FLOOR = 0.05


def _findings(scores: Sequence[ArmScore]) -> list[Finding]:
    findings = []
    if cut := [f"{score.name} {score.cut_off:.0%}" for score in scores if score.cut_off > _CUT_OFF]:
        findings.append(
            Finding(
                "cut-off",
                f"Responses that reached the token budget: {', '.join(cut)}.",
                "Raise evaluation.max_new_tokens for all arms, or read these accuracies as lower bounds.",
            )
        )
    if mute := [f"{score.name} {score.no_answer:.0%}" for score in scores if score.no_answer > _NO_ANSWER]:
        findings.append(
            Finding("no-answer", f"Responses that hold no number: {', '.join(mute)}.", "Read some of them.")
        )
    if scores and max(score.accuracy for score in scores) < _FLOOR:
        findings.append(
            Finding(
                "floor",
                f"No arm solves more than {_FLOOR:.0%} of the problems.",
                "Read log p(gold value) instead, or use easier problems.",
            )
        )
    return findings
