"""Experiments with several samples per problem: plan, run, verdict, page, analyses, card and comparison."""

import json

import pytest

import kdprobe
from pages import text_of

SAMPLES = 3


@pytest.fixture(scope="module")
def config(torch, tiny_model, tiny_config):
    file = tiny_config(tiny_model)
    text = file.read_text(encoding="utf-8")
    text = text.replace("[evaluation]", f"[evaluation]\nsamples = {SAMPLES}\ntemperature = 1.1")
    text = text.replace("[probe]", '[probe]\nanalyses = ["confidence"]')
    file.write_text(text, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    return kdprobe.run(config, store=tmp_path_factory.mktemp("store"), progress=False)


def test_a_plan_says_that_its_power_is_for_one_answer(config, tmp_path, run_cli):
    shown = " ".join(run_cli("plan", config, "--store", tmp_path).split())
    assert f"Means over {SAMPLES} samples vary less" in shown
    assert "the sign-flip test can reach" in shown
    power = json.loads(run_cli("plan", config, "--store", tmp_path, "--json"))["power"]
    assert power["samples"] == SAMPLES


def test_every_student_has_all_samples_and_pairs_are_over_problems(run):
    for records in run.answers.values():
        assert len(records) == 4 * SAMPLES
        assert sorted(set(records["sample"])) == list(range(SAMPLES))
    assert all(arm.n == 4 * SAMPLES and arm.problems == 4 for arm in run.comparison.arms)
    assert all(pair.test.n == 4 and pair.samples == [SAMPLES] for pair in run.comparison.pairs)
    assert all(
        [each.measure for each in pair.at_k] == ["pass@2", "pass@3", "maj@2", "maj@3"] for pair in run.comparison.pairs
    )


def test_verdict_page_and_data_say_how_many_samples_there_are(run):
    assert any(f"mean accuracy over {SAMPLES} samples per problem" in sentence for sentence in run.verdict)
    text = text_of(run.report().read_text(encoding="utf-8"))
    assert f"{SAMPLES} samples per problem, temperature 1.1" in text
    assert f"; {SAMPLES} samples per problem)" in text
    assert "Outcomes and filters refer to the first sample of each problem" in text
    assert "McNemar" not in text
    arms = run.to_dict()["arms"]
    assert {each["measure"] for arm in arms for each in arm["at_k"]} == {"pass@2", "pass@3", "maj@2", "maj@3"}


def test_analyses_read_the_first_sample(run):
    answers = run.analyses.table("answers")
    for student, rows in answers.groupby("student"):
        first = run.answers[student].query("sample == 0").set_index("id")["correct"]
        assert rows.set_index("problem")["correct"].to_dict() == {id_: first[id_] for id_ in rows["problem"]}


def test_a_card_has_the_accuracy_of_all_answers(run, tmp_path):
    run.students["unprimed"].export(tmp_path / "exported", progress=False)
    card = (tmp_path / "exported" / "README.md").read_text(encoding="utf-8")
    assert f"Of {4 * SAMPLES} answers to test problems" in card
    assert f"({SAMPLES} sampled per problem)" in card


def test_arms_of_runs_are_compared_by_problem_too(run, config, tmp_path):
    greedy = config.with_name("greedy.toml")
    text = config.read_text(encoding="utf-8").replace(f"samples = {SAMPLES}\ntemperature = 1.1", "temperature = 0.0")
    greedy.write_text(text, encoding="utf-8")
    store = run.store.root
    other = kdprobe.run(greedy, store=store, progress=False)
    compared = kdprobe.compare(run, other, progress=False)
    mixed = [pair for pair in compared.comparison.pairs if pair.samples == [1, SAMPLES]]
    assert mixed
    assert all(pair.at_k == [] and pair.test.n == 4 for pair in mixed)
    assert "unequal-decoding" in {finding.code for finding in compared.findings}
    assert any("over 1 and 3 samples" in sentence for sentence in compared.verdict) or not any(
        pair.significant for pair in mixed
    )
