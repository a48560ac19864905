"""The data behind a page: every number comes from a record."""

import numpy as np
import pandas as pd
import pytest

from kdprobe.comparison.answers import Outputs
from kdprobe.comparison.arms import Arm, families
from kdprobe.comparison.compare import compare
from kdprobe.problems.extractors import Robust
from kdprobe.report.payload.answers import shown_answers
from kdprobe.report.payload.arms import named_arms, shown_arms
from kdprobe.report.payload.duplicates import is_explored
from kdprobe.report.payload.heads import few_students, head_measures
from kdprobe.report.payload.pairs import baselines, shown_accuracies

ROBUST = Robust()


def outputs(responses, **fields):
    count = len(responses)
    return Outputs("file", responses, ["7"] * count, [f"p{index}" for index in range(count)], **fields)


def shown(response, **fields):
    return shown_answers([Arm("a", outputs([response], **fields))], ROBUST)["arms"][0][0]


def arm(name, right, strategy=None, distiller=None, **fields):
    answers = ["The answer is 7." if each else "The answer is 8." for each in right]
    return Arm(name, outputs(answers), strategy, distiller, **fields)


@pytest.mark.parametrize(
    ("response", "value", "marked", "right"),
    [
        ("2 + 5 = 7, so the answer is 7.", "7", "7", True),
        ("\U0001f600\U0001f600 The answer is 1,234.50 dollars", "2469/2", "1,234.50", False),
        ("\u0627\u0644\u062c\u0648\u0627\u0628 \u0667", "7", "\u0667", True),
        ("I do not know.", None, None, False),
        ("\x1b[31m\\boxed{7}\x1b[0m", "7", "7", True),
    ],
)
def test_value_is_marked_where_it_stands_as_javascript_counts(response, value, marked, right):
    answer = shown(response)
    assert (answer["value"], answer["right"]) == (value, right)
    if marked is None:
        assert answer["span"] is None
        return
    start, end = answer["span"]
    units = answer["text"].encode("utf-16-le")
    assert units[2 * start : 2 * end].decode("utf-16-le") == marked


def test_a_text_in_which_a_secret_is_blacked_out_has_no_marked_value():
    answer = shown("sk-abcdefghijklmnop1234 and the answer is 7")
    assert answer["text"] == "[secret] and the answer is 7"
    assert (answer["value"], answer["span"]) == ("7", None)


def test_thinking_stands_apart_and_no_value_is_read_in_it():
    answer = shown("<think>Is it 8? </think>It is 7")
    assert (answer["thinking"], answer["text"], answer["right"]) == ("Is it 8?", "It is 7", True)
    begun = shown("<think>Is it 7")
    assert (begun["thinking"], begun["text"], begun["value"], begun["right"]) == ("Is it 7", "", None, False)


def test_arms_that_answered_other_problems_are_shown_where_they_did():
    first, second = outputs(["7", "8"]), Outputs("file", ["8", "7"], ["7", "7"], ["p1", "p2"])
    answers = shown_answers([Arm("a", first), Arm("b", second), Arm("lost", outputs([]), absent="diverged")], ROBUST)
    assert [problem["id"] for problem in answers["problems"]] == ["p0", "p1", "p2"]
    texts = [[answer and answer["text"] for answer in row] for row in answers["arms"]]
    assert texts == [["7", "8", None], [None, "8", "7"], [None, None, None]]


def test_what_a_metric_judged_is_not_read_again():
    judged = outputs(["anything 8"], metric="acc", right=[True])
    answers = shown_answers([Arm("a", judged)], ROBUST)
    assert answers["read"] is False
    assert answers["arms"][0][0]["right"] is True
    assert answers["arms"][0][0]["span"] is None


