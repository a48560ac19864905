"""A tiny experiment with a teacher and a stage that wait, commands that run it, and why tests may be skipped."""

import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from types import SimpleNamespace

import psutil
import pytest

from kdprobe.testing import problem_rows

pytest_plugins = ["kdprobe.testing"]

WAITING = """
import os
import time
from pathlib import Path

from kdprobe import AnalysisSpec, TeacherSpec, hookimpl
from kdprobe.teachers import TransformersOptions, TransformersTeacher


class Gated(TransformersTeacher):
    def respond(self, requests, sampling):
        with Path("asked").open("a+") as file:
            print(*[request.id.partition(",")[0] for request in requests], file=file, flush=True)
            file.seek(0)
            number = len(file.readlines())
        while Path("allowed").exists() and number > int(Path("allowed").read_text()):
            time.sleep(0.02)
        yield from super().respond(requests, sampling)


class Waiting:
    needs = frozenset({"students"})

    def run(self, context):
        import pandas as pd
        from kdprobe.probing import AnalysisResult

        with Path("began").open("a") as file:
            print("began", file=file)
        while Path("wait").exists():
            time.sleep(0.05)
        if Path("fail").exists():
            raise ZeroDivisionError("as asked")
        return AnalysisResult(tables={"names": pd.DataFrame({"student": [s.name for s in context.students]})})


@hookimpl
def kdprobe_teachers():
    yield TeacherSpec(name="gated", summary="Waits for permission", build=Gated, options=TransformersOptions)


@hookimpl
def kdprobe_analyses():
    yield AnalysisSpec(name="waiting", summary="Waits", build=lambda options: Waiting())
"""
CONFIG = """
name = "tiny"
strategies = ["none"]
plugins = "plugins"
[resources]
threads = 1
[problems]
source = "jsonl"
options = {{ transfer = "transfer.jsonl", test = "test.jsonl" }}
transfer = 24
test = 4
[student]
model = "{model}"
[teacher]
name = "gated"
[teacher.options]
model = "{model}"
batch_size = 1
[transfer]
max_new_tokens = 64
top_logprobs = 16
[distill]
name = "logits"
options = {{ epochs = 1, batch_size = 8, learning_rate = 1e-2 }}
[controls]
fine_tune_options = {{ epochs = 1, batch_size = 8, learning_rate = 1e-2 }}
[evaluation]
max_new_tokens = 8
[probe]
problems = 2
analyses = ["waiting"]
"""


# The tests may run in the background of a shell, which then lets its children ignore Ctrl-C.
COMMAND = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from kdprobe.cli import main
main()
"""


def pytest_collection_modifyitems(items):
    """Most tests need Ray."""
    if find_spec("ray") is None:
        for item in items:
            if item.path.name == "test_ray.py":
                item.add_marker(pytest.mark.skip(reason="Ray is not installed here"))


@pytest.fixture(scope="session")
def folder(tiny_model, tmp_path_factory):
    """A folder with the experiment."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "plugins").mkdir()
    (folder / "plugins" / "waiting.py").write_text(WAITING)
    (folder / "tiny.toml").write_text(CONFIG.format(model=tiny_model))
    for name, first, count in (("transfer", 0, 24), ("test", 24, 4)):
        rows = "\n".join(map(json.dumps, problem_rows(first, count)))
        (folder / f"{name}.jsonl").write_text(rows)
    return folder


@pytest.fixture(autouse=True)
def as_usual(request):
    """The teacher and the stage wait only where a test asks for it."""
    if "folder" in request.fixturenames:
        for name in ("asked", "allowed", "wait", "fail", "began"):
            (request.getfixturevalue("folder") / name).unlink(missing_ok=True)


@pytest.fixture(scope="session")
def command(folder):
    """Starts `kdprobe run` and waits for it: the process, and functions for what tests look at."""

    def start(*arguments, config="tiny.toml"):
        return subprocess.Popen(
            [sys.executable, "-c", COMMAND, "run", config, *map(str, arguments)],
            cwd=folder,
            env={**os.environ, "COLUMNS": "80"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(*arguments, code=0, **started):
        process = start(*arguments, **started)
        out, err = process.communicate(timeout=300)
        assert process.returncode == code, err
        return out, " ".join(err.split())

    return SimpleNamespace(start=start, run=run)


def until(condition, seconds=120.0):
    """Waits for a condition, and returns what it gives."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def workers_of(label, parent=None):
    """The processes in which Ray runs a stage, among the descendants of a process."""
    found = []
    for process in psutil.Process(parent).children(recursive=True):
        try:
            if process.cmdline()[:1] == [f"ray::{label}"]:
                found.append(process)
        except (psutil.NoSuchProcess, IndexError):
            continue
    return found


def alive(processes):
    """Those that still run."""
    return [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def contents(store):
    """What every stage contains, without times, and without the order in which peft lists modules."""
    found = {}
    for file in (store / "stages").rglob("*"):
        name = str(file.relative_to(store))
        if file.name == "adapter_config.json":
            config = json.loads(file.read_text())
            found[name] = {**config, "target_modules": sorted(config["target_modules"])}
        elif file.is_file() and file.name not in {"stage.json", "training.json", "transfer.json", "fidelity.json"}:
            found[name] = file.read_bytes()
    return found


def manifests(store):
    """The manifests of all stages, by kind and name."""
    read = [json.loads(file.read_text()) for file in (store / "stages").glob("*/*/stage.json")]
    return {f"{manifest['kind']} {manifest['name']}": manifest for manifest in read}
