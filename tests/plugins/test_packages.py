"""What all packages in plugins/ have in common; their own tests run where they are installed, by `make plugins`."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGINS = sorted(folder for folder in (ROOT / "plugins").iterdir() if (folder / "pyproject.toml").is_file())


def project(folder):
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_listing_packages_loads_no_torch():
    """Heavy imports belong inside `build`."""
    modules = [next(iter(project(folder)["entry-points"]["kdprobe"].values())) for folder in PLUGINS]
    code = f"import sys, importlib; [importlib.import_module(m) for m in {modules}]; print('torch' in sys.modules)"
    paths = os.pathsep.join([str(ROOT / "src"), *(str(folder / "src") for folder in PLUGINS)])
    env = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda folder: folder.name)
def test_packages_use_no_private_attributes(folder):
    import ast

    for file in (folder / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                own = isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}
                private = node.attr.startswith("_") and not node.attr.startswith("__")
                assert own or not private, (file, node.attr)


def test_every_package_has_a_page_and_tests():
    listed = (ROOT / "docs" / "reference" / "plugin-packages.md").read_text(encoding="utf-8")
    for folder in PLUGINS:
        assert (folder / "README.md").is_file()
        assert list((folder / "tests").glob("test_*.py"))
        assert f"../../plugins/{folder.name}/README.md" in listed