def test_an_arm_keeps_its_colour_over_seeds_and_the_untrained_student_is_grey():
    names = [
        ("untrained", None, None, 0),
        ("fine-tuned@0", None, "fine-tune", 0),
        ("fine-tuned@1", None, "fine-tune", 1),
    ]
    names += [(f"s{index}@{seed}", f"s{index}", "logits", seed) for index in range(7) for seed in (0, 1)]
    arms = shown_arms([Arm(name, outputs([]), strategy, how, seed) for name, strategy, how, seed in names])
    assert [arm["colour"] for arm in arms] == [0, 1, 1, *(colour for colour in (2, 3, 4, 5, 6, 7, 1) for _ in "01")]
    assert [arm["group"] for arm in arms[:5]] == ["untrained", "fine-tuned", "fine-tuned", "s0", "s0"]
    assert [arm["hollow"] for arm in arms] == [False] * 15 + [True] * 2
    assert [arm["colour"] for arm in named_arms(["a", "b"])] == [1, 2]


def test_planned_baselines_come_with_the_numbers_of_the_pairs():
    compared = compare(
        [
            arm("untrained", np.arange(40) < 5),
            arm("unprimed", np.arange(40) < 20, "unprimed", "logits", unprimed=True),
            arm("steps", np.arange(40) < 32, "steps", "logits"),
        ],
        {"robust": ROBUST},
    )
    found = {baseline["label"]: baseline["rows"] for baseline in baselines(compared)}
    assert list(found) == ["unprimed", "untrained"]
    (row,) = found["unprimed"]
    (pair,) = (pair for pair in compared.pairs if pair.family == "primed vs unprimed")
    assert (row["arm"], row["against"], row["only"]) == ("steps", "unprimed", (12, 0))
    assert row["difference"]["value"] == pair.test.difference == pytest.approx(0.3)
    assert (row["difference"]["low"], row["difference"]["high"]) == (pair.test.interval.low, pair.test.interval.high)
    assert row["difference"]["text"] == "+30.0 points"
    assert row["significant"] is pair.significant is True
    assert [accuracy["solved"] for accuracy in shown_accuracies(compared)] == ["5 of 40", "20 of 40", "32 of 40"]
    assert shown_accuracies(compared)[1]["accuracy"]["text"] == "50.0%"


def test_students_of_several_seeds_share_a_baseline():
    arms = [
        arm(f"unprimed@{seed}", np.arange(40) < 20, "unprimed", "logits", seed=seed, unprimed=True) for seed in (0, 1)
    ]
    arms += [arm(f"steps@{seed}", np.arange(40) < 32, "steps", "logits", seed=seed) for seed in (0, 1)]
    (baseline,) = baselines(compare(arms, {"robust": ROBUST}))
    assert baseline["label"] == "unprimed"
    assert [(row["arm"], row["against"]) for row in baseline["rows"]] == [
        ("steps@0", "unprimed@0"),
        ("steps@1", "unprimed@1"),
    ]


def test_of_strategies_over_seeds_the_unprimed_one_is_the_first_baseline_too():
    arms = [Arm("untrained", arm("untrained", np.arange(40) < 5).outputs)]
    for seed in range(3):
        draw = np.random.default_rng(seed).random(40)
        arms.append(arm(f"unprimed@{seed}", draw < 0.3, "unprimed", "logits", seed=seed, unprimed=True))
        arms.append(arm(f"steps@{seed}", draw < 0.8, "steps", "logits", seed=seed))
    found = baselines(compare(arms, {"robust": ROBUST}))
    labels = ["unprimed, over seeds", "untrained, over seeds", "unprimed", "untrained"]
    assert [baseline["label"] for baseline in found] == labels
    assert [row["against"] for row in found[0]["rows"]] == [found[0]["name"]] == ["unprimed"]


def test_without_a_plan_every_arm_is_a_baseline_and_swapped_pairs_are_mirrored():
    compared = compare([arm(name, np.arange(40) < right) for name, right in (("a", 32), ("b", 20))], {"robust": ROBUST})
    found = {baseline["label"]: baseline["rows"][0] for baseline in baselines(compared)}
    there, back = found["b"]["difference"], found["a"]["difference"]
    assert (there["value"], back["value"]) == (pytest.approx(0.3), pytest.approx(-0.3))
    assert (back["low"], back["high"]) == (-there["high"], -there["low"])
    assert (found["b"]["only"], found["a"]["only"]) == ((12, 0), (0, 12))
    assert (found["a"]["arm"], found["a"]["against"]) == ("b", "a")


