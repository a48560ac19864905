"""`kdprobe plugins new`: what it writes installs, is listed, and passes its own test; and what it refuses."""

import json
import os
import subprocess
import sys
import tomllib

import pytest
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
    """The variables of a process in which all of them are installed."""
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
    assert files == {"pyproject.toml", "README.md", f"{module}.py", f"tests/test_{module}.py"}
    assert not any(
        "@" in file.read_text().replace("@hookimpl", "").replace("@property", "") for file in package.rglob("*.*")
    )
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
        assert bool(options) == (kind not in {"extractor", "head-metric"})
    assert rows["my-teacher"]["offers"][0]["options"][0] == {
        "name": "model",
        "type": "string",
        "required": True,
        "default": None,
        "description": "Whose tokenizer turns answers into token ids: the student's model.",
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
    assert "12 passed" in told.stdout


@pytest.mark.parametrize(
    "name", ["Step", "step_back", "-step", "step-", "step--back", "1st", "../up", "", "schritt-zurück"]
)
def test_names_that_cannot_be_used(name, capsys):
    assert _run(["plugins", "new", "--kind", "strategy", "--", name]) == 2
    assert "cannot be the name of a plugin. Use small letters, digits and single dashes" in capsys.readouterr().err


def test_names_that_are_taken(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _run(["plugins", "new", "none", "--kind", "strategy"]) == 2
    assert "There is a strategy 'none' already, from builtin." in capsys.readouterr().err
    assert _run(["plugins", "new", "none", "--kind", "teacher"]) == 0


def test_a_folder_that_holds_something_is_left_alone(capsys, tmp_path):
    kept = tmp_path / "kept.txt"
    kept.write_text("mine")
    assert _run(["plugins", "new", "fresh", "--kind", "strategy", "--folder", str(tmp_path)]) == 2
    assert "holds something already" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["kept.txt"]
    assert _run(["plugins", "new", "fresh", "--kind", "strategy", "--folder", str(kept)]) == 2


def test_the_package_goes_beside_one_and_a_doubled_prefix_is_left_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _run(["plugins", "new", "kdprobe-fresh", "--kind", "strategy"]) == 0
    assert (tmp_path / "kdprobe-fresh" / "kdprobe_fresh.py").is_file()


def test_a_kind_that_there_is_not(capsys):
    assert _run(["plugins", "new", "fresh", "--kind", "tracker"]) == 2
    assert "'strategy', 'teacher'" in capsys.readouterr().err


def test_a_plugin_is_shown_by_its_name_beside_the_command(run_cli):
    shown = run_cli("plugins", "builtin:distill")
    assert "builtin:distill" in shown
    assert "learning_rate" in shown
    assert "lora.rank" in shown
