"""Several sampled answers to each problem: `kdprobe eval --samples`, resumed after a kill, and in plain lm-eval."""

import json
from collections import Counter
from fractions import Fraction
from itertools import combinations
from statistics import fmean

import pytest

import kdprobe
from kdprobe.console.streams import visible

SAMPLES = 4
ASKED = {"samples": SAMPLES, "temperature": 1.3, "max_new_tokens": 12, "batch_size": 4, "progress": False}


class Killed(BaseException):
    """In place of a signal."""


@pytest.fixture(scope="module")
def problem_file(tmp_path_factory, problem_files, tiny_model):
    """Problems of which the tiny model solves some: what it should say is what it says now and then."""
    folder = tmp_path_factory.mktemp("solvable")
    result = kdprobe.evaluate(str(tiny_model), problems=problem_files[1], store=folder / "store", **ASKED)
    (records,) = result.records.values()
    rows = [json.loads(line) for line in problem_files[1].read_text(encoding="utf-8").splitlines()]
    for index, (row, (_, answers)) in enumerate(zip(rows, records.groupby("id", sort=False), strict=True)):
        values = [value for value in answers["value"] if isinstance(value, str)]
        if values and index % 3:
            row["answer"] = f"It is {values[-1]}.\n#### {values[-1]}"
    file = folder / "test.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def evaluated(problem_file, tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    return kdprobe.evaluate(str(tiny_model), problems=problem_file, store=folder / "store", out=folder / "out", **ASKED)


def by_problem(records):
    return [answers for _, answers in records.groupby("id", sort=False)]


def test_every_sample_has_a_record(evaluated):
    (records,) = evaluated.records.values()
    assert len(records) == 6 * SAMPLES
    for answers in by_problem(records):
        assert answers["sample"].tolist() == list(range(SAMPLES))
        assert answers["log_p_gold_value"].nunique() == 1
        assert answers["response"].nunique() > 1
    (score,) = evaluated.details
    assert (score.n, score.samples, score.correct) == (24, SAMPLES, int(records["correct"].sum()))
    assert 0 < score.correct < 24
    assert records["conditions"].iloc[0]["decoding"]["samples"] == str(SAMPLES)


def test_measures_are_those_of_all_subsets(evaluated):
    (records,) = evaluated.records.values()
    (score,) = evaluated.details
    found = {each.measure: each.value for each in score.at_k}
    assert list(found) == ["pass@2", "pass@4", "maj@2", "maj@4"]
    for k in (2, 4):
        passed, voted = [], []
        for answers in by_problem(records):
            drawn = list(combinations(zip(answers["value"], answers["correct"], strict=True), k))
            passed.append(fmean(any(right for _, right in subset) for subset in drawn))
            voted.append(fmean(majority(subset) for subset in drawn))
        assert found[f"pass@{k}"] == pytest.approx(fmean(passed))
        assert found[f"maj@{k}"] == pytest.approx(fmean(voted))


def majority(answers):
    """The chance that a value drawn from the most frequent ones is correct."""
    right = {Fraction(value) for value, is_right in answers if is_right}
    votes = Counter(Fraction(value) for value, _ in answers if isinstance(value, str))
    first = [value for value, count in votes.items() if count == max(votes.values())]
    return sum(value in right for value in first) / len(first) if first else 0.0


def test_a_killed_evaluation_resumes_with_the_same_records_and_asks_nothing_twice(
    problem_file, tiny_model, tmp_path, monkeypatch, evaluated
):
    from kdprobe.evaluation.ledger import Ledger
    from kdprobe.evaluation.recording import RecordingModel

    real, saved = Ledger.add, []

    def add(ledger, entries):
        if len(saved) == 4:
            raise Killed
        saved.append(entries)
        real(ledger, entries)

    monkeypatch.setattr(Ledger, "add", add)
    asked = {"problems": problem_file, "store": tmp_path, **ASKED}
    with pytest.raises(Killed):
        kdprobe.evaluate(str(tiny_model), **asked)
    monkeypatch.undo()
    generate, drawn = RecordingModel._model_generate, []
    monkeypatch.setattr(
        RecordingModel,
        "_model_generate",
        lambda model, context, *some, **more: drawn.extend(context) or generate(model, context, *some, **more),
    )
    (resumed,) = kdprobe.evaluate(str(tiny_model), **asked).records.values()
    # The first entry is the batch size.
    before = sum(map(len, saved[1:]))
    assert 0 < before < 24
    assert len(drawn) == 24 - before
    (whole,) = evaluated.records.values()
    assert resumed.equals(whole)


def test_an_answer_depends_on_its_problem_and_sample_but_not_on_its_batch(
    problem_file, tiny_model, tmp_path, evaluated
):
    few = {**ASKED, "samples": 2, "batch_size": 3}
    (fewer,) = kdprobe.evaluate(str(tiny_model), problems=problem_file, limit=4, store=tmp_path, **few).records.values()
    (whole,) = evaluated.records.values()
    answers = whole.set_index(["id", "sample"])["response"]
    assert fewer["response"].tolist() == [answers[id_, n] for id_, n in zip(fewer["id"], fewer["sample"], strict=True)]
    other = {**few, "seed": 1}
    (reseeded,) = kdprobe.evaluate(
        str(tiny_model), problems=problem_file, limit=4, store=tmp_path, **other
    ).records.values()
    assert not set(fewer["response"]) & set(reseeded["response"])


