"""Stages side by side in worker processes: the numbers of one process, one Ctrl-C, and a sentence for every fault."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest

import kdprobe
from kdprobe.errors import KdprobeError, UsageError
from kdprobe.experiment import make_stage

TIMED = {"stage.json", "training.json", "transfer.json", "fidelity.json"}
"""Files that say how long something took."""
# The tests may run in the background of a shell, which then lets its children ignore Ctrl-C.
COMMAND = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from kdprobe.cli import main
main()
"""
SLOW = """
from kdprobe import AnalysisSpec, hookimpl


class Slow:
    needs = frozenset({"students"})

    def run(self, context):
        import time
        from pathlib import Path

        import pandas as pd
        from kdprobe.probing import AnalysisResult

        Path("began").touch()
        seconds = float(Path("seconds").read_text()) if Path("seconds").exists() else 0.0
        if seconds < 0:
            raise ZeroDivisionError("as asked")
        time.sleep(seconds)
        return AnalysisResult(tables={"names": pd.DataFrame({"student": [s.name for s in context.students]})})


@hookimpl
def kdprobe_analyses():
    yield AnalysisSpec(name="slow", summary="Takes its time", build=lambda options: Slow())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    (folder / "plugins").mkdir()
    (folder / "plugins" / "slow.py").write_text(SLOW)
    return folder


@pytest.fixture(scope="module")
def config(torch, tiny_model, tiny_config, folder):
    file = tiny_config(tiny_model, extra='analyses = ["geometry", "confidence", "slow"]')
    text = file.read_text().replace('name = "tiny"', 'name = "tiny"\nplugins = "plugins"', 1)
    (folder / "tiny.toml").write_text(text)
    return folder / "tiny.toml"


@pytest.fixture(scope="module")
def alone(config, folder):
    """A store with the experiment, run in one process."""
    run_process(folder, "run", config, "--store", folder / "alone")
    return folder / "alone"


def started(folder, *arguments):
    environment = {**os.environ, "COLUMNS": "80"}
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *map(str, arguments)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def started_slowly(folder, config, store):
    """Starts a run with two jobs, and waits until its slow analysis has begun."""
    (folder / "seconds").write_text("300")
    (folder / "began").unlink(missing_ok=True)
    process = started(folder, "run", config, "--store", store, "--jobs", 2)
    until((folder / "began").exists)
    return process


def run_process(folder, *arguments, code=0):
    process = started(folder, *arguments)
    out, err = process.communicate(timeout=400)
    assert process.returncode == code, err
    return out, err


def contents(store):
    """What every stage contains, without how long it took and what was measured of the machine."""
    found = {}
    for file in (store / "stages").rglob("*"):
        if file.is_file() and file.name not in TIMED:
            found[str(file.relative_to(store))] = file.read_bytes()
    return found


def copy_without(store, target, *kinds):
    shutil.copytree(store, target)
    for kind in kinds:
        shutil.rmtree(target / "stages" / kind)
    return target


def until(condition, seconds=120.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_two_jobs_give_bit_for_bit_the_numbers_of_one(config, folder, alone):
    out, err = run_process(folder, "run", config, "--store", folder / "jobs", "--jobs", 2, "--json")
    together, apart = contents(folder / "jobs"), contents(alone)
    assert together.keys() == apart.keys()
    assert {name for name in apart if together[name] != apart[name]} == set()
    assert any(name.endswith("adapter_model.safetensors") for name in apart)
    (run,) = [folder.name for folder in (alone / "runs").iterdir()]
    assert json.loads(out)["run"] == run
    # The first two are begun before either has ended.
    begun, ended = err.index("[ 2/12] transfer teacher …"), err.index("[ 1/12] transfer unprimed: ")
    assert begun < ended
    _, again = run_process(folder, "run", config, "--store", folder / "jobs", "--jobs", 2)
    assert again.count("already done") == 12


def test_the_second_of_two_like_stages_is_not_run_again(config, folder, tiny_model):
    text = config.read_text().replace('["none", "teacher"]', '["none", { name = "none", label = "bare" }]')
    (folder / "twice.toml").write_text(text)
    _, err = run_process(folder, "run", folder / "twice.toml", "--store", folder / "twice", "--jobs", 2)
    assert "transfer bare: already done" in err
    assert len([*(folder / "twice" / "stages" / "transfer").iterdir()]) == 1


def test_a_killed_worker_gives_a_sentence_and_costs_only_its_stage(config, folder, alone):
    store = copy_without(alone, folder / "killed", "analyse")
    process = started_slowly(folder, config, store)
    until(lambda: len([*(store / "stages" / "analyse").glob("*/stage.json")]) == 2)
    for worker in psutil.Process(process.pid).children():
        worker.kill()
    _, err = process.communicate(timeout=60)
    (folder / "seconds").unlink()
    assert process.returncode == 1
    assert "The process that ran analyse slow was killed, perhaps because memory ran out. Lower --jobs" in err
    _, err = run_process(folder, "run", config, "--store", store, "--jobs", 2)
    assert err.count("already done") == 11


def test_one_ctrl_c_stops_everything(config, folder, alone):
    store = copy_without(alone, folder / "interrupted", "analyse")
    process = started_slowly(folder, config, store)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) >= 2
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    (folder / "seconds").unlink()
    assert process.returncode == 130
    assert "Traceback" not in err
    assert not any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers)


def test_workers_do_not_outlive_a_killed_command(config, folder, alone):
    store = copy_without(alone, folder / "orphaned", "analyse")
    process = started_slowly(folder, config, store)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    (folder / "seconds").unlink()
    until(lambda: not any(w.is_running() and w.status() != psutil.STATUS_ZOMBIE for w in workers), 30.0)


def test_a_stage_that_fails_does_not_cost_those_that_run_beside_it(config, folder, alone):
    store = copy_without(alone, folder / "failed", "analyse")
    (folder / "seconds").write_text("-1")
    _, err = run_process(folder, "run", config, "--store", store, "--jobs", 3, code=1)
    (folder / "seconds").unlink()
    assert "analyse slow failed: " in err
    assert "ZeroDivisionError: as asked" in err
    assert "run the same command without --jobs and --executor, and with --debug" in " ".join(err.split())
    assert len([*(store / "stages" / "analyse").glob("*/stage.json")]) == 2


@pytest.fixture
def only(config, alone, folder, capfd, tmp_path, monkeypatch):
    """Runs one stage of a run that lacks evaluations and analyses; returns the exit code and what was printed."""
    from kdprobe.cli import _run

    store = copy_without(alone, tmp_path / "store", "analyse", "evaluate")
    monkeypatch.chdir(folder)

    def run(*arguments):
        code = _run(["run", str(config), "--store", str(store), *arguments])
        out, err = capfd.readouterr()
        return code, out, " ".join(err.split())

    run.store = store
    return run


def test_one_stage_alone(only, alone):
    code, _, err = only("--only", "analyse confidence")
    assert code == 2
    assert "analyse confidence depends on stages that have not finished: evaluate untrained, " in err
    code, _, err = only("--only", "evaluate untraned")
    assert code == 2
    assert "no stage named 'evaluate untraned'. Did you mean 'evaluate untrained'?" in err
    code, out, err = only("--only", "evaluate untrained")
    assert (code, out) == (0, "")
    assert "evaluate untrained: done" in err
    (key,) = [path.name for path in (only.store / "stages" / "evaluate").iterdir()]
    assert "evaluate untrained: already done" in only("--only", key[:8])[2]
    assert only("--only", "evaluate untrained", "--jobs", "2")[0] == 2
    code, _, err = only()
    assert code == 0
    assert err.count("already done") == 6
    assert contents(only.store) == contents(alone)


def test_functions_of_this_process_cannot_be_used_in_others(config, folder):
    def drawing(problem):
        return f"Draw a picture. {problem.question}"

    with pytest.raises(
        UsageError, match=r"Functions defined in this process \(drawing\) cannot be used in other processes"
    ):
        kdprobe.run(config, strategies={"drawing": drawing}, store=folder / "functions", jobs=2, progress=False)


@pytest.fixture(scope="module")
def job(config, folder):
    """The run as data for other processes, and its stages."""
    from kdprobe.experiment.executors.job import RunJob
    from kdprobe.experiment.executors.schedule import task_of
    from kdprobe.experiment.load_config import load_experiment
    from kdprobe.experiment.plan import make_plan
    from kdprobe.experiment.store import Store
    from kdprobe.host.registry import Host

    host = Host()
    plan = make_plan(load_experiment(config, host), host)
    store = Store(folder / "elsewhere")
    store.prepare()
    return json.loads(json.dumps(RunJob(plan, store).as_data())), [task_of(stage) for stage in plan.stages]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"environment": {"threads": 7}}, "environment.threads is 1 here, but 7 in the plan"),
        ({"environment": {"libraries": {"torch": "1.0"}}}, "environment.libraries.torch is '2"),
        ({}, "one of its inputs is not what was planned"),
    ],
)
def test_a_process_in_which_a_key_would_be_another_refuses_the_stage(job, changed, said):
    data, tasks = job
    task = next(task for task in tasks if task.kind == "evaluate")
    settings = {**task.settings, **{name: {**task.settings[name], **value} for name, value in changed.items()}}
    if "libraries" in changed.get("environment", {}):
        libraries = {**task.settings["environment"]["libraries"], "torch": "1.0"}
        settings["environment"] = {**task.settings["environment"], "libraries": libraries}
    with pytest.raises(KdprobeError, match=r"cannot run in this process") as error:
        make_stage(data, replace(task, key="0" * len(task.key), settings=settings), lambda _: None)
    assert said in str(error.value)


def test_a_process_with_more_threads_uses_those_of_the_plan(job, torch):
    data, tasks = job
    task = next(task for task in tasks if task.label == "transfer teacher")
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        # Planned anew, since plans of the same run are kept.
        assert make_stage({**data, "planned": "anew"}, task, lambda _: None) is True
    finally:
        torch.set_num_threads(before)


def test_a_process_with_another_version_refuses_every_stage(job):
    data, tasks = job
    with pytest.raises(KdprobeError, match=r"planned with kdprobe 0\.0\.1, but this process has"):
        make_stage({**data, "kdprobe": "0.0.1"}, tasks[0], lambda _: None)


def test_what_a_stage_says_is_told_and_not_shown(job, capfd):
    data, tasks = job
    told = []
    assert make_stage(data, tasks[0], told.append) is True
    assert "Teacher answers: unprimed" in {event.label for event in told if hasattr(event, "label")}
    assert make_stage(data, tasks[0], told.append) is False
    assert capfd.readouterr().err == ""
