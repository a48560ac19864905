"""The contract of `kdprobe_executors`: what `check_executor` accepts, and what it says of each fault."""

from types import ModuleType

import pytest

from kdprobe import ExecutorSpec, hookimpl
from kdprobe.experiment import Ended, Executor
from kdprobe.host.candidates import builtin_candidates
from kdprobe.host.discovery import discover
from kdprobe.host.registry import Host
from kdprobe.testing import ContractError, check_executor, host_with


def test_the_built_in_executor(torch, tiny_model, tmp_path):
    host = Host(discover(builtin_candidates()))
    assert host.names("executors") == ["local"]
    assert isinstance(host.create("executors", "local"), Executor)
    check_executor(host, "local", model=tiny_model, folder=tmp_path)


class Here:
    """Runs everything in this process."""

    def start(self, job, jobs, report):
        self.job, self.report = job, report

    def submit(self, task):
        try:
            self.report(task, Ended(self.job.make(task)))
        except Exception as error:  # noqa: BLE001
            self.report(task, Ended(error=error))

    def stop(self):
        pass


class Twice(Here):
    def submit(self, task):
        super().submit(task)
        self.report(task, Ended(made=False))


class Careless(Here):
    def submit(self, task):
        self.report(task, Ended(made=task.name != "nobody" and self.job.make(task)))


class Spoiling(Here):
    """Changes what a stage wrote."""

    def submit(self, task):
        super().submit(task)
        for file in self.job.store.root.glob(f"stages/evaluate/{task.key}/records.parquet"):
            file.write_bytes(b"")


@pytest.mark.parametrize(
    ("executor", "said"),
    [
        (Here, None),
        (Twice, "reports the end of transfer unprimed 2 times; it must do so once"),
        (Careless, "reports success for a task that is not part of the run"),
        (Spoiling, "records.parquet of evaluate untrained differs from what a single process writes"),
    ],
)
def test_faults_of_an_executor(executor, said, torch, tiny_model, tmp_path):
    module = ModuleType("someones_plugin")
    module.kdprobe_executors = hookimpl(lambda: [ExecutorSpec(name="it", summary="It", build=lambda _: executor())])
    host = host_with(module)
    if said is None:
        check_executor(host, "it", model=tiny_model, folder=tmp_path)
    else:
        with pytest.raises(ContractError, match=said):
            check_executor(host, "it", model=tiny_model, folder=tmp_path)
