import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, rel_entr, softmax

from kdprobe.distill.objectives import SparseLogprobs, divergence
from kdprobe.errors import KdprobeError

V = 40


def logits(seed, rows=3, vocabulary=V, spread=3.0):
    return np.random.default_rng(seed).normal(0, spread, (rows, vocabulary)).astype(np.float32)


def dense_kl(teacher, student, temperature):
    p = softmax(teacher.astype(np.float64) / temperature, axis=-1)
    q = softmax(student.astype(np.float64) / temperature, axis=-1)
    return rel_entr(p, q).sum(-1)


def sparse_kl(teacher, student, k, temperature):
    cut = SparseLogprobs.from_logits(torch.from_numpy(teacher), k, temperature)
    return divergence(torch.from_numpy(student), cut, "forward-kl", temperature).numpy()


seeds = st.integers(0, 2**32 - 1)
cuts = st.integers(1, V)
temperatures = st.sampled_from([0.5, 1.0, 2.0, 4.0])
few = settings(max_examples=40, deadline=None)


@few
@given(seeds, cuts, temperatures)
def test_value_and_gradient_vanish_where_the_student_is_the_teacher(seed, k, temperature):
    same = torch.from_numpy(logits(seed)).requires_grad_()
    teacher = SparseLogprobs.from_logits(same.detach(), k, temperature)
    apart = divergence(same, teacher, "forward-kl", temperature)
    apart.sum().backward()
    assert apart.detach().abs().max() < 2e-6
    assert same.grad.abs().max() < 2e-6


@few
@given(seeds, seeds, cuts, temperatures)
def test_never_negative_and_at_most_the_dense_divergence(seed, other, k, temperature):
    teacher, student = logits(seed), logits(other)
    value = sparse_kl(teacher, student, k, temperature)
    assert (value >= -2e-6).all()
    assert (value <= dense_kl(teacher, student, temperature) + 1e-5).all()


@few
@given(seeds, seeds, temperatures)
def test_whole_vocabulary_gives_the_dense_divergence_and_finite_gradients(seed, other, temperature):
    teacher, student = logits(seed), logits(other)
    cut = SparseLogprobs.from_logits(torch.from_numpy(teacher), V, temperature)
    learner = torch.from_numpy(student).requires_grad_()
    value = divergence(learner, cut, "forward-kl", temperature)
    value.sum().backward()
    assert (cut.tail_logmass == -torch.inf).all()
    np.testing.assert_allclose(value.detach(), dense_kl(teacher, student, temperature), rtol=1e-5, atol=1e-5)
    p, q = (softmax(x.astype(np.float64) / temperature, axis=-1) for x in (teacher, student))
    np.testing.assert_allclose(learner.grad, (q - p) / temperature, atol=1e-6)


@few
@given(seeds, seeds)
def test_grows_towards_the_dense_divergence_with_k(seed, other):
    teacher, student = logits(seed), logits(other)
    by_k = np.stack([sparse_kl(teacher, student, k, 1.0) for k in range(1, V + 1)])
    assert (np.diff(by_k, axis=0) >= -1e-5).all()
    np.testing.assert_allclose(by_k[-1], dense_kl(teacher, student, 1.0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_gradient_agrees_with_finite_differences_of_a_float64_reference(temperature):
    teacher, student = logits(1, rows=1, vocabulary=12), logits(2, rows=1, vocabulary=12)
    top = np.argsort(-teacher[0])[:4]

    def reference(z):
        p = softmax(teacher[0].astype(np.float64) / temperature)
        q = softmax(z / temperature)
        kept = rel_entr(p[top], q[top]).sum()
        return kept + rel_entr(np.delete(p, top).sum(), np.delete(q, top).sum())

    cut = SparseLogprobs.from_logits(torch.from_numpy(teacher), 4, temperature)
    learner = torch.from_numpy(student).requires_grad_()
    value = divergence(learner, cut, "forward-kl", temperature)
    value.sum().backward()
    at, step = student[0].astype(np.float64), 1e-5
    slopes = [(reference(at + step * e) - reference(at - step * e)) / (2 * step) for e in np.eye(12)]
    assert value.item() == pytest.approx(reference(at), abs=1e-5)
    np.testing.assert_allclose(learner.grad[0], slopes, atol=1e-5)


def test_tiny_tail_keeps_its_mass():
    teacher = torch.tensor([[0.0, -18.0, -18.5, -19.0]])
    exact = np.logaddexp.reduce(log_softmax(teacher.numpy().astype(np.float64), axis=-1)[:, 1:], axis=-1)
    assert SparseLogprobs.from_logits(teacher, 1).tail_logmass.numpy() == pytest.approx(exact, rel=1e-6)


@few
@given(seeds, st.integers(1, V - 1), st.sampled_from([1.0, 2.0, 4.0]))
def test_rows_rounded_to_half_precision_still_agree_with_themselves(seed, k, temperature):
    # Nearly all mass within the top k is where the rounding of fp16 would show most.
    same = torch.from_numpy(logits(seed, spread=2.0))
    at_one = SparseLogprobs.from_logits(same, k)
    tail = SparseLogprobs.from_logits(same, k, temperature).tail_logmass
    stored = SparseLogprobs.from_stored(at_one.ids, at_one.logprobs.half(), tail, temperature)
    total = stored.logprobs.exp().sum(-1) + stored.tail_logmass.exp()
    assert (total - 1).abs().max() < 1e-6
    assert divergence(same, stored, "forward-kl", temperature).abs().max() < 1e-5


def test_another_temperature_is_refused():
    teacher = SparseLogprobs.from_logits(torch.from_numpy(logits(0)), 5, 1.0)
    with pytest.raises(KdprobeError, match=r"temperature 1\.0.*2\.0"):
        divergence(torch.from_numpy(logits(1)), teacher, "forward-kl", 2.0)


def test_unknown_divergence_is_refused():
    teacher = SparseLogprobs.from_logits(torch.from_numpy(logits(0)), 5)
    with pytest.raises(KdprobeError, match="Unknown divergence 'squared'"):
        divergence(torch.from_numpy(logits(1)), teacher, "squared")
