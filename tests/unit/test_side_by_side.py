from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon

from kdprobe.probing.patterns.files import PatternFile
from kdprobe.probing.patterns.pairwise import files_side_by_side, jensen_shannon
from kdprobe.probing.patterns.prompts import PromptPatterns


def patterns(random, layers=2, heads=3, length=6):
    weights = np.tril(random.random((layers, heads, length, length)) ** 3)
    return (weights / weights.sum(-1, keepdims=True)).astype(np.float32)


@pytest.fixture
def random():
    return np.random.default_rng(0)


def test_jensen_shannon_is_scipys_and_keeps_small_ones(random):
    one = patterns(random)[0]
    near = one * (1 + 1e-3 * np.tril(random.normal(size=one.shape)).astype(np.float32))
    near /= near.sum(-1, keepdims=True)
    for other, close in ((patterns(random)[0], 1e-6), (near, 1e-3)):
        expected = (jensenshannon(one.astype(float), other.astype(float), axis=-1) ** 2).mean(axis=-1)
        found = jensen_shannon(torch.from_numpy(one), torch.from_numpy(other)).numpy()
        np.testing.assert_allclose(found, expected, rtol=close)


def test_jensen_shannon_of_opposites_is_log_two_and_of_twins_nothing():
    one, other = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]])
    assert jensen_shannon(one, other).item() == pytest.approx(np.log(2))
    assert jensen_shannon(one, one).item() == 0


def test_variance_over_students_is_numpys(random):
    # One is near the first student: sums of squares of the patterns themselves would lose the difference.
    base = patterns(random)
    students = [base, base + np.float32(1e-4) * base**2, patterns(random)]
    files = [
        PatternFile(f"s{number}", Path("x"), (PromptPatterns("prompt", pattern),), arm=f"s{number}")
        for number, pattern in enumerate(students)
    ]
    for count in (2, 3):
        expected = np.stack(students[:count]).astype(float).var(axis=0).mean(axis=(-2, -1))
        found = files_side_by_side(files[:count]).variance[0]
        np.testing.assert_allclose(found, expected, rtol=2e-3)
