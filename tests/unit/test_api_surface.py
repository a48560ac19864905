"""The API and the command line match: the same names, the same defaults; nothing heavy is imported."""

import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest

import kdprobe
from kdprobe import cli
from kdprobe.api.results.students import RunStudent

ONLY_COMMAND = {"as_json", "strict", "quiet", "only"}
"""Printing JSON, exit codes, silence, which is `progress` in Python, and single stages, which return nothing."""
ONLY_PYTHON = {"progress", "strategies", "analyses", "head_metrics"}
"""What the command line cannot express: silence, and functions."""
OF_COMPARE = {"baseline", "out"}
"""Arguments that `kdprobe report` passes to `kdprobe.compare` if several runs are named."""
RENAMED = {"runs": "run"}
PAIRS = [
    ("score", kdprobe.score),
    ("compare", kdprobe.compare),
    ("plan", kdprobe.plan),
    ("run", kdprobe.run),
    ("report", kdprobe.load_run),
    ("eval", kdprobe.evaluate),
    ("probe", kdprobe.probe),
    ("tune", kdprobe.tune),
]


def unsaid(command):
    """The arguments that a command passes to its function if only required ones are given."""
    taken = import_module(f"kdprobe.cli.{command}").command
    needed = [each.name for each in taken.params if isinstance(each, click.Argument) and each.required]
    given = taken.make_context(command, ["x"] * len(needed)).params
    left_out = {*ONLY_COMMAND, *needed, *(OF_COMPARE if command == "report" else ())}
    return {RENAMED.get(name, name): value for name, value in given.items() if name not in left_out}


@pytest.mark.parametrize(("command", "function"), PAIRS, ids=[name for name, _ in PAIRS])
def test_command_and_function_have_the_same_arguments_and_defaults(command, function, monkeypatch):
    for name in ("KDPROBE_STORE", "KDPROBE_PLUGINS_DIR", "KDPROBE_NO_PLUGINS"):
        monkeypatch.delenv(name, raising=False)
    parameters = inspect.signature(function).parameters
    offered = {each.name for each in import_module(f"kdprobe.cli.{command}").command.params} - ONLY_COMMAND
    if command == "report":
        assert offered & set(inspect.signature(kdprobe.compare).parameters) >= OF_COMPARE
        offered = {RENAMED.get(name, name) for name in offered - OF_COMPARE}
    assert offered <= set(parameters)
    assert {"progress"} <= set(parameters) - offered <= ONLY_PYTHON
    given = unsaid(command)
    for name, value in given.items():
        default = parameters[name].default
        if name == "store":
            assert (default, value) == (None, "kdprobe-runs")
        elif name == "analyses":
            # No analysis is said on the command line, and the command says which one it takes then.
            assert (default, value) == (("heads",), ())
        else:
            assert value == default or (not value and not default and default is not False), name
    required = {name for name, each in parameters.items() if each.default is each.empty}
    assert not required & set(given)


def test_exporting_has_them_too():
    command = import_module("kdprobe.cli.export").command
    given = command.make_context("export", ["run/arm", "--merged", "folder"]).params
    assert inspect.signature(RunStudent.export).parameters["dtype"].default == given["dtype"] == "auto"


def test_no_command_module_does_the_work():
    for command, _ in [*PAIRS, ("export", None)]:
        assert "kdprobe.api" in inspect.getsource(import_module(f"kdprobe.cli.{command}")), command
    files = [*Path(cli.__file__).parent.glob("*.py"), *Path(cli.__file__).parent.glob("store/*.py")]
    lines = {file.stem: text.count("\n") for file in files if "@click.command" in (text := file.read_text())}
    assert set(cli.COMMANDS) - {"store"} <= set(lines)
    assert {name: count for name, count in lines.items() if count > 80} == {}


def test_importing_kdprobe_and_its_functions_loads_nothing_heavy():
    heavy = {"torch", "transformers", "numpy", "pandas", "plotly"}
    code = (
        "import sys, kdprobe; kdprobe.run, kdprobe.compare, kdprobe.probe, kdprobe.evaluate, kdprobe.tune\n"
        f"print({heavy} & sys.modules.keys())"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
