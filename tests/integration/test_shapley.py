"""Shapley values of words: against the exact values of a game, and on a tiny model."""

import itertools
import math

import numpy as np
import pytest

from kdprobe.students.sequence import problem_sequences

pytest.importorskip("captum", reason="the extra `shapley` is not installed")


@pytest.fixture
def analysis_of(tiny_record, tiny_student, problems):
    """Runs an analysis on the tiny model, untrained and trained."""
    from kdprobe.host.registry import Host
    from kdprobe.probing.analysis import AnalysisContext, run_analysis
    from kdprobe.students.student import Student

    context = AnalysisContext([Student("untrained", tiny_record), tiny_student(["q_proj", "v_proj"])], problems[:3])
    return lambda name, options: (run_analysis(name, Host().create("analyses", name, options), context), context)


def exact(game, players):
    """By the definition: the mean over all orders."""
    import torch

    values = np.zeros(players)
    for order in itertools.permutations(range(players)):
        there = torch.zeros(1, players)
        before = float(game(there))
        for player in order:
            there[0, player] = 1
            after = float(game(there))
            values[player] += after - before
            before = after
    return values / math.factorial(players)


def test_samples_are_unbiased_and_share_out_everything():
    import torch

    from kdprobe.probing.outputs.shapley import shapley_samples

    def game(present):
        p = present.double()
        return 2 * p[:, 0] - p[:, 1] * p[:, 2] * 3 + p[:, 0] * p[:, 2] * p[:, 3]

    before = torch.random.get_rng_state()
    samples = shapley_samples(game, 4, 2000, seed=0, batch_size=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert samples.sum(axis=1) == pytest.approx(0)  # all of it: 2 - 3 + 1, and the empty set is worth nothing
    errors = samples.std(axis=0, ddof=1) / 2000**0.5
    assert (abs(samples.mean(axis=0) - exact(game, 4)) < 4 * errors + 1e-9).all()
    assert np.array_equal(samples[:3], shapley_samples(game, 4, 3, seed=0, batch_size=1))


def test_words_hold_all_tokens_of_the_question(tiny_record, problems):
    from kdprobe.models.load import load_tokenizer
    from kdprobe.probing.outputs.shapley import words

    tokenizer = load_tokenizer(tiny_record)
    for problem, sequence in zip(problems, problem_sequences(tokenizer, problems), strict=True):
        found = words(tokenizer, sequence)
        assert [word.text for word in found] == problem.question.split()
        assert tuple(position for word in found for position in word.positions) == sequence.question
        assert [word.text.rstrip(".?") for word in found if word.number] == [
            part.rstrip(".?") for part in problem.question.split() if any(map(str.isdigit, part))
        ]


@pytest.mark.parametrize("target", ["solution", "value"])
def test_values_share_out_what_the_question_adds(analysis_of, target):
    result, context = analysis_of("shapley", {"problems": 2, "orders": 2, "target": target})
    table = result.tables["shapley"]
    for (student, problem), rows in table.groupby(["student", "problem"]):
        expected = added(context, student, problem, target)
        assert rows["value"].sum() == pytest.approx(expected, abs=1e-4)
    assert set(table["problem"]) == {problem.id for problem in context.problems[:2]}
    assert len(result.figures) == 2
    assert len(result.statements) == len(context.students)


def added(context, student, problem, target):
    """log p of the target with the question minus that without, from the model itself."""
    import torch

    (who,) = [one for one in context.students if one.name == student]
    (read,) = [one for one in context.sequences if one.id == problem]
    model = who.load(dtype="float32").model
    ids = torch.tensor([read.ids[:-1]])
    places = [place for place in (read.value if target == "value" else read.answer) if place < ids.shape[1]]
    totals = []
    for hidden in ((), read.question):
        mask = torch.ones_like(ids)
        mask[0, list(hidden)] = 0
        with torch.inference_mode():
            log_p = model(input_ids=ids, attention_mask=mask).logits[0].double().log_softmax(-1)
        totals.append(sum(float(log_p[place - 1, ids[0, place]]) for place in places))
    return totals[0] - totals[1]


def test_a_word_is_shown_as_it_is_written():
    import pandas as pd

    from kdprobe.probing.outputs.word_figures import word_figures

    row = {"student": "a", "problem": "p", "place": 0, "word": "<b>3\u202e", "value": 1.0, "standard_error": 0.1}
    (figure,) = word_figures(pd.DataFrame([row]))
    assert figure.plotly["layout"]["xaxis"]["ticktext"] == ["&lt;b&gt;3\ufffd"]