def test_a_prompt_is_tokenised_once_for_all_its_samples(tiny_record, monkeypatch):
    from kdprobe.evaluation.engines.builtin import TransformersStudent
    from kdprobe.evaluation.protocol import Protocol
    from kdprobe.evaluation.recording import RecordingModel
    from kdprobe.models.load import load

    student = TransformersStudent(load(tiny_record))
    model = RecordingModel(student, Protocol(8, samples=3, temperature=1.0, batch_size="auto"))
    encode, encoded, asked = model.tok_encode, [], []
    monkeypatch.setattr(model, "tok_encode", lambda text: encoded.append(text) or encode(text))
    monkeypatch.setattr(student, "answers_at_once", lambda prompts, _budget: asked.append(prompts) or 4)
    prompts = ["Tom has 3 apples", "Ann has 4"] * 3
    assert model._plan(prompts) == {"size": 4}
    assert encoded == prompts[:2]
    # The batch size depends on the number of answers.
    assert asked == [[encode(prompt) for prompt in prompts]]


def test_one_sample_has_the_key_and_the_records_that_it_had():
    from kdprobe.evaluation.protocol import Protocol
    from kdprobe.experiment.evaluations.config import EvaluationConfig

    assert "samples" not in Protocol(8, temperature=0.7).as_row()
    assert Protocol(8, temperature=0.7, samples=2).as_row()["samples"] == 2
    assert "samples" not in EvaluationConfig(temperature=0.7).model_dump()
    assert EvaluationConfig(temperature=0.7, samples=2).decoding["samples"] == 2


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({"samples": 2}, "several samples need a temperature above 0: greedy answers are all the same"),
        ({"samples": 0, "temperature": 1.0}, "samples"),
        (
            {"samples": 2, "temperature": 1.0, "tasks": ["arc_easy"]},
            "--samples applies only to gsm8k_kdprobe and its variants",
        ),
        (
            {"samples": 2, "temperature": 1.0, "model_type": "anthropic-chat-completions"},
            "'anthropic-chat-completions', kdprobe cannot set a seed for each answer",
        ),
    ],
)
def test_samples_without_effect_are_refused_in_a_sentence(given, refused, problem_file, tiny_model, tmp_path):
    with pytest.raises(kdprobe.KdprobeError, match=refused):
        kdprobe.evaluate(str(tiny_model), problems=problem_file, store=tmp_path, progress=False, **given)


def test_files_with_samples_are_scored_and_compared_by_problem(evaluated, tmp_path, problem_file, tiny_model, run_cli):
    (records,), (score,) = evaluated.records.values(), evaluated.details
    file = next(iter(evaluated.files.values()))
    (again,) = kdprobe.score(file, progress=False).details
    assert (again.accuracy, again.interval, again.at_k) == (score.accuracy, score.interval, score.at_k)
    warmer = {**ASKED, "temperature": 2.0}
    other = kdprobe.evaluate(
        str(tiny_model), problems=problem_file, store=tmp_path / "store", out=tmp_path / "warm.jsonl", **warmer
    )
    compared = kdprobe.compare({"cold": file, "warm": tmp_path / "warm.jsonl"}, progress=False)
    (pair,) = compared.comparison.pairs
    (warm,) = other.records.values()
    means = [each.groupby("id", sort=False)["correct"].mean() for each in (records, warm)]
    assert pair.test.n == 6
    assert pair.test.difference == pytest.approx((means[0] - means[1]).mean())
    assert (pair.test.only_a, pair.test.only_b) == ((means[0] > means[1]).sum(), (means[0] < means[1]).sum())
    assert [each.measure for each in pair.at_k] == ["pass@2", "pass@4", "maj@2", "maj@4"]
    assert any("mean accuracy over 4 samples per problem" in sentence for sentence in compared.verdict)
    # Rows in another order are the same samples.
    shuffled = records.sample(frac=1, random_state=0)
    (same,) = kdprobe.compare({"a": file, "b": shuffled}, progress=False).comparison.pairs
    assert (same.test.difference, same.test.only_a, same.test.only_b, same.test.p) == (0, 0, 0, 1)
    shown = run_cli("compare", file, tmp_path / "warm.jsonl")
    assert "maj@4" in shown
    assert "higher a : b" in shown


def test_the_page_says_how_many_samples_there_are(evaluated):
    from pages import data_of, text_of

    page = evaluated.page.read_text(encoding="utf-8")
    text = text_of(page)
    assert "tiny: mean accuracy " in text
    assert "24 answers, 4 samples per problem" in text
    assert "4 samples per problem, temperature 1.3" in text
    assert "maj@4" in text
    assert "Outcomes and filters refer to the first sample of each problem" in text
    (records,) = evaluated.records.values()
    for shown, (_, answers) in zip(data_of(page)["answers"]["arms"][0], records.groupby("id", sort=False), strict=True):
        assert [shown["right"], *(each["right"] for each in shown["others"])] == answers["correct"].tolist()
        assert [each["text"] for each in shown["others"]] == list(map(visible, answers["response"].tolist()[1:]))
