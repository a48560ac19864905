"""What a page provides for reproducing a run: its prompts, its config, and a summary."""

import tomllib

import numpy as np

from kdprobe.comparison.answers import Outputs
from kdprobe.comparison.arms import Arm
from kdprobe.comparison.compare import compare
from kdprobe.comparison.finding import Finding
from kdprobe.problems.extractors import Robust
from kdprobe.report.facts import training_options
from kdprobe.report.headline import headline
from kdprobe.report.prompt_diff import prompt_diffs, word_diff
from kdprobe.report.reproduce import config_toml, summary


def says(role, text):
    return [{"role": role, "content": text}]


def test_a_prompt_shows_what_it_has_that_the_unprimed_one_has_not():
    assert word_diff("How many apples?", "Think first. How many apples are left?") == [
        ("added", "Think first. "),
        ("same", "How many "),
        ("left out", "apples?"),
        ("added", "apples are left?"),
    ]


def test_prompts_are_compared_with_the_unprimed_strategy_else_with_what_the_student_reads():
    pairs = {
        "plain": {"teacher": says("user", "Q"), "student": says("user", "q")},
        "primed": {"teacher": [*says("system", "S"), *says("user", "Q")], "student": says("user", "q")},
    }
    assert prompt_diffs(pairs, "plain")["plain"] == [("same", "user: Q")]
    added = [text for kind, text in prompt_diffs(pairs, "plain")["primed"] if kind == "added"]
    assert "".join(added).split() == ["system:", "S"]
    assert prompt_diffs(pairs, None)["plain"] == [("same", "user: "), ("left out", "q"), ("added", "Q")]


def test_the_config_is_one_that_can_be_read_again():
    config = {"name": "mine", "threads": None, "student": {"model": "m", "revision": None}, "seeds": [0, 1]}
    config["strategies"] = [{"name": "none", "label": None, "options": {}}]
    read = tomllib.loads(config_toml(config))
    assert read == {
        "name": "mine",
        "student": {"model": "m"},
        "seeds": [0, 1],
        "strategies": [{"name": "none", "options": {}}],
    }


def test_options_are_in_words_and_what_is_not_set_is_left_out():
    config = {"distill": {"name": "logits", "dtype": "auto", "options": {"learning_rate": 0.002, "patience": None}}}
    assert training_options(config) == [("distiller", "logits"), ("data type", "auto"), ("learning rate", "0.002")]


def test_the_summary_has_the_numbers_of_the_comparison():
    def arm(name, right):
        answers = [f"The answer is {7 if n < right else 8}." for n in range(40)]
        return Arm(name, Outputs(name, answers, ["7"] * 40, list(map(str, range(40)))))

    compared = compare([arm("a|b", 32), arm("c", 20)], {"robust": Robust()})
    compared.findings.append(Finding("cut-off", "Some were.", "Raise it."))
    lines = summary(headline(compared), compared, [("Problems", "40")], ["A demonstration."]).splitlines()
    test = compared.pairs[0].test
    interval = f"{test.interval.low * 100:+.1f} to {test.interval.high * 100:+.1f}"
    assert lines[0] == f"# a|b: +30.0 points over c (95% CI {interval})."
    assert lines[2] == "> A demonstration."
    assert "- Problems: 40" in lines
    # A bar would end the cell.
    assert "| a/b | 32 of 40 | 80.0% | 65.2 to 89.5% |" in lines
    assert any(line.startswith(f"| a/b | c | +30.0 points | {interval} | ") for line in lines)
    assert "- cut-off: Some were. Raise it." in lines
    assert np.isclose(test.difference, 0.3)
