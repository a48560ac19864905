import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdprobe.host.registry import Host
from kdprobe.probing import PatternView
from kdprobe.probing.metrics.metric import head_metrics_of

METRICS = head_metrics_of(Host())
HEADS = 3


def causal_pattern(random, length):
    """One causal attention matrix in float64, sharp enough to have cells on both sides of the threshold."""
    scores = random.normal(0, 3, (length, length))
    scores[np.triu_indices(length, 1)] = -np.inf
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


class Batch:
    """Sequences with two layers of patterns; tokens repeat, and each has a question, numbers and an answer."""

    def __init__(self, lengths, seed=0):
        random = np.random.default_rng(seed)
        self.lengths = lengths
        self.below, self.here = (
            [[causal_pattern(random, n) for _ in range(HEADS)] for n in lengths] for _ in ("below", "here")
        )
        self.tokens = [random.integers(0, max(2, n // 2), n) for n in lengths]
        self.numbers = [np.arange(n) % 3 == 1 for n in lengths]
        self.answers = [np.arange(n) >= n // 2 for n in lengths]

    def view(self, width, side, noise):
        """Padded; rows of padded queries attend to real keys, as in a real model, and padded tokens look real."""
        starts = [width - n if side == "left" else 0 for n in self.lengths]
        valid = torch.zeros(len(self.lengths), width, dtype=torch.bool)
        tokens = torch.zeros(valid.shape, dtype=torch.long)
        spans = {name: torch.zeros_like(valid) for name in ("question", "numbers", "answer")}
        layers = [torch.zeros(len(self.lengths), HEADS, width, width) for _ in ("below", "here")]
        for row, (n, start) in enumerate(zip(self.lengths, starts, strict=True)):
            real = slice(start, start + n)
            valid[row, real] = True
            tokens[row, real] = torch.from_numpy(self.tokens[row])
            spans["numbers"][row, real] = torch.from_numpy(self.numbers[row])
            spans["answer"][row, real] = torch.from_numpy(self.answers[row])
            for batch, patterns in zip(layers, (self.below, self.here), strict=True):
                batch[row, :, :, real] = noise / n
                batch[row, :, real] = 0
                for head, pattern in enumerate(patterns[row]):
                    batch[row, head, real, real] = torch.from_numpy(pattern)
        below, here = layers
        # A learned sink takes something else of every row.
        return PatternView(here, below, tokens, valid, valid, spans, 1, sink=here.diagonal(dim1=-2, dim2=-1) / 2)

    def measured(self, side="right", more=0, noise=1.0):
        view = self.view(max(self.lengths) + more, side, noise)
        return {name: metric.measure(view).numpy() for name, metric in METRICS.items()}

    def by_hand(self, name):
        """The metric one matrix at a time, in float64; NaN if it is undefined."""
        return np.array(
            [
                [REFERENCES[name](self.here[row][head], self.below[row][head], self, row) for head in range(HEADS)]
                for row in range(len(self.lengths))
            ]
        )


def mean(values):
    values = list(values)
    return np.mean(values) if values else np.nan


def row_entropy(row):
    return -sum(w * np.log(w) for w in row if w > 0)


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def onto_earlier(here, tokens, shift):
    """Mean attention on the keys `shift` after earlier occurrences of the query's token, over queries with any."""
    found = []
    for query, token in enumerate(tokens):
        keys = [place + shift for place in range(query) if tokens[place] == token and place + shift < query]
        if keys:
            found.append(here[query, keys].sum())
    return mean(found)


def onto_numbers(here, _below, batch, row):
    if not batch.numbers[row].any():
        return np.nan
    return mean(here[query, batch.numbers[row]].sum() for query in np.flatnonzero(batch.answers[row]))


REFERENCES = {
    "entropy": lambda here, *_: mean(map(row_entropy, here)),
    "self_attention": lambda here, *_: np.trace(here) / len(here),
    "sparsity": lambda here, *_: np.count_nonzero(here > 0.1) / here.size,
    "similarity": lambda here, below, *_: cosine(here.ravel(), below.ravel()),
    "entropy_normalised": lambda here, *_: mean(row_entropy(here[q]) / np.log(q + 1) for q in range(1, len(here))),
    "self_attention_normalised": lambda here, *_: mean(
        (here[q, q] - 1 / (q + 1)) / (1 - 1 / (q + 1)) for q in range(1, len(here))
    ),
    "sparsity_normalised": lambda here, *_: mean(np.count_nonzero(row > 0.1) for row in here),
    "similarity_normalised": lambda here, below, *_: mean(map(cosine, here, below)),
    "sink": lambda here, *_: mean(here[1:, 0]),
    "learned_sink": lambda here, *_: np.trace(here) / 2 / len(here),
    "previous_token": lambda here, *_: mean(here[q, q - 1] for q in range(1, len(here))),
    "mean_distance": lambda here, *_: mean(
        sum(w * (q - k) / q for k, w in enumerate(here[q])) for q in range(1, len(here))
    ),
    "duplicate_token": lambda here, _below, batch, row: onto_earlier(here, batch.tokens[row], 0),
    "induction": lambda here, _below, batch, row: onto_earlier(here, batch.tokens[row], 1),
    "answer_to_numbers": onto_numbers,
}


def test_every_metric_has_a_reference():
    assert set(REFERENCES) == set(METRICS)


@pytest.mark.parametrize("name", REFERENCES)
def test_metric_agrees_with_one_matrix_at_a_time(name):
    batch = Batch((5, 12, 1))
    expected = batch.by_hand(name)
    np.testing.assert_allclose(batch.measured()[name], expected, atol=2e-6)
    # A reference that says nothing, or the same of all heads, would compare nothing.
    assert np.nanstd(expected[1]) > 0


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    side=st.sampled_from(["left", "right"]),
    more=st.integers(0, 30),
    noise=st.floats(0, 1),
    seed=st.integers(0, 999),
)
@settings(max_examples=40, deadline=None)
def test_padding_changes_no_metric(lengths, side, more, noise, seed):
    batch = Batch(tuple(lengths), seed)
    padded = batch.measured(side, more, noise)
    for row, length in enumerate(lengths):
        alone = Batch((length,))
        for part in ("below", "here", "tokens", "numbers", "answers"):
            setattr(alone, part, [getattr(batch, part)[row]])
        for name, value in alone.measured().items():
            np.testing.assert_allclose(padded[name][row], value[0], atol=1e-5, err_msg=name)


def test_first_layer_has_no_similarity():
    view = PatternView(torch.eye(3).expand(1, 2, 3, 3), None, None, *[torch.ones(1, 3, dtype=torch.bool)] * 2, {}, 0)
    assert METRICS["similarity"].measure(view).isnan().all()
    assert METRICS["similarity_normalised"].measure(view).isnan().all()


def test_uniform_attention_has_the_entropy_of_its_rows_and_nothing_beyond_it():
    pattern = torch.tril(torch.ones(4, 4)) / torch.arange(1, 5)[:, None]
    view = PatternView(pattern[None, None], None, None, *[torch.ones(1, 4, dtype=torch.bool)] * 2, {}, 0)
    assert METRICS["entropy"].measure(view).item() == pytest.approx(np.log([1, 2, 3, 4]).mean(), abs=1e-6)
    assert METRICS["entropy_normalised"].measure(view).item() == pytest.approx(1, abs=1e-6)
    assert METRICS["self_attention_normalised"].measure(view).item() == pytest.approx(0, abs=1e-6)


def test_induction_looks_after_the_earlier_occurrence():
    # a b a: the second a has its induction key at b and its duplicate at the first a.
    pattern = torch.zeros(1, 1, 3, 3)
    pattern[0, 0, 0, 0] = pattern[0, 0, 1, 1] = 1
    pattern[0, 0, 2] = torch.tensor([0.2, 0.7, 0.1])
    valid = torch.ones(1, 3, dtype=torch.bool)
    view = PatternView(pattern, None, torch.tensor([[7, 8, 7]]), valid, valid, {}, 0)
    assert METRICS["induction"].measure(view).item() == pytest.approx(0.7)
    assert METRICS["duplicate_token"].measure(view).item() == pytest.approx(0.2)


def test_models_without_a_learned_sink_leave_it_nothing():
    view = PatternView(torch.eye(3).expand(1, 2, 3, 3), None, None, *[torch.ones(1, 3, dtype=torch.bool)] * 2, {}, 0)
    assert METRICS["learned_sink"].measure(view).tolist() == [[0, 0]]


def test_metrics_that_read_tokens_or_spans_say_so():
    assert {name: metric.needs for name, metric in METRICS.items() if metric.needs} == {
        "duplicate_token": {"tokens"},
        "induction": {"tokens"},
        "answer_to_numbers": {"spans"},
        "entropy_normalised": {"causal"},
        "self_attention_normalised": {"causal"},
        "mean_distance": {"causal"},
    }
