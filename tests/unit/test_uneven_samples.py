"""Arms and problems with different numbers of answers, in every form of output."""

import json
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

import kdprobe
from kdprobe.cli.show.comparison import show_comparison
from kdprobe.comparison import compare as compared
from kdprobe.comparison import scoring
from kdprobe.comparison.answers import outputs_of
from kdprobe.comparison.arms import Arm
from kdprobe.comparison.compare import compare
from kdprobe.comparison.samples.at_k import at_problems
from kdprobe.comparison.samples.by_problem import by_problem
from kdprobe.problems.extractors import Robust
from kdprobe.report.compare_page import write_compare_page
from kdprobe.stats.bootstrap import mean_interval
from kdprobe.stats.intervals import accuracy_interval
from kdprobe.stats.samples.means import share_interval
from pages import text_of

POWERS = {1: [], 4: [2, 4], 6: [2, 4, 6], 8: [2, 4, 8]}
"""The values of k that are reported for each number of answers."""


def rows(samples, right, problems=20):
    """Each problem has this many answers, of which the first few problems have one that is right."""
    return [
        {
            "id": str(problem),
            "sample": sample,
            "response": f"It is {7 if problem < right and sample == 0 else sample + 10}.",
            "gold": "7",
        }
        for problem in range(problems)
        for sample in range(samples)
    ]


def table_of(page):
    """The cells of the page's table of pass@k and maj@k."""
    table = page.partition("Several samples per problem</h3>")[2].partition("</table>")[0]
    return [[text_of(cell) for cell in re.findall(r"<t[hd]>(.*?)</t[hd]>", row)] for row in table.split("<tr>")[1:]]


@pytest.mark.parametrize("samples", [(8, 6), (6, 8), (8, 1), (1, 8), (4, 8)])
def test_every_output_shows_arms_with_different_numbers_of_samples(samples, tmp_path, run_cli):
    files = []
    for name, count in zip("ab", samples, strict=True):
        files.append(tmp_path / f"{name}.jsonl")
        files[-1].write_text("".join(json.dumps(row) + "\n" for row in rows(count, 9)))
    said = json.loads(run_cli("compare", *files, "--out", tmp_path / "page.html", "--json"))
    ks = sorted({k for count in samples for k in POWERS[count]})
    shown = [f"{kind}@{k}" for kind in ("pass", "maj") for k in ks]
    head, *arms = table_of((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert head == ["arm", "samples", "mean accuracy", *shown]
    for cells, count in zip(arms, samples, strict=True):
        assert cells[1] == str(count)
        known = [k in POWERS[count] for k in ks]
        assert [cell != "unknown" for cell in cells[3:]] == known * 2
    for arm, count in zip(said["arms"], samples, strict=True):
        expected = [f"{kind}@{k}" for kind in ("pass", "maj") for k in POWERS[count]]
        assert [each["measure"] for each in arm["at_k"]] == expected
    printed = run_cli("compare", *files)
    assert all(measure in printed for measure in shown)
    result = kdprobe.compare({name: rows(count, 9) for name, count in zip("ab", samples, strict=True)}, progress=False)
    assert set(result.at_k["measure"]) == set(shown)
    assert "pass@" in repr(result)
    assert "pass@" in result._repr_html_()


@pytest.mark.parametrize("right", [0, 1, 3, 17, 19, 20])
@pytest.mark.parametrize("problems", [20, 3])
def test_intervals_of_shares_are_known_and_stay_between_zero_and_one(right, problems):
    arm = Arm("a", outputs_of(rows(4, right, problems), "a"))
    (score,) = compare([arm], {"robust": Robust()}).arms
    for each in score.at_k:
        assert 0 <= each.interval.low <= each.value <= each.interval.high <= 1
        assert each.interval.high - each.interval.low > 0.1


def test_the_interval_of_a_share_is_wilsons_if_nearly_all_problems_agree_and_else_the_bootstrap():
    few, many = np.array([0.5] * 9 + [1.0] * 31), np.array([0.5] * 10 + [1.0] * 30)
    assert share_interval(few) == accuracy_interval(35.5, 40)
    assert share_interval(many) == mean_interval(many)
    assert not share_interval(np.array([0.5])).known


def test_an_arm_without_texts_stands_beside_one_that_thinks(tmp_path):
    scores = [arm.outputs for arm in (Arm("a", outputs_of(rows(1, 9), "a")), Arm("b", outputs_of(rows(1, 5), "b")))]
    judged = [replace(each, metric="exact_match", tool="a tool", right=[True] * 20) for each in scores]
    thinks = replace(judged[0], responses=["<think>\nHm.\n</think>\n\n7"] * 20, columns={"response": "text"})
    arms = [Arm("a", thinks), Arm("b", replace(judged[1], responses=[""] * 20, columns={"response": None}))]
    comparison = compare(arms, {"robust": Robust()})
    assert [arm.thinking for arm in comparison.arms] == [1, None]
    page = tmp_path / "page.html"
    write_compare_page(page, arms, comparison, Robust())
    assert "b 20 of 20 100.0%" in text_of(page.read_text(encoding="utf-8"))


def test_outputs_say_that_only_first_answers_are_searched_for_traces_of_the_priming(tmp_path, capsys):
    plain = rows(2, 0, 40)
    hedging = [{**row, "response": f"Maybe {row['response']}"} if row["sample"] == 0 else row for row in plain]
    # Whatever the second answers say has no part in it.
    later = [{**row, "response": f"I was told {row['response']}"} if row["sample"] == 1 else row for row in hedging]
    page = tmp_path / "page.html"
    result = kdprobe.compare({"a": later, "b": plain}, baseline="b", out=page, progress=False)
    audit = result.comparison.leaks
    assert {rate.kind: rate.rate for rate in audit.rates if rate.name == "a"} == {
        "hedging": 1, "self-correction": 0, "hint": 0,
    }  # fmt: skip
    assert result.to_dict()["leaks"]["only_first"] is True
    finding = next(each for each in result.comparison.findings if each.code == "leaked-hedging")
    assert finding.evidence.startswith("Some answers (only the first to each problem was searched) hedge: a 100.0%")
    assert (
        "The first answers of 'a' to each problem show traces of priming more often than those of 'b'"
        in result.verdict[-1]
    )
    made = text_of(page.read_text(encoding="utf-8"))
    assert "Only the first answer to each problem is searched." in made
    assert "Length of the answers Averaged over problems, using the first answer to each." in made
    assert "traces of priming and the lengths of answers come from the first" in made
    show_comparison(result.comparison)
    assert "the first answer to each problem" in " ".join(capsys.readouterr().out.split())
    assert "Traces of priming in the first answer" in repr(result)


def test_samples_are_grouped_and_majorities_counted_once_for_each_arm(monkeypatch):
    counted = Counter()

    def counting(function):
        def wrapped(*arguments):
            counted[function.__name__] += 1
            return function(*arguments)

        return wrapped

    monkeypatch.setattr(compared, "by_problem", counting(by_problem))
    monkeypatch.setattr(scoring, "by_problem", counting(by_problem))
    monkeypatch.setattr(compared, "at_problems", counting(at_problems))
    monkeypatch.setattr(scoring, "at_problems", counting(at_problems))
    arms = [Arm(name, outputs_of(rows(4, right), name)) for name, right in (("a", 9), ("b", 5))]
    compare(arms, {"robust": Robust(), "other": Robust()})
    assert counted == {"by_problem": 2, "at_problems": 2}
    counted.clear()
    scoring.scores(arms[0].outputs, {"robust": Robust(), "other": Robust()})
    assert counted == {"by_problem": 1, "at_problems": 2}
