import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp

from kdprobe.teachers.top_k_capture import TopKCapture, top_k

V = 40


def logits(rows=5, spread=3.0):
    return torch.from_numpy(np.random.default_rng(0).normal(0, spread, (rows, V)).astype(np.float32))


def outside(dense, ids):
    """Log-mass of all columns but `ids`, in float64."""
    rest = dense.copy()
    np.put_along_axis(rest, ids.numpy(), -np.inf, axis=-1)
    return logsumexp(rest, axis=-1)


@pytest.mark.parametrize("spread", [0.1, 3.0, 60.0], ids=["flat", "usual", "peaked"])
@pytest.mark.parametrize("k", [1, 8, V - 1])
def test_top_k_and_tails_agree_with_float64(k, spread):
    given = logits(spread=spread)
    cut = top_k(given, k, (1.0, 2.5))
    dense = log_softmax(given.double().numpy(), axis=-1)
    assert cut.ids.tolist() == (-dense).argsort(axis=-1)[:, :k].tolist()
    np.testing.assert_allclose(cut.logprobs, np.take_along_axis(dense, cut.ids.numpy(), -1), atol=2e-5)
    for temperature, tail in zip((1.0, 2.5), cut.tails, strict=True):
        scaled = log_softmax(given.double().numpy() / temperature, axis=-1)
        np.testing.assert_allclose(tail, outside(scaled, cut.ids), atol=2e-5)


def test_the_whole_vocabulary_leaves_no_tail():
    cut = top_k(logits(), V, (1.0, 2.0))
    assert torch.isneginf(cut.tails).all()
    np.testing.assert_allclose(cut.logprobs.exp().sum(-1), 1, atol=1e-6)


def test_columns_that_are_ruled_out_leave_no_tail():
    given = logits()
    given[:, 3:] = -torch.inf
    cut = top_k(given, 4, (1.0, 2.0))
    assert torch.isneginf(cut.tails).all()
    np.testing.assert_allclose(cut.logprobs[:, :3].exp().sum(-1), 1, atol=1e-6)


def test_capture_leaves_out_padded_columns_and_passes_scores_on_unchanged():
    real, padded = logits(), logits()
    padded = torch.cat([padded, torch.full((5, 3), 99.0)], dim=1)
    before = padded.clone()
    capture = TopKCapture(k=100, vocabulary=V, temperatures=(1.0,))
    assert capture(torch.zeros(5, 2, dtype=torch.long), padded) is padded
    # A finished sequence is filled up with an id that may be among the padded columns.
    capture.finish(torch.tensor([[0, 0, 7]] * 4 + [[0, 0, V + 1]]))
    assert padded.equal(before)
    dense = log_softmax(real.double().numpy(), axis=-1)
    for index in range(4):
        rows = capture.rows(index, 1)
        assert rows.ids.shape == (1, V)
        np.testing.assert_allclose(rows.logprobs[0], dense[index][rows.ids[0]], atol=2e-5)
        np.testing.assert_allclose(rows.token_logprobs, dense[index, 7], atol=2e-5)


def test_steps_count_the_tokens_of_unfinished_answers_only():
    counted = []
    capture = TopKCapture(k=4, vocabulary=V, temperatures=(1.0,), ends=frozenset({3}), on_step=counted.append)
    answers = torch.tensor([[1, 2, 3, 0], [1, 3, 0, 0], [5, 6, 7, 8]])
    for step in range(4):
        capture(torch.cat([torch.zeros(3, 1, dtype=torch.long), answers[:, :step]], dim=1), torch.randn(3, V))
    capture.finish(answers)
    assert counted == [3, 3, 2, 1]
    assert sum(counted) == 3 + 2 + 4
