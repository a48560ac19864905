"""A gain on the deciding task together with a loss on another one."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from kdprobe.comparison.answers import Outputs
from kdprobe.comparison.arms import Arm
from kdprobe.comparison.compare import compare
from kdprobe.comparison.tasks.gain import gain_with_loss
from kdprobe.comparison.tasks.retention import judged, student_change
from kdprobe.comparison.tasks.scores import Documents
from kdprobe.comparison.tasks.verdict import task_verdict
from kdprobe.problems.extractors import Robust
from kdprobe.report.templates import template
from kdprobe.stats.paired import paired_change

N = 60


def pairs(teacher):
    """The pairs of an untrained student that solves 10 problems, and one that solves so many."""

    def arm(name, solved, strategy=None):
        responses = [f"The answer is {7 if index < solved else 8}" for index in range(N)]
        outputs = Outputs(file=name, responses=responses, gold=["7"] * N, ids=[str(index) for index in range(N)])
        return Arm(name, outputs, strategy, "logits" if strategy else None)

    return compare([arm("untrained", 10), arm("teacher", teacher, "teacher")], {"robust": Robust()}).pairs


def changes(right, margin=0.05):
    """The change of a student with so many of 60 documents right, of which the untrained one has 50."""

    def documents(name, count):
        keys = [("task", index, "") for index in range(N)]
        scores = (np.arange(N) < count).astype(float)
        return Documents(name, "task", "acc", True, keys, scores, np.ones(N), [""] * N, None, None)

    return judged([student_change(documents("teacher", right), documents("untrained", 50), margin)])


def test_a_gain_with_a_loss_is_found():
    [finding] = gain_with_loss(pairs(40), [], changes(30))
    assert finding.code == "gain-with-loss"
    assert "teacher gained 50.0 points over untrained (p = " in finding.evidence
    assert "but lost 33.3 points on task compared with untrained (p = " in finding.evidence


@pytest.mark.parametrize(("solved", "right"), [(40, 50), (12, 30), (2, 30), (12, 50)])
def test_either_alone_is_not(solved, right):
    assert gain_with_loss(pairs(solved), [], changes(right)) == []


def test_the_page_writes_a_margin_without_a_sign():
    tasks = SimpleNamespace(scores=[], roles={}, changes=changes(30), verdict=[])
    page = template("_tasks.html.jinja").render(comparison=SimpleNamespace(tasks=tasks))
    assert "<td>-33.3 points</td>" in page
    assert "<td>5.0 points</td>" in page


def test_one_document_has_no_bounds():
    change = dataclasses.replace(changes(50)[0], test=paired_change(np.array([0.1])), unit="nats")
    (sentence,) = task_verdict([change])
    assert sentence.startswith("On task (1 document, margin 0.05 nats), neither retention nor a loss was shown: ")
    assert sentence.endswith(": 'teacher' +0.1 nats (1 document: too few for bounds).")


def test_tasks_that_are_only_reported_are_not_lost():
    assert gain_with_loss(pairs(40), [], changes(30, margin=None)) == []


def test_the_gain_must_be_of_the_student_that_lost():
    other = [dataclasses.replace(change, a="other") for change in changes(30)]
    assert gain_with_loss(pairs(40), [], other) == []