def test_a_run_as_baseline_is_compared_arm_by_arm():
    right = {"a/plain": 20, "a/steps": 30, "b/plain": 32, "b/steps": 31, "b/new": 40}
    arms = [arm(name, np.arange(40) < count) for name, count in right.items()]
    compared = compare(arms, {"robust": ROBUST}, baseline="a")
    (baseline,) = baselines(compared)
    assert baseline["label"] == "a"
    assert [(row["arm"], row["against"], row["only"]) for row in baseline["rows"]] == [
        ("b/plain", "a/plain", (12, 0)),
        ("b/steps", "a/steps", (1, 0)),
    ]
    # Adjusted for two tests, those that were made.
    assert compared.pairs[0].p_holm == pytest.approx(2 * compared.pairs[0].test.p)
    same = compare([*arms[:2], arm("b/plain", np.arange(40) < 20), arms[3]], {"robust": ROBUST}, baseline="a")
    assert same.verdict == ["No arm differs significantly from its counterpart in 'a' (2 pairs)."]


def test_arms_of_two_runs_are_paired_by_strategy_and_never_across_roles():
    def student(name, taught_by, *, unprimed=False, seed=0):
        outputs = arm(name, np.arange(40) < 20).outputs
        return Arm(name, outputs, distiller="logits", seed=seed, unprimed=unprimed, taught_by=taught_by)

    arms = [
        student("a/plain", "none {}", unprimed=True),
        student("a/primed", "teacher {}"),
        student("a/mine", 'template {"text": "1"}'),
        student("b/plain", "teacher {}"),
        student("b/primed", "none {}", unprimed=True),
        student("b/mine", 'template {"text": "2"}'),
        student("b/other", "teacher {}", seed=1),
    ]
    pairs = [(one.name, other.name) for one, other in families(arms, "a")["compared with a"]]
    assert pairs == [("b/plain", "a/primed"), ("b/primed", "a/plain"), ("b/mine", "a/mine")]
    crossed = [student("a/x", "none {}", unprimed=True), student("b/x", "teacher {}")]
    assert not families(crossed, "a")["compared with a"]


def heads(**columns):
    return pd.DataFrame({"student": "s", "layer": [0, 0, 1, 1], "head": [0, 1, 0, 1], **columns})


def test_exact_values_stand_where_heads_were_run_exactly():
    screened = heads(metric="log_p_gold_solution", problem="pooled", value=[-0.1, -1.2, 0.2, 0.0], low=-2.0, high=1.0)
    exact = screened.iloc[[1]].assign(value=-9.4, low=-12.0, high=-7.0, method="exact")
    single = screened.assign(problem="p1", method="gradient")
    table = pd.concat([screened.assign(method="gradient"), exact, single], ignore_index=True)
    (measure,) = head_measures({"ablation": table})
    assert (measure["title"], measure["unit"]) == ("Ablation: log p(gold solution)", "nats")
    grid = measure["students"]["s"]
    assert (grid["layers"], grid["heads"]) == (2, 2)
    assert grid["value"] == [-0.1, -9.4, 0.2, 0.0]
    assert grid["low"] == [-2.0, -12.0, -2.0, -2.0]
    assert grid["exact"] == [False, True, False, False]


def test_measures_are_named_and_say_what_was_subtracted(tmp_path):
    change = heads(
        metric="entropy", problem="pooled", value=[0.1, -0.2, 0.3, np.nan], low=0.0, high=1.0, against="base"
    )
    change["moved"] = pd.array([True, False, False, None], dtype="boolean")
    change.to_parquet(tmp_path / "differences.parquet")
    geometry = heads(relative=0.5, base=2.0, change=1.0, circuit="qk")
    found = head_measures({"differences": tmp_path / "differences.parquet", "geometry": geometry})
    assert [(measure["title"], measure["unit"], measure["against"]) for measure in found] == [
        ("Change in attention entropy", "nats", "base"),
        ("Relative change in the QK circuit", "", None),
    ]
    assert found[0]["students"]["s"]["value"] == [0.1, -0.2, 0.3, None]
    # Of the last, it cannot be told; the others keep what is known of them.
    assert found[0]["students"]["s"]["moved"] == [True, False, False, False]
    change["moved"] = pd.array([None] * 4, dtype="boolean")
    (untold,) = head_measures({"differences": change})
    assert untold["students"]["s"]["moved"] is None
    assert found[1]["students"]["s"]["low"] == [None] * 4


