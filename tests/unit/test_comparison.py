import numpy as np
import pytest

from kdprobe.errors import KdprobeError
from kdprobe.evaluation.comparison import ArmRecords, compare

N = 40


def arm(name, correct, strategy=None, distiller="logits", seed=0, shift="", **changes):
    random = np.random.default_rng(len(name))
    records = [
        {
            "correct": place < correct,
            "cut_off": False,
            "value": "7",
            "tokens": 20,
            "prompt_hash": f"{shift}{place}",
            "log_p_gold_value": float(random.normal(-3, 1)),
            **{name: values[place] for name, values in changes.items()},
        }
        for place in range(N)
    ]
    return ArmRecords(name, strategy, distiller, seed, records)


def arms(none=20, teacher=20, untrained=20, tuned=20):
    return [
        arm("untrained", untrained, distiller=None),
        arm("fine-tuned", tuned, distiller="fine-tune"),
        arm("none", none, "none"),
        arm("teacher", teacher, "teacher"),
    ]


def test_families_hold_the_planned_pairs_and_no_others():
    pairs = {(pair.family, pair.a, pair.b) for pair in compare(arms()).pairs}
    assert pairs == {
        ("distilled against untrained", "none", "untrained"),
        ("distilled against untrained", "teacher", "untrained"),
        ("distilled against fine-tuned", "none", "fine-tuned"),
        ("distilled against fine-tuned", "teacher", "fine-tuned"),
        ("primed against none", "teacher", "none"),
    }


def test_pairs_are_of_one_seed():
    seeded = [arm(f"{name}@{seed}", 20, name, seed=seed) for seed in (0, 1) for name in ("none", "teacher")]
    pairs = {(pair.a, pair.b) for pair in compare(seeded).pairs}
    assert pairs == {("teacher@0", "none@0"), ("teacher@1", "none@1")}


def test_holm_is_within_a_family():
    by = {(pair.family, pair.a): pair for pair in compare(arms(none=29, teacher=30)).pairs}
    alone = by["primed against none", "teacher"]
    family = [by["distilled against untrained", name] for name in ("teacher", "none")]
    assert alone.p_holm == alone.test.p
    assert family[0].p_holm == pytest.approx(2 * family[0].test.p)


def test_equal_students_do_not_differ_significantly():
    verdict = " ".join(compare(arms()).verdict)
    assert "teacher and none do not differ significantly" in verdict
    assert "No distilled student is significantly better" in verdict


def test_different_students_differ():
    verdict = " ".join(compare(arms(teacher=38)).verdict)
    assert "teacher and none differ: teacher solves 45.0 points more" in verdict
    assert "Better than the untrained student: teacher" in verdict


def test_a_worse_student_solves_fewer():
    verdict = " ".join(compare(arms(teacher=2)).verdict)
    assert "differ: teacher solves 45.0 points fewer" in verdict
    assert "Better than" not in verdict


def test_verdict_speaks_of_students_not_of_strategies():
    verdict = compare(arms(teacher=38)).verdict
    assert verdict[-1] == (
        "With one seed these sentences speak of these students, not of the strategies that taught them."
    )
    assert not any("strategy is better" in sentence for sentence in verdict)


def test_without_an_unprimed_arm_nothing_is_said_about_priming():
    verdict = compare([arm("untrained", 20, distiller=None), arm("teacher", 30, "teacher")]).verdict
    assert "nothing can be said about priming" in verdict[0]


def test_arms_on_different_problems_are_refused():
    with pytest.raises(KdprobeError, match="'untrained' and 'none' were examined on different problems"):
        compare([arm("untrained", 20), arm("none", 20, "none", shift="x")])


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"cut_off": [True] * 10 + [False] * 30}, "cut-off", "none 25%"),
        ({"value": [None] * 20 + ["1"] * 20}, "no-answer", "none 50%"),
    ],
)
def test_what_spoils_an_arm_is_found(changes, code, words):
    (finding,) = compare([arm("untrained", 20), arm("none", 20, "none", **changes)]).findings
    assert finding.code == code
    assert words in finding.evidence


def test_clean_arms_have_no_findings_and_floored_ones_have():
    assert compare(arms()).findings == []
    (floor,) = compare(arms(1, 1, 1, 1)).findings
    assert floor.code == "floor"


def test_scores_are_means_of_the_records():
    tokens = list(range(N))
    score = compare([arm("none", 10, "none", tokens=tokens)]).arms[0]
    assert (score.n, score.correct, score.accuracy, score.mean_tokens) == (N, 10, 0.25, np.mean(tokens))
