import dataclasses
import re

import numpy as np
import pytest

from kdprobe.comparison import compare as comparison
from kdprobe.comparison.answers import Outputs
from kdprobe.comparison.arms import Arm
from kdprobe.errors import KdprobeError
from kdprobe.problems.extractors import Robust

N = 40


def compare(arms):
    return comparison.compare(arms, {"robust": Robust()})


def arm(name, correct, strategy=None, distiller="logits", seed=0, **changes):
    """An arm that solves a number of problems, starting with the first."""
    random = np.random.default_rng(len(name))
    outputs = Outputs(
        file=f"run/{name}",
        responses=[f"The answer is {7 if index < correct else 8}" for index in range(N)],
        gold=["7"] * N,
        ids=[f"p{index}" for index in range(N)],
        cut_off=[False] * N,
        tokens=[20] * N,
        log_p_gold_value=list(random.normal(-3, 1, N)),
    )
    return Arm(
        name, dataclasses.replace(outputs, **changes), strategy, distiller, seed, unprimed=strategy == "unprimed"
    )


def arms(unprimed=20, teacher=20, untrained=20, tuned=20):
    return [
        arm("untrained", untrained, distiller=None),
        arm("fine-tuned", tuned, distiller="fine-tune"),
        arm("unprimed", unprimed, "unprimed"),
        arm("teacher", teacher, "teacher"),
    ]


def test_families_hold_the_planned_pairs_and_no_others():
    pairs = {(pair.family, pair.a, pair.b) for pair in compare(arms()).pairs}
    assert pairs == {
        ("distilled vs untrained", "unprimed", "untrained"),
        ("distilled vs untrained", "teacher", "untrained"),
        ("distilled vs fine-tuned", "unprimed", "fine-tuned"),
        ("distilled vs fine-tuned", "teacher", "fine-tuned"),
        ("primed vs unprimed", "teacher", "unprimed"),
    }


def test_pairs_are_of_one_seed():
    seeded = [arm(f"{name}@{seed}", 20, name, seed=seed) for seed in (0, 1) for name in ("unprimed", "teacher")]
    pairs = {(pair.a, pair.b) for pair in compare(seeded).pairs}
    assert pairs == {("teacher@0", "unprimed@0"), ("teacher@1", "unprimed@1")}


def called(arms, names):
    """The same arms with other names but the same roles."""

    def renamed(name):
        strategy, at, seed = name.partition("@")
        return f"{names.get(strategy, strategy)}{at}{seed}"

    return [
        dataclasses.replace(arm, name=renamed(arm.name), strategy=arm.strategy and renamed(arm.strategy))
        for arm in arms
    ]


@pytest.mark.parametrize(
    "names", [{"unprimed": "bare", "teacher": "none"}, {"unprimed": "teacher", "teacher": "unprimed"}]
)
@pytest.mark.parametrize("seeds", [1, 3])
def test_what_arms_are_called_changes_no_verdict(seeds, names):
    students = seeded(3, teacher=(38, 37, 38)) if seeds == 3 else [*arms(teacher=38, untrained=2)[2:]]
    compared = [arm("untrained", 2, distiller=None), *students]
    plain, other = compare(compared), compare(called(compared, names))
    assert "teacher" in plain.verdict[0]

    def in_other_words(sentence):
        return re.sub("unprimed|teacher", lambda match: names[match[0]], sentence)

    assert other.verdict == [in_other_words(sentence) for sentence in plain.verdict]
    assert [pair.test for pair in other.pairs] == [pair.test for pair in plain.pairs]
    assert [pair.p_holm for pair in other.strategies] == [pair.p_holm for pair in plain.strategies]
    assert [arm.unprimed for arm in other.arms] == [arm.unprimed for arm in plain.arms]


def test_a_primed_arm_is_compared_with_every_unprimed_one_and_these_are_not_with_each_other():
    other = dataclasses.replace(arm("plain", 10, "plain"), unprimed=True)
    primed = [pair for pair in compare([*arms(teacher=38), other]).pairs if pair.family == "primed vs unprimed"]
    assert [(pair.a, pair.b) for pair in primed] == [("teacher", "unprimed"), ("teacher", "plain")]
    assert max(pair.p_holm / pair.test.p for pair in primed) == pytest.approx(2)
    strategies = seeded(3, teacher=(38, 37, 38))
    copies = [
        dataclasses.replace(arm, name=arm.name.replace("unprimed", "plain"), strategy="plain")
        for arm in strategies
        if arm.unprimed
    ]
    pairs = compare([*strategies, *copies]).strategies
    assert [(pair.a, pair.b) for pair in pairs] == [("teacher", "unprimed"), ("teacher", "plain")]


