"""What `local` says about threads and CPUs before it begins."""

import pytest

from kdprobe.experiment.executors import local
from kdprobe.experiment.executors.executor import Ended, Task
from kdprobe.models.outline.resources import Resources


@pytest.mark.parametrize(
    ("threads", "jobs", "cpus", "said"),
    [
        (1, None, 2, "This run uses 1 of 2 CPUs; --jobs 2 would use them all."),
        (2, 1, 9, "This run uses 2 of 9 CPUs; --jobs 4 would use 8 of them."),
        (2, 1, 3, ""),
        (None, None, 64, ""),
        (1, 2, 2, ""),
        (2, 2, 2, "2 jobs, with 2 threads each, share 2 CPUs. Lower --jobs to 1, or set `threads` in [resources],"),
        (None, 4, 2, "4 jobs, with 1 thread each, share 2 CPUs. Lower --jobs to 2."),
    ],
)
def test_too_many_or_too_few_threads_are_noted(threads, jobs, cpus, said, monkeypatch, capfd):
    monkeypatch.setattr(local.os, "cpu_count", lambda: cpus)
    monkeypatch.setattr(local, "thread_count", lambda: 1)
    local._note_load(Task("k", "evaluate", "it", Resources(threads=threads)), jobs or 1)
    err = capfd.readouterr().err
    assert err.startswith(said)
    assert bool(err) == bool(said)


def test_it_is_said_once(monkeypatch, capfd):
    monkeypatch.setattr(local.os, "cpu_count", lambda: 2)
    ended = []

    class Job:
        def make(self, task):
            return True

    executor = local.LocalExecutor()
    executor.start(Job(), None, lambda task, event: ended.append(event))
    for key in "ab":
        executor.submit(Task(key, "evaluate", key, Resources(threads=1)))
    assert capfd.readouterr().err.count("would use them all") == 1
    assert ended == [Ended(made=True)] * 2
