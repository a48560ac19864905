"""What a run says about its teachers' answers, from their measurements."""

import pytest

from kdprobe.experiment.arm_results import ArmResults
from kdprobe.experiment.teacher_audit import teacher_findings


def found(kept=None, **measured):
    """Evidence by code, for a strategy with these measurements and one whose answers are faultless."""

    def arm(strategy, fidelity):
        return ArmResults(strategy, strategy, "logits", 0, fidelity, kept, None, [], None, None)

    good = {"responses": 50, "accuracy": 0.9, "cut_off": 0.0}
    arms = [arm("units", good | measured), arm("unprimed", good), arm(None, None)]
    return {finding.code: finding.evidence for finding in teacher_findings(arms)}


def test_faultless_answers_are_not_reported():
    assert found() == {}


@pytest.mark.parametrize(("share", "told"), [(0.04, False), (0.06, True), (1.0, True)])
def test_teacher_answers_cut_off_are_reported_above_a_share(share, told):
    evidence = found(cut_off=share).get("cut-off-teaching")
    assert evidence == (f"Teacher answers cut off at the budget: units {share:.1%}." if told else None)


def test_unending_thinking_is_not_reported_twice():
    assert set(found(cut_off=0.5, unclosed_thinking=0.5)) == {"unclosed-teaching"}


@pytest.mark.parametrize(("share", "told"), [(0.06, False), (0.04, True), (0.0, True)])
def test_teacher_answers_that_are_nearly_all_wrong_are_reported(share, told):
    evidence = found(accuracy=share).get("wrong-teaching")
    assert evidence == (f"Few of the teacher's answers are correct: units {share:.1%}." if told else None)


def test_wrong_answers_that_no_student_is_trained_on_are_not_reported():
    assert found(accuracy=0.02, kept=[["p1", 0]]) == {}
