"""What a shell offers when the user presses the tab key."""

import json
import os
import subprocess
import sys

import pytest
from click.shell_completion import ShellComplete

from kdprobe.cli import COMMANDS, app


@pytest.fixture
def store(tmp_path):
    """A store with the records of two runs, one of them damaged."""
    for name, text in {
        "first-0a1b2c3d": json.dumps({"arms": [{"name": "untrained"}, {"name": "unprimed@1"}]}),
        "second-4e5f6a7b": "{",
    }.items():
        folder = tmp_path / "store" / "runs" / name
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(text)
    return tmp_path / "store"


def offered(*words):
    """The plain words that are offered for the last word."""
    *before, incomplete = map(str, words)
    found = ShellComplete(app, {}, "kdprobe", "_KDPROBE_COMPLETE").get_completions(before, incomplete)
    return [item.value for item in found if item.type == "plain"]


def test_commands_and_options_are_offered():
    assert offered("") == list(COMMANDS)
    assert offered("re") == ["report"]
    assert offered("store", "p") == ["prune"]
    assert offered("report", "--st") == ["--strict", "--store"]
    assert offered("rum", "re") == ["report"]


@pytest.mark.parametrize("command", [("report",), ("store", "export"), ("compare",)])
def test_runs_are_offered(command, store, monkeypatch):
    assert set(offered(*command, "--store", store, "")) == {"first-0a1b2c3d", "second-4e5f6a7b"}
    monkeypatch.setenv("KDPROBE_STORE", str(store))
    assert offered(*command, "fi") == ["first-0a1b2c3d"]
    monkeypatch.setenv("KDPROBE_STORE", str(store / "nowhere"))
    assert offered(*command, "") == []


@pytest.mark.parametrize("command", ["export", "compare"])
def test_students_are_offered_after_their_run(command, store):
    whole = ["first-0a1b2c3d/untrained", "first-0a1b2c3d/unprimed@1"]
    assert offered(command, "--store", store, "first-0a1b2c3d/") == whole
    assert offered(command, "--store", store, "first-0a1b2c3d/unp") == whole[1:]
    assert offered(command, "--store", store, "second-4e5f6a7b/") == []


def test_plugins_and_what_they_provide_are_offered(monkeypatch):
    monkeypatch.setenv("KDPROBE_NO_PLUGINS", "1")
    assert offered("plugins", "builtin:dis") == ["builtin:distill"]
    assert offered("plugins", "n") == ["new"]
    assert offered("plugins", "new", "x", "--kind", "strat") == ["strategy"]
    assert offered("score", "--extractor", "a") == ["all"]
    assert "robust" in offered("compare", "--extractor", "")
    assert offered("probe", "--analysis", "hea") == ["heads"]
    assert offered("eval", "x", "--problems", "gsm") == ["gsm8k", "gsm-symbolic"]
    assert offered("eval", "smol") == offered("probe", "smol") == ["smollm2-135m-instruct"]
    assert offered("eval", "own-model") == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [("kdprobe re", "plain,report\n"), ("kdprobe report sec", "plain,second-4e5f6a7b\n")],
)
def test_a_shell_gets_nothing_else_and_nothing_heavy_is_imported(words, expected, store):
    program = (
        "import atexit, sys\nfrom kdprobe.cli import main\n"
        "heavy = {'torch', 'transformers', 'lm_eval', 'datasets', 'pandas', 'scipy'}\n"
        "atexit.register(lambda: print(*heavy & set(sys.modules), end='', file=sys.stderr))\n"
        "main()\n"
    )
    variables = {"_KDPROBE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **variables, "KDPROBE_STORE": str(store)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")
