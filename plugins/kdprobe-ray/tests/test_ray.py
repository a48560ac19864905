"""Stages as Ray tasks: the numbers of one process, whatever is killed, and a sentence for every fault."""

import json
import os
import shutil
import signal
from collections import Counter

import psutil
import pytest

import kdprobe
from conftest import alive, contents, manifests, until, workers_of
from kdprobe import KdprobeError
from kdprobe.testing import check_executor, host_with

RAY = ("--executor", "ray")
ALL_FAULTS = "KDPROBE_ALL_FAULTS" in os.environ
KILLS = 20 if ALL_FAULTS else 2
"""Of processes; each takes seconds, because another one has to start."""
all_faults = pytest.mark.skipif(not ALL_FAULTS, reason="starts Ray once more: KDPROBE_ALL_FAULTS=1")


@pytest.fixture(scope="module")
def alone(folder, command):
    """A store with the experiment, run in one process."""
    command.run("--store", "alone")
    return folder / "alone"


@pytest.fixture
def copy(alone, tmp_path):
    """The store without the last stage."""
    shutil.copytree(alone, tmp_path / "store")
    shutil.rmtree(tmp_path / "store" / "stages" / "analyse")
    return tmp_path / "store"


@pytest.fixture
def cluster():
    """A cluster of three nodes on this machine, the first of which runs no stages."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    yield cluster, nodes
    cluster.shutdown()


def asked(folder):
    """The problems that the teacher was asked, in order."""
    return (folder / "asked").read_text().split() if (folder / "asked").exists() else []


def allow(folder, count):
    """Lets the teacher answer this many questions in all."""
    (folder / "allowed.new").write_text(str(count))
    (folder / "allowed.new").rename(folder / "allowed")


def kill_between_answers(folder, times):
    """Lets the teacher answer one more question, and kills its process when it is asked the next; returns that one."""
    lost = []
    for _ in range(times):
        until(lambda: len(asked(folder)) == 2 * len(lost) + 1, 300.0)
        allow(folder, 2 * len(lost) + 1)
        until(lambda: len(asked(folder)) == 2 * len(lost) + 2)
        (worker,) = workers_of("transfer unprimed")
        worker.kill()
        lost.append(asked(folder)[-1])
    until(lambda: len(asked(folder)) == 2 * times + 1)
    return lost


def test_the_numbers_are_those_of_one_process_though_processes_and_a_node_are_killed(folder, command, alone, cluster):
    joined, nodes = cluster
    store = folder / "ray"
    (folder / "wait").touch()
    allow(folder, 0)
    options = {"ray.address": joined.address, "ray.retries": KILLS + 1}
    given = [part for name, value in options.items() for part in ("--option", f"{name}={value}")]
    process = command.start("--store", store, "--json", *RAY, *given)
    lost = kill_between_answers(folder, KILLS)
    (folder / "allowed").unlink()
    until((folder / "began").exists, 240.0)
    (worker,) = workers_of("analyse waiting")
    (killed,) = [node for node in nodes if worker.ppid() == raylet(node)]
    before = manifests(store)
    joined.remove_node(killed, allow_graceful=False)
    until(lambda: (folder / "began").read_text().count("began") == 2)
    (folder / "wait").unlink()
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert f"lost. Resuming the stage (retry {KILLS} of {KILLS + 1})" in " ".join(err.split())
    assert json.loads(out)["run"] == next(folder.name for folder in (alone / "runs").iterdir())
    # Only what was lost was asked for again, and only once.
    assert len(lost) == len({*lost}) == KILLS
    counts = Counter(asked(folder))
    assert len(counts) == 24
    assert {problem for problem, count in counts.items() if count > 1} == {*lost}
    assert max(counts.values()) == 2
    after = manifests(store)
    assert {name for name, manifest in after.items() if manifest["resumed"]} == {"transfer unprimed"}
    assert {name: after[name] for name in before} == before
    assert after.keys() == manifests(alone).keys()
    together, apart = contents(store), contents(alone)
    assert together.keys() == apart.keys()
    assert {name for name in apart if together[name] != apart[name]} == set()
    assert any(name.endswith("adapter_model.safetensors") for name in apart)


def raylet(node):
    return next(info[0].process.pid for name, info in node.all_processes.items() if name == "raylet")


def test_it_fulfils_the_executor_contract(tiny_model, tmp_path):
    check_executor(host_with("kdprobe_ray"), "ray", model=tiny_model, folder=tmp_path)


def test_a_stage_that_fails_gives_its_sentence_and_nothing_is_retried(folder, command, copy):
    (folder / "fail").touch()
    out, err = command.run("--store", copy, *RAY, code=1)
    assert out == ""
    assert "analyse waiting failed: ZeroDivisionError: as asked, while running analyse waiting. To see the tr" in err
    assert (folder / "began").read_text().count("began") == 1
    assert "ray::" not in err


@all_faults
def test_a_stage_that_is_lost_too_often_gives_a_sentence(folder, command, copy):
    (folder / "wait").touch()
    process = command.start("--store", copy, *RAY, "--option", "ray.retries=0")
    until((folder / "began").exists)
    (worker,) = workers_of("analyse waiting", process.pid)
    worker.kill()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    said = " ".join(err.split())
    assert "The process or machine running analyse waiting was lost." in said
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGKILL, -signal.SIGKILL, marks=all_faults)],
)
def test_nothing_outlives_the_command(folder, command, copy, number, code):
    (folder / "wait").touch()
    process = command.start("--store", copy, *RAY)
    until((folder / "began").exists)
    processes = psutil.Process(process.pid).children(recursive=True)
    assert len(processes) > 3
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in err
    until(lambda: not alive(processes), 30.0)


@all_faults
def test_a_stage_for_which_there_is_no_room_is_refused(folder, command, copy):
    config = (folder / "tiny.toml").read_text()
    (folder / "large.toml").write_text(config + "\n[resources.analyse]\nmemory_gib = 1e6\n")
    _, err = command.run("--store", copy, *RAY, code=1, config="large.toml")
    assert "analyse waiting needs 1 CPU and 1e+06 GiB of memory, more than this machine has." in err


def test_there_is_no_cluster_to_join(command, copy):
    _, err = command.run("--store", copy, *RAY, "--option", "ray.address=127.0.0.1:1", code=1)
    assert "Cannot join the Ray cluster '127.0.0.1:1': " in err
    assert "`ray start --head`" in err


def test_functions_of_this_process_are_refused(folder, monkeypatch):
    monkeypatch.chdir(folder)

    def drawing(problem):
        return f"Draw a picture. {problem.question}"

    with pytest.raises(KdprobeError, match=r"Functions defined in this process \(drawing\) cannot be used in other"):
        kdprobe.run(
            "tiny.toml",
            strategies={"drawing": drawing},
            store=folder / "functions",
            executor="ray",
            progress=False,
        )
