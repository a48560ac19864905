import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from kdprobe.comparison.findings import excerpts
from kdprobe.stats.bootstrap import mean_interval

DATA = Path(os.environ.get("KDPROBE_TEST_DATA", "/nowhere"))
N = 200


def answers(right, **columns):
    """Answers "7" or "8" to problems whose value is 7."""
    table = {"id": [f"p{n}" for n in range(len(right))], "gold": ["7"] * len(right)}
    return pd.DataFrame(table | {"response": [f"The answer is {7 if ok else 8}" for ok in right]} | columns)


@pytest.fixture
def file(tmp_path):
    def write(name, table):
        table.to_csv(tmp_path / f"{name}.csv", index=False)
        return tmp_path / f"{name}.csv"

    return write


def compared(run_cli, *arguments):
    return json.loads(run_cli("compare", *arguments, "--json"))


def codes(data):
    return {finding["code"]: finding["evidence"] for finding in data["findings"]}


def test_pairs_are_those_of_independent_code_whatever_the_order_of_rows(file, run_cli):
    random = np.random.default_rng(0)
    right = {name: random.random(N) < share for name, share in (("a", 0.5), ("b", 0.6), ("c", 0.62))}
    shuffled = {
        name: answers(list(ok)).sample(frac=1, random_state=number) for number, (name, ok) in enumerate(right.items())
    }
    data = compared(run_cli, *(file(name, table) for name, table in shuffled.items()))
    assert [(pair["a"], pair["b"]) for pair in data["pairs"]] == [("a", "b"), ("a", "c"), ("b", "c")]
    expected = []
    for pair in data["pairs"]:
        a, b = right[pair["a"]], right[pair["b"]]
        table = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
        expected.append(mcnemar(table, exact=True).pvalue)
        assert pair["p"] == pytest.approx(expected[-1])
        assert (pair["n"], pair["only_a"], pair["only_b"]) == (N, table[0][1], table[1][0])
        assert pair["difference"] == pytest.approx(a.mean() - b.mean())
        theirs = bootstrap((a.astype(float) - b,), np.mean, method="percentile", rng=1).confidence_interval
        assert pair["interval"]["low"] == pytest.approx(theirs.low, abs=0.01)
        assert pair["interval"]["high"] == pytest.approx(theirs.high, abs=0.01)
    assert [pair["p_holm"] for pair in data["pairs"]] == pytest.approx(multipletests(expected, method="holm")[1])
    assert [arm["name"] for arm in data["arms"]] == ["a", "b", "c"]


@pytest.mark.parametrize("distinct", [3, 100])
def test_bootstrap_of_few_and_of_many_values_is_scipys(distinct):
    values = np.random.default_rng(1).integers(0, distinct, 150) / distinct
    ours = mean_interval(values)
    theirs = bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=2).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.004)


def test_a_sound_comparison_has_no_findings(file, run_cli):
    right = [n % 2 == 0 for n in range(N)]
    soundly = [file("a", answers(right)), file("b", answers(right[::-1]))]
    assert compared(run_cli, *soundly, "--strict")["findings"] == []


def test_budgets_are_inferred_from_what_was_cut_off(file, run_cli):
    right = [n % 2 == 0 for n in range(10)]
    # One cut off late: the commonest length is the budget, not the largest.
    short = answers(right, tokens=[50] * 8 + [51, 20], cut_off=[True] * 9 + [False])
    long = answers(right, tokens=[350] * 9 + [90], cut_off=[True] * 9 + [False])
    found = codes(compared(run_cli, file("short", short), file("long", long)))
    assert found["unequal-budget"] == "Token budgets differ: short 50, long 350."
    assert "short 90.0%" in found["cut-off"]
    same = codes(compared(run_cli, file("short", short), file("again", short)))
    assert "unequal-budget" not in same


def test_different_problems_and_gold_values_are_findings(file, run_cli):
    right = [True] * 5 + [False] * 5
    other = answers(right).iloc[2:].assign(gold=["8", *["7"] * 7])
    found = codes(compared(run_cli, file("a", answers(right)), file("b", other)))
    assert "a has 10, b has 8, and they share 8" in found["mismatched-problems"]
    assert "a and b on 1 problem" in found["gold-mismatch"]


