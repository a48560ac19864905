from pathlib import Path

import pytest

from kdprobe.errors import KdprobeError
from kdprobe.experiment.tune.trials import Trial, result


def record(correct, log_p, cut_off=False):
    return {"correct": correct, "log_p_gold_value": log_p, "cut_off": cut_off}


def trial(number, *records):
    return Trial(number, {"rank": number}, {"lora": {"rank": number}}).with_records(list(records))


def failed(number):
    return Trial(number, {"rank": number}, {}, failure="it burst")


# The first solves more, the second gives the gold values more probability.
CURRENT = trial(0, record(False, -3.0), record(False, -2.0), record(True, -1.0, cut_off=True), record(False, -2.0))
SOLVER = trial(1, record(True, -3.0), record(True, -2.0), record(True, -1.5), record(False, -2.5))
KNOWER = trial(2, record(False, -1.0), record(False, -1.0), record(False, -0.5), record(False, -1.0))


def tuned(*trials, current=CURRENT, by="log-p-gold-value"):
    return result(
        study="s", database=Path("d"), strategy="none", distiller="logits", by=by, trials=list(trials), current=current
    )


def test_a_trials_figures_are_those_of_its_records():
    assert (CURRENT.n, CURRENT.correct, CURRENT.accuracy) == (4, 1, 0.25)
    assert (CURRENT.log_p_gold_value, CURRENT.cut_off) == (-2.0, 0.25)
    assert CURRENT.interval.low < 0.25 < CURRENT.interval.high


@pytest.mark.parametrize(("by", "best"), [("accuracy", SOLVER), ("log-p-gold-value", KNOWER)])
def test_the_criterion_decides(by, best):
    assert tuned(CURRENT, SOLVER, KNOWER, failed(3), by=by).best is best


def test_of_equals_the_current_options_stay():
    twin = trial(1, *CURRENT.records)
    unbeaten = tuned(CURRENT, twin, by="accuracy")
    assert unbeaten.best is CURRENT
    assert unbeaten.gain is None
    assert not unbeaten.improved
    # Nothing was chosen, so there is no choice to warn of.
    assert unbeaten.verdict() == ["No trial beat the current options on accuracy.", "The test problems were not used."]


def test_the_gain_is_paired():
    gain = tuned(CURRENT, SOLVER, by="accuracy").gain
    assert (gain.test.difference, gain.test.only_a, gain.test.only_b) == (0.5, 2, 0)
    assert gain.log_p_difference == pytest.approx(-0.25)
    assert gain.log_p_interval.low < -0.25 < gain.log_p_interval.high


def test_a_difference_that_may_be_chance_is_called_so():
    clear = " ".join(tuned(CURRENT, KNOWER).verdict())
    chance = " ".join(tuned(CURRENT, SOLVER, by="accuracy").verdict())
    assert "includes 0" not in clear
    assert "difference in accuracy includes 0, so the difference may well be due to chance" in chance
    assert "2 problems solved only by trial 1, 0 only by the current options" in chance


@pytest.mark.parametrize(
    ("trials", "chosen"), [([SOLVER], "The trial was"), ([SOLVER, KNOWER], "The best of 2 trials was")]
)
def test_what_was_chosen_is_said_to_be_biased(trials, chosen):
    said = tuned(*trials, by="accuracy").verdict()
    assert f"{chosen} chosen on these same problems, so its results are biased upwards." in said


def test_fewer_solved_problems_are_told_where_log_p_decides():
    assert any("solves fewer problems" in sentence for sentence in tuned(CURRENT, KNOWER).verdict())
    assert not any("solves fewer problems" in sentence for sentence in tuned(CURRENT, SOLVER, by="accuracy").verdict())


def test_current_options_that_fail_are_beaten_by_any_student():
    found = tuned(SOLVER, current=failed(None))
    assert (found.best, found.gain, found.improved) == (SOLVER, None, True)
    assert "Trial 1 is the best; the current options failed: it burst." in found.verdict()


def test_without_any_student_there_is_no_best():
    with pytest.raises(KdprobeError, match="student; the run with the current options also failed: it burst"):
        tuned(failed(1), current=failed(None))