def test_holm_is_within_a_family():
    by = {(pair.family, pair.a): pair for pair in compare(arms(unprimed=29, teacher=30)).pairs}
    alone = by["primed vs unprimed", "teacher"]
    family = [by["distilled vs untrained", name] for name in ("teacher", "unprimed")]
    assert alone.p_holm == alone.test.p
    assert family[0].p_holm == pytest.approx(2 * family[0].test.p)


def test_equal_students_do_not_differ_significantly():
    verdict = " ".join(compare(arms()).verdict)
    same = "'teacher' has the same accuracy as 'unprimed' (95% interval"
    assert f"'teacher' and 'unprimed' do not differ significantly: {same}" in verdict
    assert "No distilled student is significantly better" in verdict


def test_different_students_differ():
    verdict = " ".join(compare(arms(teacher=38)).verdict)
    assert (
        "'teacher' and 'unprimed' differ: 'teacher' scores 45.0 points higher than 'unprimed' (95% interval" in verdict
    )
    assert "Significantly better than the untrained student: 'teacher'" in verdict


def test_a_worse_student_solves_fewer():
    verdict = " ".join(compare(arms(teacher=2)).verdict)
    assert "differ: 'teacher' scores 45.0 points lower than 'unprimed' (95% interval" in verdict
    assert "Better than" not in verdict


def test_verdict_speaks_of_students_not_of_strategies():
    verdict = compare(arms(teacher=38)).verdict
    assert verdict[-1] == ("With a single seed, these results describe these students, not the strategies.")
    assert not any("strategy is better" in sentence for sentence in verdict)


def seeded(seeds, teacher, unprimed=(20, 21, 19)):
    """Students of two strategies; each solves a number of problems, spread evenly."""

    def student(strategy, seed, correct):
        solved = [(index * correct) % N < correct for index in range(N)]
        responses = [f"The answer is {7 if right else 8}" for right in solved]
        return arm(f"{strategy}@{seed}", 0, strategy, seed=seed, responses=responses)

    return [
        student(strategy, seed, correct)
        for strategy, counts in (("unprimed", unprimed), ("teacher", teacher))
        for seed, correct in zip(range(seeds), counts, strict=False)
    ]


def test_three_seeds_speak_of_strategies():
    compared = compare(seeded(3, teacher=(38, 37, 38)))
    (pair,) = compared.strategies
    assert (pair.family, pair.a, pair.b) == ("primed vs unprimed", "teacher", "unprimed")
    assert (pair.test.seeds_a, pair.test.seeds_b, pair.test.n) == (3, 3, N)
    assert pair.test.difference == pytest.approx((113 - 60) / 3 / N)
    assert pair.p_holm < 0.05
    assert compared.verdict[0].startswith(
        "The strategies 'teacher' and 'unprimed' differ: students trained with 'teacher' score 44.2 points higher than "
        "students trained with 'unprimed' (95% interval"
    )
    assert "generalise to other seeds and problems" in compared.verdict[-1]


def test_equal_strategies_are_not_told_apart():
    same = (
        "do not differ significantly: students trained with 'teacher' have the same accuracy as students trained with "
        "'unprimed' (95% interval"
    )
    for correct in ((20, 21, 19), (19, 20, 21)):
        verdict = compare(seeded(3, teacher=correct)).verdict
        assert verdict[0].startswith(f"The strategies 'teacher' and 'unprimed' {same}")


def test_two_seeds_speak_of_students_only():
    compared = compare(seeded(2, teacher=(38, 37)))
    assert compared.strategies == []
    assert compared.verdict[-1].startswith("With 2 seeds, these results describe these students")


def test_strategies_meet_fine_tuning_where_it_has_seeds_too():
    tuned = [arm(f"fine-tuned@{seed}", 20 + seed, distiller="fine-tune", seed=seed) for seed in range(3)]
    untrained = arm("untrained", 2, distiller=None)
    compared = compare([untrained, *tuned, *seeded(3, teacher=(38, 37, 38))])
    assert [(pair.family, pair.a, pair.b) for pair in compared.strategies] == [
        ("distilled vs untrained", "unprimed", "untrained"),
        ("distilled vs untrained", "teacher", "untrained"),
        ("distilled vs fine-tuned", "unprimed", "fine-tuned"),
        ("distilled vs fine-tuned", "teacher", "fine-tuned"),
        ("primed vs unprimed", "teacher", "unprimed"),
    ]


