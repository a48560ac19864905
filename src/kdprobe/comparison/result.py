"""The result of a comparison: scores of arms, pairs of arms, findings and a verdict."""

from __future__ import annotations

from dataclasses import dataclass, field

from kdprobe.comparison.arms import group_of
from kdprobe.comparison.finding import Finding
from kdprobe.comparison.leaks.result import LeakAudit
from kdprobe.comparison.samples.at_k import AtKDifference
from kdprobe.comparison.scoring import Score
from kdprobe.comparison.step_accuracy import StepAccuracyDifference
from kdprobe.comparison.strategy_tests import StrategyPair
from kdprobe.comparison.tasks.result import TaskComparison
from kdprobe.stats.clustered import ClusterTest
from kdprobe.stats.intervals import Interval
from kdprobe.stats.mcnemar import PairedTest
from kdprobe.stats.p_values import SIGNIFICANT


@dataclass(frozen=True, kw_only=True)
class ArmScore(Score):
    """An arm's score under one extractor.

    Attributes:
        name: The arm's name.
        strategy: The teacher's strategy, or `None` for a control.
        distiller: The distiller, or `None`.
        seed: The training seed.
        unprimed: Whether the teacher read the bare question.
    """

    name: str
    strategy: str | None
    distiller: str | None
    seed: int
    unprimed: bool

    @property
    def group(self) -> str:
        """What arms that differ only by their seed have in common: the strategy, or the name without the seed."""
        return group_of(self.name, self.strategy, self.seed)


@dataclass(frozen=True)
class Pair:
    """Two arms on the problems they share.

    Attributes:
        family: The family of tests that the pair belongs to.
        a: The first arm.
        b: The second arm.
        test: The test of a compared with b.
        p_holm: The p-value, adjusted within the family.
        detectable: The smallest true difference that this test would detect with 80% power, at a level of 5% for the
            whole family (Bonferroni), with the same number of disagreements (with several samples, with differences
            that vary as much); `None` if it would detect none.
        clustered: The same test over groups of problems, or `None` if there are no groups.
        log_p_difference: Mean log p(gold value) of a minus that of b, in nats, or `None` if unknown.
        log_p_interval: The interval of that mean, or `None`.
        arithmetic: The difference in step accuracy.
        samples: The numbers of answers per problem, a single one if it is the same for both; with more than 1, the test
            compares the means over them.
        at_k: If both have several samples, the differences in pass@k and maj@k.
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
    samples: list[int] = field(default_factory=lambda: [1])
    at_k: list[AtKDifference] = field(default_factory=list)

    @property
    def significant(self) -> bool:
        """Whether the two students differ at 5% after Holm's adjustment."""
        return self.p_holm < SIGNIFICANT


@dataclass(frozen=True)
class AbsentArm:
    """A planned arm that has no answers.

    Attributes:
        name: The arm's name.
        reason: Why it has none, as the rest of a sentence.
        pairs: The planned pairs that cannot be compared without it.
    """

    name: str
    reason: str
    pairs: list[str]


@dataclass(frozen=True)
class Comparison:
    """The result of comparing arms.

    Attributes:
        arms: Scores of the arms.
        pairs: Planned pairs of students, or all pairs.
        strategies: Planned pairs of strategies, where both have students of enough seeds.
        verdict: What the comparison supports, in sentences.
        findings: What may be misleading.
        pairing: How answers were paired, as a sentence.
        absent: Arms without answers, and why.
        tasks: The same students on other tasks, if an experiment has any.
        leaks: Traces of priming in the answers, and their lengths; `None` without texts.
    """

    arms: list[ArmScore]
    pairs: list[Pair]
    strategies: list[StrategyPair]
    verdict: list[str]
    findings: list[Finding] = field(default_factory=list)
    pairing: str = ""
    absent: list[AbsentArm] = field(default_factory=list)
    tasks: TaskComparison | None = None
    leaks: LeakAudit | None = None
