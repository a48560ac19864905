"""`kdprobe plugins new`: what it writes can be installed, is listed, and passes its own test; and what it rejects."""

import json
import os
import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from wheels import install

from kdprobe.cli import _run
from kdprobe.cli.new_plugin import command
from kdprobe.scaffold import KINDS

OFFERS = {
    "strategy": "strategies",
    "teacher": "teachers",
    "distiller": "distillers",
    "analysis": "analyses",
    "head-metric": "head-metrics",
    "problem-source": "problem-sources",
    "extractor": "extractors",
    "task": "tasks",
    "engine": "engines",
    "executor": "executors",
}


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """One package of each kind, as the command writes them."""
    folder = tmp_path_factory.mktemp("packages")
    for kind in KINDS:
        assert _run(["plugins", "new", f"my-{kind}", "--kind", kind, "--folder", str(folder / f"my-{kind}")]) == 0
    return folder


@pytest.fixture(scope="module")
def environment(packages, tmp_path_factory):
    """The environment variables of a process in which all of them are installed."""
    site = install(tmp_path_factory.mktemp("site"), *sorted(packages.iterdir()))
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}


def test_there_is_a_template_for_every_kind():
    (kind,) = [option for option in command.params if option.name == "kind"]
    assert list(kind.type.choices) == list(KINDS)
    assert KINDS.keys() == OFFERS.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_is_complete(packages, kind):
    package = packages / f"my-{kind}"
    module = f"kdprobe_my_{kind.replace('-', '_')}"
    files = {file.relative_to(package).as_posix() for file in package.rglob("*") if file.is_file()}
    code, workflow = f"src/{module}/__init__.py", ".github/workflows/test.yml"
    more = {f"src/{module}/tasks/{file}" for file in ("questions.py", "task.yaml")} if kind == "task" else set()
    assert files == {"pyproject.toml", "README.md", code, workflow, f"tests/test_{module}.py"} | more
    for file in files - {workflow}:
        assert "@" not in (package / file).read_text().replace("@hookimpl", "").replace("@property", "")
    assert re.findall(r"\S*@\S*", (package / workflow).read_text()) == [
        "actions/checkout@v4",
        "actions/setup-python@v5",
    ]
    steps = yaml.safe_load((package / workflow).read_text())["jobs"]["test"]["steps"]
    assert f"kdprobe plugins my-{kind}" in steps[-1]["run"]
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    assert (project["name"], project["entry-points"]) == (f"kdprobe-my-{kind}", {"kdprobe": {f"my-{kind}": module}})


def test_they_install_and_are_listed_with_their_options(environment):
    told = subprocess.run(
        [sys.executable, "-m", "kdprobe", "plugins", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    rows = {row["name"]: row for row in json.loads(told.stdout)}
    for kind, plural in OFFERS.items():
        row = rows[f"my-{kind}"]
        assert (row["status"], row["provides"]) == ("ok", {plural: [f"my-{kind}"]})
        assert (row["source"], row["version"]) == (f"kdprobe-my-{kind}", "0.1.0")
        options = row["offers"][0]["options"]
        assert all(option["description"] for option in options)
        assert bool(options) == (kind not in {"engine", "executor", "extractor", "head-metric", "task"})
    assert rows["my-teacher"]["offers"][0]["options"][0] == {
        "name": "model",
        "type": "string",
        "required": True,
        "default": None,
        "description": "The student's model, whose tokenizer turns answers into token ids.",
    }


@pytest.mark.packages
def test_they_pass_their_own_tests_unchanged(packages, environment):
    folders = sorted(map(str, packages.glob("*/tests")))
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *folders],
        env=environment,
        cwd=packages,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout
    assert "16 passed" in told.stdout


def test_a_second_module_is_in_the_wheel_and_in_the_hash(tmp_path):
    package = tmp_path / "mine"
    assert _run(["plugins", "new", "mine", "--kind", "strategy", "--folder", str(package)]) == 0
    second = package / "src" / "kdprobe_mine" / "words.py"
    second.write_text('PRIMING = "Think."\n')
    first = second.with_name("__init__.py")
    first.write_text(f"{first.read_text()}\nfrom kdprobe_mine.words import PRIMING\n")
    code = "from kdprobe.host import Host; print(Host().get('strategies', 'mine').provider.source_hash)"

    def read_hash(folder):
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    site = install(tmp_path / "site", package)
    assert (site / "kdprobe_mine" / "words.py").is_file()
    before = read_hash(site)
    second.write_text('PRIMING = "Think twice."\n')
    assert read_hash(install(tmp_path / "other", package)) != before


@pytest.mark.parametrize(
    "name", ["Step", "step_back", "-step", "step-", "step--back", "1st", "../up", "", "schritt-zurück"]
)
def test_names_that_cannot_be_used(name, capsys):
    assert _run(["plugins", "new", "--kind", "strategy", "--", name]) == 2
    assert "is not a valid plugin name. Use lower-case letters, digits and single dashes" in capsys.readouterr().err


def test_names_that_are_taken(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _run(["plugins", "new", "none", "--kind", "strategy"]) == 2
    assert "The strategy 'none' already exists, from builtin." in capsys.readouterr().err
    assert _run(["plugins", "new", "none", "--kind", "teacher"]) == 0


def test_a_folder_that_holds_something_is_left_alone(capsys, tmp_path):
    kept = tmp_path / "kept.txt"
    kept.write_text("mine")
    assert _run(["plugins", "new", "fresh", "--kind", "strategy", "--folder", str(tmp_path)]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["kept.txt"]
    assert _run(["plugins", "new", "fresh", "--kind", "strategy", "--folder", str(kept)]) == 2


def test_the_package_goes_beside_one_and_a_doubled_prefix_is_left_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _run(["plugins", "new", "kdprobe-fresh", "--kind", "strategy"]) == 0
    assert (tmp_path / "kdprobe-fresh" / "src" / "kdprobe_fresh" / "__init__.py").is_file()


def test_a_kind_that_there_is_not(capsys):
    assert _run(["plugins", "new", "fresh", "--kind", "tracker"]) == 2
    assert "'strategy', 'teacher'" in capsys.readouterr().err


def test_a_plugin_is_shown_by_its_name_beside_the_command(run_cli):
    shown = run_cli("plugins", "builtin:distill")
    assert "builtin:distill" in shown
    assert "learning_rate" in shown
    assert "lora.rank" in shown
