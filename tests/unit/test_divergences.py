"""All kinds of divergence against float64 references written from their definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import rel_entr, softmax

from kdprobe.distill.objectives import SparseLogprobs, between_cells, divergence
from kdprobe.errors import KdprobeError

V = 30
SKEW, BETA = 0.1, 0.3


def kl(a, b):
    return rel_entr(a, b).sum(-1)


REFERENCES = {
    "forward-kl": (kl, {}),
    "reverse-kl": (lambda p, q: kl(q, p), {}),
    "skew-kl": (lambda p, q: kl(p, SKEW * p + (1 - SKEW) * q), {"skew": SKEW}),
    "skew-reverse-kl": (lambda p, q: kl(q, SKEW * q + (1 - SKEW) * p), {"skew": SKEW}),
    "jsd": (
        lambda p, q: BETA * kl(p, BETA * p + (1 - BETA) * q) + (1 - BETA) * kl(q, BETA * p + (1 - BETA) * q),
        {"beta": BETA},
    ),
}
kinds = st.sampled_from(sorted(REFERENCES))
seeds = st.integers(0, 2**32 - 1)
cuts = st.integers(1, V)
temperatures = st.sampled_from([0.5, 1.0, 2.0])
few = settings(max_examples=60, deadline=None)


def logits(seed, spread=3.0):
    return np.random.default_rng(seed).normal(0, spread, (3, V))


def value(kind, teacher, student, k, temperature=1.0):
    cut = SparseLogprobs.from_logits(torch.from_numpy(teacher), k, temperature)
    return divergence(torch.from_numpy(student), cut, kind, temperature, **REFERENCES[kind][1]).numpy()


@few
@given(kinds, seeds, seeds, cuts, temperatures)
def test_value_is_that_of_the_definition_on_joined_cells(kind, seed, other, k, temperature):
    teacher, student = logits(seed), logits(other)
    p, q = softmax(teacher / temperature, axis=-1), softmax(student / temperature, axis=-1)
    order = np.argsort(-p, axis=-1)
    p, q = np.take_along_axis(p, order, -1), np.take_along_axis(q, order, -1)
    cells = [np.concatenate([x[:, :k], x[:, k:].sum(-1, keepdims=True)], axis=-1) for x in (p, q)]
    np.testing.assert_allclose(
        value(kind, teacher, student, k, temperature), REFERENCES[kind][0](*cells), rtol=1e-9, atol=1e-12
    )


@few
@given(kinds, seeds, seeds, cuts)
def test_never_negative_never_above_the_dense_one_and_equal_to_it_at_full_width(kind, seed, other, k):
    teacher, student = logits(seed), logits(other)
    dense = REFERENCES[kind][0](softmax(teacher, axis=-1), softmax(student, axis=-1))
    sparse = value(kind, teacher, student, k)
    assert (sparse >= -1e-12).all()
    assert (sparse <= dense + 1e-9).all()
    np.testing.assert_allclose(value(kind, teacher, student, V), dense, rtol=1e-9, atol=1e-12)


@few
@given(kinds, seeds, cuts, temperatures)
def test_value_and_gradient_vanish_where_the_student_is_the_teacher(kind, seed, k, temperature):
    same = torch.from_numpy(logits(seed)).requires_grad_()
    teacher = SparseLogprobs.from_logits(same.detach(), k, temperature)
    apart = divergence(same, teacher, kind, temperature, **REFERENCES[kind][1])
    apart.sum().backward()
    assert apart.detach().abs().max() < 1e-12
    assert same.grad.abs().max() < 1e-12


@pytest.mark.parametrize("kind", sorted(REFERENCES))
@pytest.mark.parametrize("k", [4, V])
def test_gradient_passes_finite_differences(kind, k):
    teacher = SparseLogprobs.from_logits(torch.from_numpy(logits(1)), k, 2.0)
    student = torch.from_numpy(logits(2)).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: divergence(z, teacher, kind, 2.0, **REFERENCES[kind][1]), (student,))


@pytest.mark.parametrize("kind", sorted(REFERENCES))
@pytest.mark.parametrize("ours", [1e-12, 1e-6, 0.5, 1 - 1e-6])
@pytest.mark.parametrize("theirs", [1e-12, 1e-6, 0.5, 1 - 1e-6])
def test_extreme_tails_stay_finite(kind, ours, theirs):
    def cells(tail):
        return torch.tensor([[np.log1p(-tail) - np.log(2)] * 2 + [np.log(tail)]], dtype=torch.float32)

    student = cells(ours).requires_grad_()
    apart = between_cells(cells(theirs), student.log_softmax(-1), kind, **REFERENCES[kind][1])
    apart.sum().backward()
    assert apart.isfinite().all()
    assert student.grad.isfinite().all()
    if ours == theirs:
        assert apart.abs().max() < 1e-6


@pytest.mark.parametrize(
    ("kind", "given_", "words"),
    [
        ("jsd", {"skew": 0.1}, "no parameter 'skew'. Its only parameter is 'beta'"),
        ("forward-kl", {"beta": 0.5}, "no parameter 'beta'. It has no parameters"),
        ("skew-kl", {"skew": 1.0}, "above 0 and below 1"),
        ("jsd", {"beta": 0.0}, "above 0 and below 1"),
    ],
)
def test_wrong_parameters_are_refused(kind, given_, words):
    rows = torch.zeros(1, 3).log_softmax(-1)
    with pytest.raises(KdprobeError) as caught:
        between_cells(rows, rows, kind, **given_)
    assert words in str(caught.value)


def test_no_skew_is_the_plain_divergence():
    p, q = (torch.from_numpy(logits(seed)).log_softmax(-1) for seed in (1, 2))
    for skewed, plain in (("skew-kl", "forward-kl"), ("skew-reverse-kl", "reverse-kl")):
        np.testing.assert_allclose(between_cells(p, q, skewed, skew=0.0), between_cells(p, q, plain))
