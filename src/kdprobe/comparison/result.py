"""What a comparison says: scores of arms, pairs of them, findings and a verdict."""

from __future__ import annotations

from dataclasses import dataclass, field

from kdprobe.comparison.finding import Finding
from kdprobe.comparison.scoring import Score
from kdprobe.comparison.step_accuracy import StepAccuracyDifference
from kdprobe.comparison.strategy_tests import StrategyPair
from kdprobe.stats.clustered import ClusterTest
from kdprobe.stats.intervals import Interval
from kdprobe.stats.mcnemar import PairedTest
from kdprobe.stats.p_values import SIGNIFICANT


@dataclass(frozen=True, kw_only=True)
class ArmScore(Score):
    """An arm's score under one extractor.

    Attributes:
        name: The arm's.
        strategy: Its teacher's strategy, or `None` for a control.
        distiller: Its distiller, or `None`.
        seed: Of its training.
        unprimed: Whether its teacher read the bare question.
    """

    name: str
    strategy: str | None
    distiller: str | None
    seed: int
    unprimed: bool


@dataclass(frozen=True)
class Pair:
    """Two arms on the problems they share.

    Attributes:
        family: The pairs that were planned together.
        a: One arm.
        b: The other.
        test: Of the one against the other.
        p_holm: Adjusted within the family.
        detectable: The smallest true difference that this test would have found with 80 % power, at 5 % over the family
            by Bonferroni, if as many problems were decided differently; `None` where none would have been.
        clustered: Of the one against the other over groups of problems, or `None` where there are none.
        log_p_difference: Mean of log p(gold value) of a minus that of b, in nats, or `None` where it is not known.
        log_p_interval: Of that mean, or `None`.
        arithmetic: Of the right steps of the one against those of the other.
    """

    family: str
    a: str
    b: str
    test: PairedTest
    p_holm: float
    detectable: float | None
    clustered: ClusterTest | None
    log_p_difference: float | None
    log_p_interval: Interval | None
    arithmetic: StepAccuracyDifference

    @property
    def significant(self) -> bool:
        """Whether the two students differ at 5 % after Holm."""
        return self.p_holm < SIGNIFICANT


@dataclass(frozen=True)
class AbsentArm:
    """An arm that was planned and has no answers.

    Attributes:
        name: The arm's.
        reason: Why, as the rest of a sentence.
        pairs: Those that were planned with it and cannot be compared.
    """

    name: str
    reason: str
    pairs: list[str]


@dataclass(frozen=True)
class Comparison:
    """What can be said of some arms.

    Attributes:
        arms: Their scores.
        pairs: Planned pairs of students, or all.
        strategies: Planned pairs of strategies that were trained with enough seeds.
        verdict: What may be said, in sentences.
        findings: What may mislead.
        pairing: What answers were paired by, as a sentence.
        absent: Arms that have no answers, and why.
    """

    arms: list[ArmScore]
    pairs: list[Pair]
    strategies: list[StrategyPair]
    verdict: list[str]
    findings: list[Finding] = field(default_factory=list)
    pairing: str = ""
    absent: list[AbsentArm] = field(default_factory=list)
