import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdprobe.distill.objectives import Objective, SparseLogprobs
from kdprobe.distill.sparse_kd import sparse_kd_loss

ROWS, WIDTH, V = 7, 12, 50
KINDS = ["forward-kl", "reverse-kl", "skew-kl", "skew-reverse-kl", "jsd"]
few = settings(max_examples=40, deadline=None)


def parts_of(seed, k, temperature, dtype=torch.float64, spread=3.0):
    random = torch.Generator().manual_seed(seed)
    hidden = torch.randn(ROWS, WIDTH, generator=random, dtype=torch.float64)
    weight = torch.randn(V, WIDTH, generator=random, dtype=torch.float64) * spread / WIDTH**0.5
    labels = torch.randint(V, (ROWS,), generator=random)
    theirs = torch.randn(ROWS, V, generator=random, dtype=torch.float64) * spread
    teacher = SparseLogprobs.from_logits(theirs, k, temperature) if k else None
    return hidden.to(dtype), weight.to(dtype), labels, teacher


def gradient(parts, hidden, upstream):
    (parts["loss"] * upstream).sum().backward()
    return hidden.grad


def both(seed, k, objective, chunk_rows=3, dtype=torch.float64):
    """Loss parts and gradient of the head and of its dense twin."""
    hidden, weight, labels, teacher = parts_of(seed, k, objective.temperature, dtype)
    upstream = torch.linspace(0.5, 2, ROWS, dtype=dtype)
    first, second = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    fast = sparse_kd_loss(first, weight, labels, teacher, objective, chunk_rows=chunk_rows)
    dense = objective.dense(second @ weight.T, labels, teacher)
    return fast, gradient(fast, first, upstream), dense, gradient(dense, second, upstream)


@few
@given(
    st.integers(0, 2**31),
    st.sampled_from([1, 5, V - 1, V]),
    st.sampled_from(KINDS),
    st.sampled_from([0.5, 1.0, 2.0]),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.integers(1, ROWS + 1),
)
def test_loss_and_gradient_are_those_of_the_dense_path(seed, k, kind, temperature, alpha, chunk_rows):
    objective = Objective(alpha, kind, temperature, {"jsd": {"beta": 0.3}}.get(kind, {}))
    fast, slope, dense, expected = both(seed, k, objective, chunk_rows)
    assert fast.keys() == dense.keys()
    for name in dense:
        np.testing.assert_allclose(fast[name].detach(), dense[name].detach(), rtol=1e-10, atol=1e-10, err_msg=name)
    np.testing.assert_allclose(slope, expected, rtol=1e-9, atol=1e-9)


@few
@given(st.integers(0, 2**31))
def test_without_a_teacher_it_is_cross_entropy(seed):
    fast, slope, dense, expected = both(seed, 0, Objective())
    assert set(fast) == {"loss", "cross_entropy"}
    np.testing.assert_allclose(fast["loss"].detach(), dense["loss"].detach(), rtol=1e-12)
    np.testing.assert_allclose(slope, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_passes_torchs_own_finite_differences(kind):
    hidden, weight, labels, teacher = parts_of(1, 5, 2.0)
    objective = Objective(0.3, kind, 2.0)

    def loss(rows):
        return sparse_kd_loss(rows, weight, labels, teacher, objective, chunk_rows=4)["loss"]

    assert torch.autograd.gradcheck(loss, (hidden.requires_grad_(),))


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_vanishes_where_the_student_is_the_teacher(kind):
    hidden, weight, labels, _ = parts_of(3, 0, 1.0, torch.float32)
    hidden.requires_grad_()
    teacher = SparseLogprobs.from_logits((hidden @ weight.T).detach(), 5)
    parts = sparse_kd_loss(hidden, weight, labels, teacher, Objective(0.0, kind))
    parts["loss"].sum().backward()
    assert parts["loss"].detach().abs().max() < 1e-6
    assert hidden.grad.abs().max() < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_with_logits_of_eighty_stays_finite(kind):
    hidden, weight, labels, teacher = parts_of(5, 5, 1.0, torch.bfloat16, spread=25.0)
    logits = hidden @ weight.T
    assert logits.abs().max() > 60
    hidden.requires_grad_()
    parts = sparse_kd_loss(hidden, weight, labels, teacher, Objective(0.3, kind), chunk_rows=4)
    parts["loss"].sum().backward()
    assert parts["loss"].isfinite().all()
    assert hidden.grad.isfinite().all()
    assert hidden.grad.dtype == torch.bfloat16
    assert parts["loss"].dtype == torch.float32


def test_autocast_multiplies_in_its_own_type():
    hidden, weight, labels, teacher = parts_of(2, 5, 1.0, torch.float32)
    objective = Objective(0.3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fast = sparse_kd_loss(hidden.clone().requires_grad_(), weight, labels, teacher, objective)["loss"]
        dense = objective.dense(torch.nn.functional.linear(hidden, weight), labels, teacher)["loss"]
    np.testing.assert_allclose(fast.detach(), dense, rtol=1e-6)
    exact = sparse_kd_loss(hidden, weight, labels, teacher, objective)["loss"]
    assert (fast.detach() - exact).abs().max() > 1e-4


def test_the_scale_from_above_is_not_rounded_to_bfloat16():
    hidden, weight, labels, teacher = parts_of(4, 5, 1.0, torch.bfloat16)
    slopes = []
    for scale in (1.0, 1 / 411):
        rows = hidden.clone().requires_grad_()
        (sparse_kd_loss(rows, weight, labels, teacher, Objective(0.0))["loss"].sum() * scale).backward()
        slopes.append(rows.grad.double() / scale)
    # Each is rounded once, at random; a rounded scale would shift all of them by one factor.
    largest = slopes[0].abs() > 0.05
    assert abs(float((slopes[1] / slopes[0])[largest].mean()) - 1) < 5e-4


def test_no_gradient_reaches_the_matrix():
    hidden, weight, labels, teacher = parts_of(0, 5, 1.0, torch.float32)
    weight.requires_grad_()
    sparse_kd_loss(hidden.requires_grad_(), weight, labels, teacher, Objective(0.3))["loss"].sum().backward()
    assert weight.grad is None