@pytest.mark.parametrize(
    ("untrained", "said"),
    [
        (2, "Students trained with 'unprimed' score 45.0 points higher than the control 'untrained' (95% interval +"),
        (19, "'unprimed' do not differ significantly from the control 'untrained': they score 2.5 points higher (95%"),
        (20, "'unprimed' do not differ significantly from the control 'untrained': they have the same accuracy (95%"),
    ],
)
def test_a_control_is_not_called_a_strategy(untrained, said):
    unprimed = [each for each in seeded(3, teacher=()) if each.unprimed]
    (sentence, *_) = compare([arm("untrained", untrained, distiller=None), *unprimed]).verdict
    assert said in sentence
    assert ", 3 seeds, 40 problems)." in sentence
    assert "strateg" not in sentence


def test_groups_are_what_was_drawn_where_problems_share_some():
    groups = [f"template {index % 4}" for index in range(N)]
    a, b = (arm(name, correct, name, groups=groups) for name, correct in (("teacher", 38), ("unprimed", 20)))
    compared = compare([a, b])
    (pair,) = compared.pairs
    assert (pair.clustered.groups, pair.clustered.p) == (4, 0.125)
    assert any("conditional on the 4 templates" in sentence for sentence in compared.verdict)
    assert any(
        "p = 0.12 (the two differ on too few templates for p to be below 0.12)" in sentence
        for sentence in compared.verdict
    )
    students = [
        dataclasses.replace(a, outputs=dataclasses.replace(a.outputs, groups=groups)) for a in seeded(3, (38,) * 3)
    ]
    crossed = compare(students)
    assert crossed.strategies[0].clustered.groups == 4
    assert crossed.strategies[0].test.groups == N
    assert re.search(
        r"95% interval [^;]*, Holm-adjusted p = [^;]*, 3 seeds each, 40 problems; clustered by the 4 templates: "
        r"[^;]*, unadjusted p = ",
        crossed.verdict[0],
    )
    alone = [arm(name, 20, name, groups=[str(index) for index in range(N)]) for name in ("teacher", "unprimed")]
    assert compare(alone).pairs[0].clustered is None


def test_what_the_sample_could_have_shown_is_told():
    close = compare(arms(unprimed=20, teacher=24))
    (pair,) = [pair for pair in close.pairs if pair.family == "primed vs unprimed"]
    assert pair.detectable is None
    assert "'teacher' and 'unprimed' agree on 36 of 40 problems; 4 disagreements are too few" in " ".join(close.verdict)
    responses = [f"The answer is {7 if index >= 18 else 8}" for index in range(N)]
    wide = compare([arm("unprimed", 20, "unprimed"), arm("teacher", 0, "teacher", responses=responses)])
    assert wide.pairs[0].detectable == pytest.approx(0.43, abs=0.03)
    sentences = " ".join(wide.verdict)
    assert "With 38 disagreements on 40 problems, a true difference of less than" in sentences
    assert "points between 'teacher' and 'unprimed' would be missed more than one time in five." in sentences


def test_without_an_unprimed_arm_nothing_is_said_about_priming():
    verdict = compare([arm("untrained", 20, distiller=None), arm("teacher", 30, "teacher")]).verdict
    assert "nothing can be said about priming" in verdict[0]


def test_arms_on_different_problems_are_refused():
    elsewhere = arm("unprimed", 20, "unprimed", ids=[f"x{index}" for index in range(N)])
    with pytest.raises(KdprobeError, match="run/untrained and run/unprimed have no problems in common"):
        compare([arm("untrained", 20, distiller=None), elsewhere])
    asked = [arm(name, 20, questions=[f"{name} {index}?" for index in range(N)]) for name in ("a", "b")]
    with pytest.raises(KdprobeError, match="use the same ids for different questions"):
        compare(asked)


def test_arms_without_ids_are_paired_by_question():
    questions = [f"How many are {index}?" for index in range(N)]
    named = arm("a", 10, questions=questions)
    unnamed = arm("b", 10, ids=None, questions=questions[::-1])
    (pair,) = compare([named, unnamed]).pairs
    assert (pair.test.n, pair.test.only_a, pair.test.only_b) == (N, 10, 10)


