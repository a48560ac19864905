"""Every hook has a page whose example runs, a test, and a real plugin in `plugins/` that uses it."""

import importlib
import re
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path

import pytest

from kdprobe.host.candidates import Candidate
from kdprobe.host.checks import check_plugin
from kdprobe.host.discovery import discover
from kdprobe.host.hookspecs import HOOKS, OBSERVER
from kdprobe.host.packages import PACKAGES

ROOT = Path(__file__).parents[2]
NAMES = (*HOOKS, OBSERVER)
PAGES = ROOT / "docs" / "reference" / "hooks"


def page(name):
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


def test_the_generated_pages_are_what_the_code_says():
    told = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stdout


def test_there_is_a_page_for_every_hook_and_for_nothing_else():
    assert {file.stem for file in PAGES.glob("*.md")} == {"README", *NAMES}
    index = (PAGES / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\[`(\w+)`\]", index) == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_page_has_the_exact_signature_and_its_example_is_a_plugin(name, capsys):
    signature, example = re.findall(r"```python\n(.*?)```", page(name), re.DOTALL)[:2]
    assert signature.startswith(f"def {name}(")
    made = {"__name__": "example"}
    exec(example, made)
    check_plugin(type("Plugin", (), {name: staticmethod(made[name])})(), "0")
    if name != OBSERVER:
        assert [type(spec) for spec in made[name]()] == [HOOKS[name]]


@pytest.mark.parametrize("name", NAMES)
def test_there_is_a_test_of_it(name):
    here = Path(__file__)
    assert any(name in file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py") if file != here)


@pytest.mark.parametrize(
    "package", sorted(file.parent for file in (ROOT / "plugins").glob("*/pyproject.toml")), ids=str
)
def test_what_a_package_provides_is_known_to_configs_that_lack_it(package, monkeypatch):
    project = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    monkeypatch.syspath_prepend(package / "src" if (package / "src").is_dir() else package)
    offered = {}
    for name, module in project["entry-points"]["kdprobe"].items():
        (found,) = discover([Candidate(name, "1", project["name"], partial(importlib.import_module, module))])
        assert found.status == "ok", found.reason
        offered |= {kind: tuple(names) for kind, names in found.provides.items()}
    assert PACKAGES.get(project["name"], {}) == offered


@pytest.mark.parametrize("name", NAMES)
def test_a_real_plugin_uses_it(name):
    modules = [file for file in (ROOT / "plugins").rglob("*.py") if "tests" not in file.parts]
    assert any(f"def {name}(" in file.read_text(encoding="utf-8") for file in modules), (
        f"no package in plugins/ has {name}"
    )
