"""The public surface: every name can be imported, heavy modules load only when needed, plugins use nothing else."""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import generate
import pytest
import surface

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "transformers", "numpy", "pandas", "scipy", "pyarrow", "plotly", "datasets", "lm_eval", "peft"}


@pytest.mark.parametrize("name", surface.FRONTS)
def test_every_name_is_what_its_module_defines(name):
    front = importlib.import_module(name)
    origins = surface.front(name).origins
    assert list(origins) == front.__all__
    for exported, (module, defined) in origins.items():
        assert getattr(front, exported) is getattr(importlib.import_module(module), defined), exported
    assert set(front.__all__) <= set(dir(front))


@pytest.mark.parametrize("name", surface.FRONTS)
def test_no_name_is_that_of_a_submodule_which_would_take_its_place(name):
    front = importlib.import_module(name)
    submodules = {module.name for module in pkgutil.iter_modules(getattr(front, "__path__", []))}
    assert not submodules & set(front.__all__)


def test_a_name_that_there_is_not_is_an_error_that_names_the_front():
    with pytest.raises(AttributeError, match=r"module 'kdprobe\.models' has no attribute 'lod_model'"):
        _ = importlib.import_module("kdprobe.models").lod_model
    with pytest.raises(ImportError, match="cannot import name 'lod_model' from"):
        exec("from kdprobe.models import lod_model", {})


def test_importing_all_of_them_loads_nothing_heavy():
    # The test kit needs numpy at once, and only tests import it.
    fronts = [name for name in surface.FRONTS if name != "kdprobe.testing"]
    code = f"import sys, {', '.join(fronts)}; print({HEAVY} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_what_is_checked_is_there():
    checked = {file.relative_to(ROOT).as_posix() for file in surface.checked_files()}
    assert {
        "plugins/kdprobe-trl/src/kdprobe_trl/distiller.py",
        "plugins/kdprobe-trl/tests/test_on_policy.py",
        "src/kdprobe/scaffold/templates/teacher.py.template",
        "examples/published_answers.py",
        "docs/plugin-tutorial.md",
        "docs/reference/hooks/kdprobe_teachers.md",
    } <= checked


PLANTED = """\
import kdprobe
import kdprobe_mine
import kdprobe.models.load as loading
from kdprobe import KdprobeError, models
from kdprobe.models import load_model, load
from kdprobe_mine.models import load


def train():
    from kdprobe.distill.adapter import adapter_norm
    from kdprobe.distill import PromptPair
    from kdprobe.experiment.store import Store
    import kdprobe.experiment.store
"""
FOUND = [
    (3, "import kdprobe.models.load hides the names in use: write from MODULE import NAME"),
    (4, "kdprobe.models is not public: write from kdprobe.models import NAME"),
    (5, "kdprobe.models.load is not public: write from kdprobe.models import load_model"),
    (10, "kdprobe.distill.adapter.adapter_norm is not public: write from kdprobe.distill import adapter_norm"),
    (11, "kdprobe.distill.PromptPair is not public: write from kdprobe import PromptPair"),
    (12, "kdprobe.experiment.store.Store is not public: no public module exports it"),
    (13, "import kdprobe.experiment.store hides the names in use: write from MODULE import NAME"),
]


def test_a_planted_import_is_found_with_its_line_and_what_to_write_instead(tmp_path):
    file = tmp_path / "planted.py"
    file.write_text(PLANTED)
    assert list(surface.violations([file])) == [f"{file}:{line}: {fault}" for line, fault in FOUND]


def test_an_alias_is_told_by_the_name_it_is_public_under(tmp_path):
    file = tmp_path / "teacher.py.template"
    file.write_text("from kdprobe.models.load import load\n")
    (fault,) = surface.violations([file])
    assert fault.endswith("kdprobe.models.load.load is not public: write from kdprobe.models import load_model")


def test_examples_on_pages_are_looked_at_and_their_prose_is_not(tmp_path):
    page = tmp_path / "page.md"
    line = "from kdprobe.errors import UsageError\n"
    page.write_text(f"{line}\n```python\nx = 1\n{line}```\n")
    (fault,) = surface.violations([page])
    assert fault.startswith(f"{page}:5: kdprobe.errors.UsageError is not public")


def test_the_lint_fails_on_it(tmp_path, monkeypatch, capsys):
    planted = tmp_path / "planted.py"
    planted.write_text("from kdprobe.errors import UsageError\n")
    monkeypatch.setattr(generate, "checked_files", lambda: [planted])
    monkeypatch.setattr(sys, "argv", ["generate.py", "--check"])
    with pytest.raises(SystemExit, match="1"):
        generate.main()
    assert f"{planted}:1: kdprobe.errors.UsageError is not public" in capsys.readouterr().out