def test_without_strategies_all_pairs_are_one_family():
    compared = compare([arm("a", 5), arm("b", 8), arm("c", 38)])
    assert [(pair.family, pair.a, pair.b) for pair in compared.pairs] == [
        ("all pairs", "a", "b"),
        ("all pairs", "a", "c"),
        ("all pairs", "b", "c"),
    ]
    assert len(compared.verdict) == 3
    assert "The students 'a' and 'c' differ: 'a' scores 82.5 points lower" in compared.verdict[0]
    assert compared.verdict[-1] == "1 other pair does not differ significantly."
    close = compare([arm("a", 5), arm("b", 8), arm("c", 6)])
    assert close.verdict == ["No two of these arms differ significantly (3 pairs)."]
    (single,) = compare([arm("a", 5), arm("b", 8)]).verdict
    assert single.startswith(
        "The students 'a' and 'b' do not differ significantly: 'a' scores 7.5 points lower than 'b' (95% "
    )
    assert "0 problems solved only by 'a', 3 only by 'b'; Holm-adjusted p = 0.25)." in single
    assert "there is nothing to compare" in compare([arm("a", 5)]).verdict[0]


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"cut_off": [True] * 10 + [False] * 30}, "cut-off", "unprimed 25.0%"),
        ({"responses": ["None."] * 20 + ["The answer is 7"] * 20}, "no-answer", "unprimed 50.0%"),
    ],
)
def test_what_spoils_an_arm_is_found(changes, code, words):
    (finding,) = compare([arm("untrained", 20, distiller=None), arm("unprimed", 20, "unprimed", **changes)]).findings
    assert finding.code == code
    assert words in finding.evidence


def test_clean_arms_have_no_findings_and_floored_ones_have():
    assert compare(arms()).findings == []
    (floor,) = compare(arms(1, 1, 1, 1)).findings
    assert floor.code == "floor"


@pytest.mark.parametrize(
    ("kind", "aspect", "code"),
    [
        ("budget", "tokens", "unequal-budget"),
        ("prompt", "chat template", "unequal-prompt"),
        ("decoding", "temperature", "unequal-decoding"),
        ("task", "digest", "unequal-task"),
        ("versions", "torch", "unequal-versions"),
    ],
)
def test_arms_examined_in_different_ways_are_found(kind, aspect, code):
    def examined(*values):
        names = [arm(f"arm{index}", 20, conditions={kind: {aspect: value}}) for index, value in enumerate(values)]
        return compare([*names, arm("unknown", 20)]).findings

    assert examined("1", "1") == []
    (finding,) = examined("1", "2", "2")
    assert finding.code == code
    assert "arm0" in finding.evidence
    assert "unknown" not in finding.evidence
    assert "cut off" not in finding.evidence, "no answer was"


def test_where_prompts_were_rendered_is_said_in_words():
    """Records say `here`, which would be ambiguous in a finding."""
    served, local = (
        arm(name, 20, conditions={"prompt": {"rendered": where}})
        for name, where in (("a", "by the server"), ("b", "here"))
    )
    (finding,) = compare([served, local]).findings
    assert finding.evidence == "The arms differ in where prompts were rendered: by the server (a), locally (b)."


def test_scores_are_means_of_the_answers():
    tokens = list(range(N))
    score = compare([arm("unprimed", 10, "unprimed", tokens=tokens)]).arms[0]
    assert (score.n, score.correct, score.accuracy, score.mean_tokens) == (N, 10, 0.25, np.mean(tokens))


def test_what_is_not_known_of_an_arm_stays_unknown():
    compared = compare([arm("a", 10), arm("b", 10, cut_off=None, tokens=None, log_p_gold_value=None)])
    score, (pair,) = compared.arms[1], compared.pairs
    assert score.cut_off is score.mean_tokens is score.log_p_gold_value is score.log_p_interval is None
    assert pair.log_p_difference is pair.log_p_interval is None


class Failing(Robust):
    def extract(self, text):
        raise RuntimeError("catastrophe")


def test_a_plugins_extractor_that_fails_costs_its_own_figures_only(capsys):
    robust, failing = Robust(), Failing()
    compared = comparison.compare(arms(), {"robust": robust, "theirs": failing})
    # As text: what is not a number differs from itself.
    assert repr(compared.arms) == repr(compare(arms()).arms)
    assert "Skipped: The extractor 'theirs' failed on an answer: RuntimeError: catastrophe." in capsys.readouterr().err


def test_an_extractor_that_fails_cannot_decide():
    with pytest.raises(KdprobeError, match=r"'theirs' failed on an answer.*choose another extractor"):
        comparison.compare(arms(), {"robust": Robust(), "theirs": Failing()}, "theirs")