def test_mute_answers_floor_and_ceiling_are_findings(file, run_cli):
    mute = answers([False] * 10).assign(response=["none"] * 10)
    found = codes(compared(run_cli, file("a", mute), file("b", mute)))
    assert {"no-answer", "floor"} <= set(found)
    best = file("c", answers([True] * 10))
    assert set(codes(compared(run_cli, best, file("d", answers([True] * 10))))) == {"ceiling"}


def test_a_result_that_hangs_on_the_extractor_is_a_finding(file, run_cli):
    # Marked right and followed by another number: lm-eval's flexible rule takes the last.
    chatty = answers([True] * N).assign(response=["The answer is 7. That took 12 steps"] * N)
    found = codes(compared(run_cli, file("plain", answers([n % 2 == 0 for n in range(N)])), file("chatty", chatty)))
    assert "the order reverses (robust -50.0, flexible +50.0 points)" in found["extractor-disagreement"]


def test_steps_of_arithmetic_are_paired_whatever_the_order_of_rows(file, run_cli):
    a = answers([True] * 30).assign(response=["2 + 3 = 5, 5 + 2 = 7"] * 20 + ["2 + 2 = 5"] * 10)
    b = answers([True] * 30).assign(response=["2 + 3 = 5, 5 + 2 = 8"] * 20 + ["2 + 2 = 5"] * 10)
    shuffled = b.sample(frac=1, random_state=1)
    straight, mixed = (
        compared(run_cli, file("a", a), file("b", other))["pairs"][0]["arithmetic"] for other in (b, shuffled)
    )
    assert straight == mixed
    assert straight["difference"] == pytest.approx(40 / 50 - 20 / 50)
    # Paired by problem: wherever a problem is drawn, both have its steps.
    resampled = np.random.default_rng(0).binomial(30, 20 / 30, 100_000)
    steps = resampled * 2 + 30 - resampled
    low, high = np.quantile(resampled / steps, [0.025, 0.975])
    assert straight["interval"]["low"] == pytest.approx(low, abs=0.02)
    assert straight["interval"]["high"] == pytest.approx(high, abs=0.02)
    arm = compared(run_cli, file("a", a), file("b", b))["arms"][0]["arithmetic"]
    assert (arm["answers"], arm["steps"], arm["right"], arm["silent"]) == (30, 50, 40, 0)


def test_strict_fails_after_telling_all(file, capsys):
    from kdprobe.cli import _run

    mute = file("a", answers([False] * 10))
    assert _run(["compare", str(mute), str(file("b", answers([False] * 10))), "--strict"]) == 1
    told = capsys.readouterr()
    assert "floor" in told.out
    assert "There are warnings: floor" in told.err


def test_doubled_problems_and_strangers_are_refused(file, capsys):
    from kdprobe.cli import _run

    one = answers([True, False])
    assert _run(["compare", str(file("a", one)), str(file("b", pd.concat([one, one])))]) == 1
    assert "answers the problem 'p0' 2 times" in capsys.readouterr().err
    assert _run(["compare", str(file("a", one)), str(file("b", one.assign(id=["x", "y"])))]) == 1
    assert "have no problems in common" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "words"),
    [("a.csv", "needs at least two arms"), ("b.csv", "does not exist"), ("b", "There is no finished run 'b'")],
)
def test_what_cannot_be_compared_is_wrong_use(file, tmp_path, capsys, name, words):
    from kdprobe.cli import _run

    file("a", answers([True]))
    named = str(tmp_path / name) if "." in name else name
    assert _run(["compare", named, "--store", str(tmp_path)]) == 2
    assert words in capsys.readouterr().err


