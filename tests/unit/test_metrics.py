import numpy as np
import pytest
import torch

from kdprobe.probing.metrics import HEAD_METRICS, PatternView

torch.set_num_threads(1)
LENGTHS = (5, 9, 1)
WIDTH, HEADS = 9, 3


def causal_pattern(random, length):
    """One causal attention matrix in float64, sharp enough to have cells on both sides of the threshold."""
    scores = random.normal(0, 3, (length, length))
    scores[np.triu_indices(length, 1)] = -np.inf
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


@pytest.fixture
def matrices():
    random = np.random.default_rng(0)
    return [[[causal_pattern(random, n) for _ in range(HEADS)] for n in LENGTHS] for _ in ("below", "here")]


def padded(patterns, width, noise):
    """A batch padded on the right; the rows of padded queries hold attention to real keys, as in a real model."""
    batch = torch.zeros(len(LENGTHS), HEADS, width, width)
    for row, heads in enumerate(patterns):
        for head, pattern in enumerate(heads):
            n = len(pattern)
            batch[row, head, :n, :n] = torch.from_numpy(pattern)
            batch[row, head, n:, :n] = noise / n
    return batch


def measured(matrices, width=WIDTH, noise=1.0):
    below, here = (padded(layer, width, noise) for layer in matrices)
    valid = torch.arange(width)[None] < torch.tensor(LENGTHS)[:, None]
    view = PatternView(here, below, valid, 1)
    return {name: metric(view).numpy() for name, metric in HEAD_METRICS.items()}


def by_matrix(metric, matrices):
    below, here = matrices
    return np.array([[metric(h, b) for h, b in zip(*heads, strict=True)] for heads in zip(here, below, strict=True)])


def row_entropy(here, _below):
    return np.mean([-sum(w * np.log(w) for w in row if w > 0) for row in here])


REFERENCES = {
    "entropy": row_entropy,
    "self_attention": lambda here, _below: np.trace(here) / len(here),
    "sparsity": lambda here, _below: np.count_nonzero(here > 0.1) / here.size,
    "similarity": lambda here, below: here.ravel() @ below.ravel() / np.linalg.norm(here) / np.linalg.norm(below),
}


def test_every_metric_has_a_reference():
    assert set(REFERENCES) == set(HEAD_METRICS)


@pytest.mark.parametrize("name", REFERENCES)
def test_metric_agrees_with_one_matrix_at_a_time(name, matrices):
    np.testing.assert_allclose(measured(matrices)[name], by_matrix(REFERENCES[name], matrices), atol=1e-6)


@pytest.mark.parametrize("name", REFERENCES)
def test_more_padding_changes_nothing(name, matrices):
    narrow, wide = measured(matrices)[name], measured(matrices, WIDTH + 20, noise=0.5)[name]
    np.testing.assert_allclose(wide, narrow, atol=1e-6)


def test_first_layer_has_no_similarity():
    pattern = torch.eye(3).expand(1, 2, 3, 3)
    view = PatternView(pattern, None, torch.ones(1, 3, dtype=torch.bool), 0)
    assert HEAD_METRICS["similarity"](view).isnan().all()


def test_uniform_attention_has_the_entropy_of_its_rows():
    pattern = torch.tril(torch.ones(4, 4)) / torch.arange(1, 5)[:, None]
    view = PatternView(pattern[None, None], None, torch.ones(1, 4, dtype=torch.bool), 0)
    assert HEAD_METRICS["entropy"](view).item() == pytest.approx(np.log([1, 2, 3, 4]).mean(), abs=1e-6)
