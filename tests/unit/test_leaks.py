"""Traces of priming in students' answers: what is caught, what is not, and where it is shown."""

import dataclasses
import json
import re

import numpy as np
import pytest

from kdprobe.api.compare import CompareResult
from kdprobe.cli.show.comparison import show_comparison
from kdprobe.comparison.answers import Outputs
from kdprobe.comparison.arms import Arm, families
from kdprobe.comparison.compare import compare
from kdprobe.comparison.leaks.audit import leak_audit
from kdprobe.comparison.leaks.findings import leak_findings
from kdprobe.comparison.leaks.teaching import Teaching
from kdprobe.comparison.pairing import pair_up
from kdprobe.problems.extractors import Robust
from kdprobe.report.compare_page import write_compare_page
from pages import text_of

N = 200
PRIMING = "You are a patient teacher. Explain each step in clear and simple words, step by step, so that all follow."


def answers(*traces, share=0.0, seed=0):
    """Ordinary answers; a share of them also has a trace."""
    random = np.random.default_rng(seed)
    leaking = random.random(N) < share
    ends = [traces[index % len(traces)] if leaking[index] else "" for index in range(N)]
    return [f"Let us solve it step by step. 3 * {index} = {3 * index}. {end}" for index, end in enumerate(ends)]


def arm(name, responses, strategy=None, distiller="logits", seed=0, **changes):
    outputs = Outputs(
        file=name,
        responses=responses,
        gold=[str(3 * index) for index in range(N)],
        ids=[f"p{index}" for index in range(N)],
        questions=[f"How many are 3 times {index}?" for index in range(N)],
        tokens=[20] * N,
    )
    outputs = dataclasses.replace(outputs, **changes)
    return Arm(name, outputs, strategy, distiller, seed, unprimed=strategy == "unprimed")


def experiment(primed, seeds=1, unprimed=None):
    """Arms of an experiment with a primed strategy, whose answers are given by seed."""
    arms = [arm("untrained", answers(), distiller=None)]
    for seed in range(seeds):
        suffix = "" if seeds == 1 else f"@{seed}"
        plain = unprimed(seed) if unprimed else answers()
        arms.append(arm(f"unprimed{suffix}", plain, "unprimed", seed=seed))
        arms.append(arm(f"teacher{suffix}", primed(seed), "teacher", seed=seed))
    return arms


def taught(teacher=("3 * 4 = 12",)):
    return {
        "teacher": Teaching([PRIMING], list(teacher), ["q"] * len(teacher)),
        "unprimed": Teaching([], ["3 * 4 = 12"], ["q"]),
    }


def audited(arms, teacher=("3 * 4 = 12",), baseline=None):
    return leak_audit(arms, families(arms, baseline), pair_up(arms), taught(teacher))


def compared(arms, baseline=None):
    return compare(arms, {"robust": Robust()}, baseline=baseline, teaching=taught())


def found(audit):
    return {finding.code: finding for finding in leak_findings(audit)}


@pytest.mark.parametrize("seeds", [1, 2, 3])
@pytest.mark.parametrize(
    ("traces", "share", "code"),
    [
        (["I think that is right.", "Perhaps."], 0.15, "leaked-hedging"),
        (["Wait, let me check."], 0.15, "leaked-self-correction"),
        (["This agrees with the answer key."], 0.15, "leaked-hint"),
        (
            ["I explained each step in clear and simple words.", "So that all follow, EXPLAIN each step!"],
            0.1,
            "leaked-priming",
        ),
    ],
)
def test_a_leaking_arm_is_caught(traces, share, code, seeds):
    assert set(found(audited(experiment(lambda seed: answers(*traces, share=share, seed=seed), seeds)))) == {code}


def test_the_finding_says_who_how_often_and_where():
    planted = answers("I think so.", share=0.15)
    teacher = ["I think 12", "3 * 4 = 12", "12", "12"]
    [finding] = found(audited(experiment(lambda _: planted), teacher)).values()
    count = sum("I think" in answer for answer in planted)
    assert f"teacher {count / N:.1%}, unprimed 0.0% (+{count / 2:.1f} points, 95% CI +" in finding.evidence
    assert "1 seed, 200 problems" in finding.evidence
    assert finding.evidence.endswith(" Of the teacher's own answers, 25.0% do so too.")
    [without] = found(audited(experiment(lambda _: planted), teacher[1:])).values()
    assert without.evidence.endswith(" None of the teacher's own answers do so.")
    examples = [index for index, answer in enumerate(planted) if "I think" in answer][:3]
    for index in examples:
        assert f"p{index}: “" in finding.evidence
    assert f"= {3 * examples[0]}. I think so.”" in finding.evidence
    assert "With fewer than 3 seeds, this result describes these students" in finding.action


def test_the_verdict_names_the_arm_and_its_traces():
    planted = answers("I think so, in clear and simple words.", share=0.2)
    sentences = [sentence for sentence in compared(experiment(lambda _: planted)).verdict if "traces" in sentence]
    points = 100 * sum("I think" in answer for answer in planted) / N
    expected = f"hedging +{points:.1f} points, quote +{points:.1f} points"
    assert sentences == [
        f"Answers of 'teacher' show traces of priming more often than those of 'unprimed': {expected}."
    ]
    assert not any("traces" in sentence for sentence in compared(experiment(lambda _: answers())).verdict)


@pytest.mark.parametrize("seeds", [1, 3])
def test_arms_alike_are_not_reported(seeds):
    def alike(side):
        return lambda seed: answers(
            "I think so.", "Wait, no.", "in clear and simple words", share=0.2, seed=seed + side
        )

    assert found(audited(experiment(alike(0), seeds, alike(10)))) == {}


