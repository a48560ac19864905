"""The teacher's answers on a page, and what is said of them."""

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from kdprobe.experiment.arm_results import ArmResults
from kdprobe.experiment.integrity.checks import Checks, DamagedStageError
from kdprobe.experiment.integrity.manifest import MANIFEST, seal
from kdprobe.experiment.results import Results
from kdprobe.problems.problem import Problem
from kdprobe.report.payload.teaching import teacher_answers
from kdprobe.teachers.teacher import Response
from kdprobe.transfer.fidelity import fidelity
from kdprobe.transfer.transfer_set import ROWS, TransferSet, write

PROBLEMS = [
    {"id": f"train-{n}", "question": f"q{n}", "solution": f"s{n}", "value": "7", "group": f"g{n % 2}"} for n in range(4)
]
TEXTS = {
    "unprimed": ["7", "8", "8", "I do not know."],
    "steps": ["3 + 4 = 7", "The answer is 7", "#### 8", "\\boxed{7}"],
}
ARMS = [("untrained", None), ("unprimed@0", "unprimed"), ("steps@0", "steps"), ("steps@1", "steps")]
SHOWN = [{"name": name, "group": name, "colour": colour, "hollow": False} for colour, (name, _) in enumerate(ARMS)]


def sealed(folder):
    """Makes a folder a stage."""
    (folder / MANIFEST).unlink(missing_ok=True)
    seal(folder, {"kind": folder.parent.name, "key": folder.name})


@pytest.fixture
def taught(tmp_path):
    """What the page is given, and the transfer sets."""
    sets = {}
    for strategy, texts in TEXTS.items():
        responses = [Response(f"train-{n}", text, np.arange(n + 1), finished=n != 1) for n, text in enumerate(texts)]
        sets[strategy] = TransferSet(tuple(responses), {"vocabulary": 9, "tokenizer": ""})
        (tmp_path / strategy).mkdir()
        write(sets[strategy], tmp_path / strategy)
        sealed(tmp_path / strategy)

    def given(pair=("steps@0", "unprimed@0"), kept=None, **transfer):
        empty = {field.name: None for field in dataclasses.fields(ArmResults)}
        arms = [
            ArmResults(
                **empty
                | {"name": name, "strategy": strategy, "kept": kept, "transfer": strategy and tmp_path / strategy}
            )
            for name, strategy in ARMS
        ]
        record = {"problems": {"transfer": PROBLEMS, "test": [{}] * 3}, "config": {"transfer": transfer}}
        return teacher_answers(Results("run", tmp_path, record, arms, [], Checks()), SHOWN, pair)

    return given, sets


def test_strategies_are_shown_once_and_judged_as_fidelity_judges_them(taught):
    given, sets = taught
    found = given()
    assert [(arm["name"], arm["colour"]) for arm in found["arms"]] == [("unprimed", 1), ("steps", 2)]
    assert found["pair"] == ["steps", "unprimed"]
    for strategy, answers in zip(TEXTS, found["answers"]["arms"], strict=True):
        assert [answer["text"] for answer in answers] == TEXTS[strategy]
        measured = fidelity(sets[strategy], [Problem(**problem) for problem in PROBLEMS])
        assert np.mean([answer["right"] for answer in answers]) == measured.accuracy
        assert [answer["cut"] for answer in answers] == [False, True, False, False]
        assert [answer["tokens"] for answer in answers] == [1, 2, 3, 4]
    assert [problem["solution"] for problem in found["answers"]["problems"]] == ["s0", "s1", "s2", "s3"]
    assert found["answers"]["problems"][1]["group"] == "g1"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "The teacher answered the 4 training problems under each strategy. Students learned from these answers. "),
        ({"kept": [["train-0", 0]]}, "under each strategy. Students learned from some of these answers. "),
        (
            {"texts": "gold"},
            "These answers to the 4 training problems come from transfer.texts = 'gold'; the teacher only scored ",
        ),
        ({"samples": 2}, "Only the first answer to each problem is shown. "),
    ],
)
def test_where_the_answers_are_from_is_said(taught, options, said):
    assert said in (note := taught[0](**options)["note"])
    assert note.endswith("The teacher was not given the 3 test problems, which are used only to test the students.")


def test_of_many_answers_the_first_are_shown(taught, monkeypatch):
    monkeypatch.setattr("kdprobe.report.payload.teaching._MOST", 6)
    found = taught[0]()
    assert [problem["id"] for problem in found["answers"]["problems"]] == ["train-0", "train-1", "train-2"]
    assert "The page shows the first 3 problems." in found["note"]


def test_answers_in_another_format_leave_a_page_that_says_so(taught, tmp_path):
    file = tmp_path / "steps" / ROWS
    pq.write_table(pq.read_table(file).drop_columns(["finished"]), file)
    sealed(file.parent)
    found = taught[0]()
    assert (found["answers"], found["arms"]) == (None, [])
    assert found["note"] == "The teacher's answers cannot be shown: the transfer set of steps has no column finished."


def test_damaged_answers_are_named(taught, tmp_path):
    (tmp_path / "steps" / ROWS).write_bytes(b"")
    with pytest.raises(DamagedStageError, match=f"steps is damaged: {ROWS}"):
        taught[0]()


def test_without_transfer_sets_there_is_nothing_to_show():
    empty = {field.name: None for field in dataclasses.fields(ArmResults)}
    arms = [ArmResults(**empty | {"name": "untrained"})]
    record = {"problems": {"test": []}, "config": {}}
    assert teacher_answers(Results("run", Path(), record, arms, [], Checks()), SHOWN[:1], None) is None
