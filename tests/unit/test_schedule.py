"""The order in which stages are begun."""

import time

import pytest

from kdprobe.errors import KdprobeError
from kdprobe.experiment.executors.executor import Ended
from kdprobe.experiment.executors.schedule import Schedule
from kdprobe.experiment.stages.stage import Stage
from kdprobe.experiment.store import Store


def stage(kind, name, *inputs):
    return Stage(kind, name, {"name": name}, inputs, work=lambda *_: None)


@pytest.fixture
def stages():
    transfer = stage("transfer", "t")
    trained = [stage("distill", name, transfer) for name in "ab"]
    scored = [stage("evaluate", student.name, student) for student in trained]
    return [transfer, *trained, *scored, stage("analyse", "long", *trained), stage("analyse", "scores", *scored)]


class Recorder:
    """Makes every stage, after it waited in a queue for a time, and remembers their order."""

    def __init__(self, store, stages, queued=0.0):
        self.store, self.begun, self.queued = store, [], queued
        self.stages = {each.key: each for each in stages}

    def start(self, job, jobs, report):
        self.report = report

    def submit(self, task):
        self.begun.append(f"{task.kind} {task.name}")
        time.sleep(self.queued)
        self.report(task, Ended(self.store.make(self.stages[task.key])))

    def stop(self):
        pass


@pytest.mark.parametrize(
    ("jobs", "order"),
    [
        (None, ["transfer t", "distill a", "distill b", "evaluate a", "evaluate b", "analyse long", "analyse scores"]),
        (2, ["transfer t", "distill a", "distill b", "analyse long", "evaluate a", "evaluate b", "analyse scores"]),
    ],
)
def test_side_by_side_a_long_stage_is_not_the_last_to_begin(jobs, order, stages, tmp_path):
    store = Store(tmp_path)
    store.prepare()
    executor = Recorder(store, stages)
    finished = []
    assert Schedule(stages, store, lambda each, made: finished.append((each.name, made)), jobs).run(executor, None)
    assert executor.begun == order
    assert len(finished) == 7
    again = Recorder(store, stages)
    assert not Schedule(stages, store, lambda each, made: finished.append((each.name, made)), jobs).run(again, None)
    assert again.begun == []
    assert [made for _, made in finished] == [True] * 7 + [False] * 7


class Failing(Recorder):
    """Reports nothing before three stages have begun; the first then fails."""

    def submit(self, task):
        self.begun.append(task)
        if len(self.begun) < len(self.stages):
            return
        self.report(self.begun[0], Ended(error=KdprobeError("It burst.")))
        for each in self.begun[1:]:
            self.report(each, Ended(self.store.make(self.stages[each.key])))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("ab", "1 other stage to finish, so that no work is lost; Ctrl-C stops it."),
        ("abc", "2 other stages to finish, so that no work is lost; Ctrl-C stops them."),
    ],
)
def test_stages_that_still_run_are_waited_for(names, said, tmp_path, capsys):
    store = Store(tmp_path)
    store.prepare()
    alone = [stage("select", name) for name in names]
    with pytest.raises(KdprobeError, match="It burst"):
        Schedule(alone, store, lambda *_: None, len(names)).run(Failing(store, alone), None)
    assert f"select a failed. Waiting for {said}" in " ".join(capsys.readouterr().err.split())


def test_the_duration_of_a_stage_is_without_its_time_in_a_queue(tmp_path, capsys):
    store = Store(tmp_path)
    store.prepare()
    alone = [stage("select", "s")]
    Schedule(alone, store, lambda *_: None).run(Recorder(store, alone, queued=0.7), None)
    assert "[1/1] select s: 0 s" in capsys.readouterr().err
