"""Texts that no model can score, refused by either way of scoring them: the built-in model's logits, and an engine."""

import pytest
from lm_eval.models.huggingface import HFLM

from kdprobe.errors import KdprobeError
from kdprobe.evaluation.engines.builtin import TransformersStudent
from kdprobe.evaluation.engines.engine import Scored
from kdprobe.evaluation.tasks.recording import TaskModel

WINDOW = 8


@pytest.fixture(params=["here", "elsewhere"])
def model(request, torch, tiny_record):
    """lm-eval's view of the tiny model with a short context window, in this process or as if in another."""
    from kdprobe.models.load import load

    class Elsewhere(TransformersStudent):
        def score(self, passages):
            self.model, model = self._loaded.model, self.model
            scored = [Scored(one.log_p, greedy=False) for one in super().score(passages)]
            self.model = model
            return scored

    student = Elsewhere(load(tiny_record))
    student.context_length = WINDOW
    if request.param == "elsewhere":
        student.model = None
    model = TaskModel(student, seed=0, largest=None)
    model.batch_size_per_gpu = 2
    return model


def likelihoods(model, *requests):
    model.save = lambda: None
    return model._loglikelihood_tokens([(None, context, continuation) for context, continuation in requests])


def test_a_text_as_long_as_the_window_is_scored_whole(model):
    long, context = [*range(2, 2 + WINDOW)], [*range(20, 40)]
    (found, _), (short, _) = likelihoods(model, (context, long), ([39], long[:1]))
    # Only the last token of the context is read.
    (expected, _), *_ = likelihoods(model, ([39], long))
    assert found == pytest.approx(expected, abs=1e-5)
    assert found < short


@pytest.mark.parametrize(
    ("continuation", "sentence"),
    [
        ([5] * (WINDOW + 1), r"is 8 tokens, but the task asks for the likelihood of a text of 9 tokens\."),
        ([], "^The task asks for the likelihood of an empty text"),
    ],
)
def test_texts_that_cannot_be_scored_are_refused(model, continuation, sentence):
    with pytest.raises(KdprobeError, match=sentence):
        likelihoods(model, ([5, 6], [7]), ([5, 6, 7], continuation))


def test_rolling_windows_fit(model):
    class Request:
        args = ("Tom has 3 apples and buys 4 more. " * 3,)

    model.save = lambda: None
    (found,) = HFLM.loglikelihood_rolling(model, [Request])
    ids = model.tok_encode(*Request.args)
    windows = [([model.prefix_token_id], ids[:WINDOW])]
    for begin in range(WINDOW, len(ids), WINDOW):
        # The last window is filled with context.
        end = min(begin + WINDOW, len(ids))
        windows.append((ids[end - WINDOW - 1 : begin], ids[begin:end]))
    assert found == pytest.approx(sum(log_p for log_p, _ in likelihoods(model, *windows)), abs=1e-4)


@pytest.mark.parametrize("model", ["elsewhere"], indirect=True)
def test_an_engine_that_does_not_say_what_is_greedy_is_refused(model, monkeypatch):
    monkeypatch.setattr(type(model.student), "score", lambda _self, passages: [Scored([-1.0])] * len(passages))
    with pytest.raises(KdprobeError, match="does not say whether the scored tokens are the most likely"):
        likelihoods(model, ([5], [7]))