def test_a_student_with_a_habit_says_nothing_of_the_strategy():
    def habit(seed):
        return answers("I think so.", share=0.5 if seed == 0 else 0.0)

    assert found(audited(experiment(habit, 3))) == {}
    # A single student is all that is known of the strategy, and the finding says so.
    assert set(found(audited(experiment(habit, 1)))) == {"leaked-hedging"}


def test_ordinary_runs_of_words_are_no_quotes():
    """All answers say "step by step"; a priming may contain what the unprimed students write anyway."""
    ordinary = ["Let us explain each step in clear and simple words."] * N
    audit = audited(experiment(lambda _: ordinary, unprimed=lambda _: ordinary))
    [quote] = [rate for rate in audit.rates if rate.kind == "quote"]
    assert (quote.test.rate_a, quote.test.rate_b, quote.test.p) == (0, 0, 1)


def test_fewer_traces_than_in_unprimed_answers_are_no_leak():
    hedging = answers("Maybe.", share=0.3)
    assert found(audited(experiment(lambda _: answers(), unprimed=lambda _: hedging))) == {}


def test_length_is_reported_and_is_no_finding():
    audit = audited(experiment(lambda _: [f"{answer} {'more ' * 50}" for answer in answers()]))
    words = {length.name: length.words for length in audit.lengths}
    assert words["teacher"] == words["unprimed"] + 50
    assert {length.tokens for length in audit.lengths} == {20}
    assert found(audit) == {}


def test_without_an_unprimed_arm_there_are_rates_and_no_tests():
    arms = [each for each in experiment(lambda _: answers("Maybe.", share=0.3)) if each.strategy != "unprimed"]
    audit = audited(arms)
    rates = {(rate.name, rate.kind): rate for rate in audit.rates}
    assert rates["teacher", "hedging"].rate > 0.2
    assert all(rate.test is None and rate.p_holm is None for rate in rates.values())
    assert found(audit) == {}


def test_files_are_compared_with_the_baseline():
    arms = [arm("a", answers("Maybe.", share=0.3), distiller=None), arm("b", answers(), distiller=None)]
    assert found(audited(arms)) == {}
    audit = audited(arms, baseline="b")
    [finding] = found(audit).values()
    assert finding.code == "leaked-hedging"
    assert finding.evidence.startswith("Some answers hedge: a 26.5%, b 0.0% (+26.5 points")
    assert "seeds" not in finding.action
    assert {rate.kind for rate in audit.rates} == {"hedging", "self-correction", "hint"}


def test_answers_without_texts_are_left_out():
    scores = {"metric": "exact_match", "right": [True] * N, "columns": {"response": None}}
    arms = [arm(name, [""] * N, distiller=None, **scores) for name in ("a", "b")]
    assert audited(arms) is None


def test_holm_counts_arms_and_kinds():
    """A rate that a single test would call higher is not among twelve."""
    primed = ["I think so. 3"] * 7 + ["3"] * (N - 7)
    audit = audited(experiment(lambda _: primed, unprimed=lambda _: ["3"] * N))
    [rate] = [rate for rate in audit.rates if rate.test and rate.kind == "hedging"]
    assert rate.test.p == pytest.approx(0.5**7)
    assert rate.p_holm == pytest.approx(4 * 0.5**7)


def test_json_and_tables_have_the_rates():
    comparison = compared(experiment(lambda seed: answers("Maybe.", share=0.3, seed=seed), 3))
    result = CompareResult(comparison)
    data = result.to_dict()["leaks"]
    [row] = [row for row in data["rates"] if (row["name"], row["kind"]) == ("teacher", "hedging")]
    assert row["significant"] is True
    assert (row["seeds"], row["n"], row["against"]) == (3, N, "unprimed")
    assert set(row["students"]) == {"teacher@0", "teacher@1", "teacher@2"}
    assert row["interval"]["low"] < row["difference"] < row["interval"]["high"]
    frame = result.leaks.set_index(["name", "kind"])
    assert frame.loc[("teacher", "hedging"), "rate_a"] == pytest.approx(row["rate_a"])
    assert np.isnan(frame.loc[("untrained", "hedging"), "p_holm"])
    assert "Traces of priming" in repr(result)
    assert list(result.lengths["name"]) == [row["name"] for row in data["lengths"]]
    json.dumps(data)


def test_the_terminal_has_a_table_only_if_there_is_something_to_say(capsys):
    show_comparison(compared(experiment(lambda _: answers("Maybe.", share=0.3))))
    assert "Traces of priming" in capsys.readouterr().out
    show_comparison(compared(experiment(lambda _: answers())))
    assert "Traces" not in capsys.readouterr().out


HOSTILE = "Maybe <script>alert(1)</script> \x1b[31m"


def test_texts_of_models_are_no_markup(capsys):
    comparison = compared(experiment(lambda _: answers(HOSTILE, share=0.3)))
    assert "<script>alert" in found(comparison.leaks)["leaked-hedging"].evidence
    show_comparison(comparison)
    assert "\x1b[31m" not in capsys.readouterr().out
    assert "<script>alert" not in CompareResult(comparison)._repr_html_()


def test_the_page_of_a_comparison_has_the_table(tmp_path):
    arms = [arm("a", answers(HOSTILE, share=0.3), distiller=None), arm("b", answers(), distiller=None)]
    page = tmp_path / "page.html"
    write_compare_page(page, arms, compared(arms, baseline="b"), Robust())
    text = text_of(page.read_text(encoding="utf-8"))
    assert "Traces of priming in the answers" in text
    assert re.search(r"a hedging [\d.]+% b 0\.0% \+", text)
    assert "<script>alert" not in page.read_text(encoding="utf-8")
