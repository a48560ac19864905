"""The norms of changes in circuits, against dense matrices in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdprobe.probing.weights.circuits import Change, change_norm, product_norm

sizes = st.integers(1, 7)


def random(*shape, seed):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@st.composite
def circuits(draw):
    """Weights of some heads and their changes, wide or narrow, of any rank, large or minute."""
    heads, head_dim, d_model, seed = draw(st.integers(1, 4)), draw(sizes), draw(st.integers(1, 12)), draw(st.integers())
    size = draw(st.sampled_from([1.0, 1e-3, 1e-7]))
    seed %= 2**31

    def change(offset):
        rank, shared = draw(st.integers(0, 6)), draw(st.booleans())
        if rank == 0:
            return None
        outer = size * random(heads, head_dim, rank, seed=seed + offset)
        return Change(outer, random(1 if shared else heads, rank, d_model, seed=seed + offset + 1))

    left, right = (random(heads, head_dim, d_model, seed=seed + offset) for offset in (10, 20))
    return left, right, change(30), change(40)


def dense(left, right, left_change, right_change):
    """Expands the change itself, because a difference of circuits would lose the digits that are compared."""
    left, right = left.numpy(), right.numpy()
    zero = np.zeros_like(left)
    d_left = zero if left_change is None else np.einsum("hir,hrd->hid", *_numpy(left_change))
    d_right = zero if right_change is None else np.einsum("hir,hrd->hid", *_numpy(right_change))
    change = np.swapaxes(d_left, 1, 2) @ (right + d_right) + np.swapaxes(left, 1, 2) @ d_right
    return np.sqrt((change**2).sum(axis=(1, 2)))


def _numpy(change):
    outer = change.outer.numpy()
    return outer, np.broadcast_to(change.inner.numpy(), (len(outer), *change.inner.shape[1:]))


@settings(max_examples=200, deadline=None)
@given(circuits())
def test_change_norm_is_that_of_the_dense_change(case):
    np.testing.assert_allclose(change_norm(*case).numpy(), dense(*case), rtol=1e-6, atol=1e-300)


@settings(deadline=None)
@given(st.integers(1, 3), sizes, st.integers(1, 12), st.integers(0, 2**31))
def test_product_norm(batch, thin, wide, seed):
    left, right = random(batch, thin, wide, seed=seed), random(batch, thin, wide, seed=seed + 1)
    expected = torch.linalg.matrix_norm(left.mT @ right)
    torch.testing.assert_close(product_norm(left, right), expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("sides", [(True, True), (True, False), (False, True), (False, False)])
def test_a_zero_change_is_exactly_zero(sides):
    left, right = random(3, 4, 20, seed=0), random(3, 4, 20, seed=1)
    changes = [Change(torch.zeros_like(random(3, 4, 2, seed=2)), random(1, 2, 20, seed=3)) for _ in sides]
    given_changes = [change if side else None for change, side in zip(changes, sides, strict=True)]
    assert change_norm(left, right, *given_changes).tolist() == [0, 0, 0]


def test_terms_that_nearly_cancel_keep_their_digits():
    """W_Q grows by e and W_K shrinks by e: the circuit changes only by e^2, which Gram matrices would lose."""
    left, right, e = random(1, 4, 30, seed=0), random(1, 4, 30, seed=1), 1e-5
    identity = torch.eye(4, dtype=torch.float64)[None]
    norm = change_norm(left, right, Change(e * identity, left), Change(-e * identity, right))
    expected = e**2 * torch.linalg.matrix_norm(left.mT @ right)
    torch.testing.assert_close(norm, expected, rtol=1e-6, atol=0)