def test_claims_that_contradict_themselves_or_the_answers_are_findings(file, tmp_path, run_cli):
    arms = [file("a", answers([True] * 4 + [False] * 8)), file("b", answers([True] * 6 + [False] * 6))]
    table = tmp_path / "table.csv"
    # 161 of 1,319 are 12.206%: printed as 12.20, 12.21 or 12 it is still right.
    right = "a,33.3 %,4,12\nd,12.20,161,1319\nd,12.21,161,1319\nd,12,161,1319\nd,12.2,161,\n"
    table.write_text(f"arm,accuracy,correct,n\n{right}b,55.0%,7,12\nc,25.01%,303,1319\n")
    found = codes(compared(run_cli, *arms, "--claims", table))
    assert found["contradicting-counts"] == (
        "Percentages contradict counts: 55.0% claimed for b, but 7 of 12 is 58.33%; "
        "25.01% claimed for c, but 303 of 1319 is 22.97%."
    )
    assert found["contradicting-answers"].endswith(
        "7 claimed correct for b, but 6 of its answers are correct under robust."
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,correct\na,1\n", "has no column 'arm'"),
        ("arm,correct\na,some\n", "'some' is not a number"),
        ("arm,correct\na,NaN\n", "'NaN' is neither an accuracy nor a count"),
        ("arm,n\na,1e999999999\n", "'1e999999999' is neither an accuracy nor a count"),
        ("arm,accuracy\na,inf\n", "'inf' is neither an accuracy nor a count"),
        ("arm,correct\na,7.5\n", "'7.5' is not a count"),
        ("arm,correct\na,-7\n", "'-7' is not a count"),
        ("", "as CSV"),
    ],
)
def test_a_table_of_claims_that_cannot_be_read_is_told(file, tmp_path, capsys, text, words):
    from kdprobe.cli import _run

    table = tmp_path / "table.csv"
    table.write_text(text)
    names = [str(file(name, answers([True]))) for name in "ab"]
    assert _run(["compare", *names, "--claims", str(table)]) == 1
    assert words in capsys.readouterr().err


def test_samples_of_lm_eval_tell_how_they_were_asked(tmp_path, run_cli):
    def samples(name, lead, budget):
        rows = [
            {
                "doc_id": place,
                "doc": {"question": f"How many are {place}?"},
                "target": "7",
                "resps": [["The answer is 7" if place % 2 else "8"]],
                "arguments": {
                    "gen_args_0": {"arg_0": f"{lead}How many are {place}?", "arg_1": {"max_gen_toks": budget}}
                },
            }
            for place in range(10)
        ]
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    found = codes(compared(run_cli, samples("a", "Q: ", 50), samples("b", "Question: ", 100)))
    assert set(found) == {"unequal-prompt", "unequal-budget"}
    differs = "in the form of the prompt: 'Q: {question}' (a), 'Question: {question}' (b)"
    assert differs in found["unequal-prompt"]
    assert compared(run_cli, samples("a", "Q: ", 50), samples("b", "Q: ", 50))["findings"] == []


def test_long_prompts_are_shown_where_they_begin_to_differ():
    first, second = (f"{'The same opening for all. ' * 5}Today: {day} Nov 2026. {{question}}" for day in (24, 25))
    shown = excerpts([first, second])
    assert "24 Nov 2026" in shown[0]
    assert "25 Nov 2026" in shown[1]
    assert max(map(len, shown)) < 70
    assert excerpts(["a", "b"]) == ["a", "b"]
    assert len(set(excerpts([first, f"{first} and more"]))) == 2


@pytest.mark.skipif(not DATA.is_dir(), reason="KDPROBE_TEST_DATA names no folder with the real answers")
def test_the_papers_files_are_found_out(run_cli):
    files = [DATA / "paper" / "generations" / f"{arm}.csv.gz" for arm in ("no_distillation", "none", "ground_truth")]
    data = compared(run_cli, *files)
    found = codes(data)
    assert {"unequal-budget", "cut-off", "extractor-disagreement"} <= set(found)
    assert "no_distillation 50, none 350, ground_truth 350" in found["unequal-budget"]
    assert all(arm["cut_off"] > 0.9 for arm in data["arms"])
