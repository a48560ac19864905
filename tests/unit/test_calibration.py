import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from kdprobe.stats.calibration import auroc, auroc_interval, calibration_error, reliability


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_auroc_is_sklearns_ties_included(rows):
    confidence, correct = np.array([row[0] for row in rows], dtype=float), np.array([row[1] for row in rows])
    if correct.all() or not correct.any():
        assert np.isnan(auroc(confidence, correct))
    else:
        assert auroc(confidence, correct) == pytest.approx(roc_auc_score(correct, confidence))


def test_interval_holds_the_value_and_narrows_with_answers():
    random = np.random.default_rng(0)
    widths = []
    for answers in (40, 640):
        correct = np.arange(answers) % 2 == 0
        confidence = random.normal(size=answers) + correct
        interval = auroc_interval(confidence, correct)
        assert interval.low < auroc(confidence, correct) < interval.high
        widths.append(interval.high - interval.low)
    assert widths[1] < widths[0] / 2


def test_calibration_error_by_hand():
    # Two bins: confidence 0.2 and 0.4 with one of two right, confidence 0.9 with one of one right.
    bins = reliability(np.array([0.2, 0.4, 0.9]), np.array([True, False, True]), 2)
    assert [one.answers for one in bins] == [2, 1]
    assert calibration_error(bins) == pytest.approx((2 * abs(0.5 - 0.3) + 1 * abs(1 - 0.9)) / 3)


def test_full_confidence_belongs_to_the_last_bin_and_empty_bins_count_nothing():
    bins = reliability(np.array([1.0, 1.0]), np.array([True, True]), 10)
    assert [one.answers for one in bins] == [0] * 9 + [2]
    assert calibration_error(bins) == 0