def test_measures_of_attribution_and_association_have_readable_titles():
    attribution = heads(metric="logit_gold_solution", problem="pooled", value=1.0)
    association = heads(metric="entropy", problem="pooled", value=0.5, q=1.0)
    found = head_measures({"attribution": attribution, "association": association})
    assert [(measure["title"], measure["unit"]) for measure in found] == [
        ("Direct contribution to the logits of the gold solution", "logits"),
        ("Probability that attention entropy is higher for correct answers", ""),
    ]


def test_patched_students_are_told_apart_by_whose_outputs_they_were_given():
    table = heads(metric="log_p_gold_value", problem="pooled", value=1.0, low=0.0, high=2.0, method="gradient")
    both = pd.concat([table.assign(source="a"), table.assign(source="b")], ignore_index=True)
    (measure,) = head_measures({"patching": both})
    assert measure["title"] == "Patching into s: log p(gold value)"
    assert list(measure["students"]) == ["a", "b"]


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame({"student": ["s"], "value": [1.0]}),
        heads(value=1.0, problem="p1"),
        heads(value="text"),
        heads(value=1.0).assign(layer=0.5),
        pd.concat([heads(value=1.0)] * 2),
    ],
    ids=["no heads", "single problems", "text", "no layers", "several values a head"],
)
def test_other_tables_have_no_measure(table):
    assert head_measures({"mine": table}) == []


def test_a_map_of_heads_is_left_out_if_a_grid_shows_its_values():
    screened = heads(
        metric="log_p_gold_value", problem="pooled", value=[-0.1, -1.23456, 0.2, np.nan], low=-2.0, high=1.0
    )
    exact = screened.iloc[[0]].assign(value=-9.4, method="exact")
    measures = head_measures({"ablation": pd.concat([screened.assign(method="gradient"), exact], ignore_index=True)})

    def map_of(z):
        return {"data": [{"type": "heatmap", "z": z}], "layout": {}}

    # Layers across, heads down; the first head's effect was computed exactly, and the map has the estimate.
    assert is_explored(map_of([[-0.1, 0.2], [-1.23456, float("nan")]]), measures)
    assert not is_explored(map_of([[-0.1, 0.2], [-1.5, float("nan")]]), measures)
    assert not is_explored(map_of([[-0.1, 0.2, 0.0], [-1.23456, float("nan"), 0.0]]), measures)
    assert not is_explored({"data": [{"type": "scatter", "x": [0], "y": [1]}], "layout": {}}, measures)


def of_students(*names):
    table = heads(metric="entropy", problem="pooled", value=1.0)
    return head_measures({"heads": pd.concat([table.assign(student=name) for name in names], ignore_index=True)})


def test_an_analysis_of_some_students_says_of_which():
    names = {name: name for name in ("s", "t")}
    assert few_students({"heads": of_students(*names), "ablation": of_students("s"), "other": []}, names) == {
        "ablation": ["s"]
    }


def test_students_that_differ_by_their_seed_are_named_once():
    groups = {f"{group}@{seed}": group for seed in (0, 1) for group in ("a", "b")} | {"untrained": "untrained"}
    few = few_students(
        {
            "heads": of_students(*groups),
            "by arm": of_students("a", "b", "untrained"),
            # Its other measure is of how much all students differ, which is no student's.
            "more": [*of_students(*groups), *of_students("a@0 a@1 b@0 b@1")],
            "one arm": of_students("b@0", "b@1"),
            "one seed": of_students("untrained", "a@0", "b@0", "b@1"),
            "changes": of_students("a", "b"),
        },
        groups,
        base="untrained",
    )
    assert few == {"one arm": ["b"], "one seed": ["a@0", "b", "untrained"]}
