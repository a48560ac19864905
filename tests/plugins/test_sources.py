"""A plugin's digest covers all of its source, and nothing else."""

import subprocess
import sys

import pytest
from wheels import install

from kdprobe.host.candidates import folder_candidates
from kdprobe.host.discovery import discover

OFFER = """
from kdprobe import StrategySpec, hookimpl

@hookimpl
def kdprobe_strategies():
    yield StrategySpec(name="mine", summary="Mine", build=lambda options: None)
"""
PROJECT = """
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"
[project]
name = "kdprobe-mine"
version = "0.1.0"
[project.entry-points.kdprobe]
mine = "{module}"
[tool.hatch.build.targets.wheel]
{wheel}
"""
LAYOUTS = {
    "flat": (
        "my_plugin",
        'include = ["my_plugin.py", "my_helper.py", "my_deep.py"]',
        {"my_plugin.py": f"import my_helper\n{OFFER}", "my_helper.py": "import my_deep\n", "my_deep.py": "WORD = 1\n"},
        "my_deep.py",
    ),
    "lazy": (
        "my_plugin",
        'include = ["my_plugin.py", "my_helper.py"]',
        {
            "my_plugin.py": f"{OFFER}\ndef late():\n    import importlib\n    importlib.import_module('my_helper')\n",
            "my_helper.py": "WORD = 1\n",
        },
        "my_helper.py",
    ),
    "package beside a module": (
        "my_plugin",
        'include = ["my_plugin.py", "my_parts"]',
        {
            "my_plugin.py": f"from my_parts.inner import WORD\n{OFFER}",
            "my_parts/__init__.py": "",
            "my_parts/inner.py": "from .deep import WORD\n",
            "my_parts/deep.py": "WORD = 1\n",
        },
        "my_parts/deep.py",
    ),
    "namespace": (
        "acme.plugin",
        'only-include = ["acme"]',
        {"acme/plugin.py": f"from . import helper\n{OFFER}", "acme/helper.py": "WORD = 1\n"},
        "acme/helper.py",
    ),
    "package in a namespace": (
        "acme.mine",
        'only-include = ["acme"]',
        {
            "acme/mine/__init__.py": f"from acme.other.helper import WORD\n{OFFER}",
            "acme/other/helper.py": "WORD = 1\n",
        },
        "acme/other/helper.py",
    ),
    "package": (
        "my_package",
        'only-include = ["my_package"]',
        {
            "my_package/__init__.py": f"from .inner import WORD\n{OFFER}",
            "my_package/inner.py": "WORD = 1\n",
            "my_package/prompt.txt": "Think.\n",
        },
        "my_package/prompt.txt",
    ),
    "package with a module beside it": (
        "my_package",
        'include = ["my_package", "my_shared.py"]',
        {"my_package/__init__.py": f"import my_shared\n{OFFER}", "my_shared.py": "WORD = 1\n"},
        "my_shared.py",
    ),
    "named after a cache": (
        "kv_cache",
        'only-include = ["kv_cache"]',
        {"kv_cache/__init__.py": f"from .cache import WORD\n{OFFER}", "kv_cache/cache.py": "WORD = 1\n"},
        "kv_cache/cache.py",
    ),
}
READ = """
import sys
from kdprobe.host.candidates import installed_candidates
from kdprobe.host.discovery import discover
(provider,) = [p for p in discover(installed_candidates()) if p.name == "mine"]
assert provider.status == "ok", provider.reason
print(provider.source_hash)
"""


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def read_digest(*paths):
    """The digest of the plugin `mine`, in a process that has these folders on its path."""
    code = f"import sys; sys.path[:0] = {[str(path) for path in paths]!r}\n{READ}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def install_editable(project, module, site):
    """Like `pip install -e`: a distribution without the source, and a folder on the path."""
    info = site / "kdprobe_mine-0.1.0.dist-info"
    write(
        info,
        {
            "METADATA": "Metadata-Version: 2.1\nName: kdprobe-mine\nVersion: 0.1.0\n",
            "RECORD": "_mine.pth,,\nkdprobe_mine-0.1.0.dist-info/METADATA,,\n",
            "entry_points.txt": f"[kdprobe]\nmine = {module}\n",
        },
    )
    write(site, {"_mine.pth": f"{project}\n"})
    return site


@pytest.mark.packages
@pytest.mark.parametrize(("module", "wheel", "files", "inner"), LAYOUTS.values(), ids=LAYOUTS)
def test_every_file_counts_wherever_it_is_and_no_cache_does(module, wheel, files, inner, tmp_path):
    project = write(tmp_path / "project", {"pyproject.toml": PROJECT.format(module=module, wheel=wheel), **files})
    site = install_editable(project, module, tmp_path / "editable")
    installed = install(tmp_path / "installed", project)
    editable, whole = read_digest(site, project), read_digest(installed)
    # The same source is the same plugin.
    assert editable == whole != ""
    package = (project / inner).parent if "/" in inner else project
    write(
        package,
        {
            "__pycache__/x.cpython-311.pyc": "compiled",
            ".cache/answers.json": "{}",
            "my_cache/answers.json": "{}",
            "run.log": "ran",
            "state.sqlite": "kept",
            ".hidden": "",
        },
    )
    write((installed / inner).parent, {"learned.json": "{}", "__pycache__/y.pyc": "compiled"})
    write(project, {"stranger.py": "WORD = 2\n", "setup.cfg": ""})
    assert read_digest(site, project) == editable
    assert read_digest(installed) == whole
    for root, paths, before in ((project, (site, project), editable), (installed, (installed,), whole)):
        text = (root / inner).read_text()
        (root / inner).write_text(f"{text}# changed\n")
        changed = read_digest(*paths)
        assert changed not in {"", before}
        (root / inner).write_text(text)
        assert read_digest(*paths) == before


@pytest.mark.parametrize("name", ["words.sqlite", "weights.pth", "cache/words.json"])
def test_all_that_a_distribution_brings_counts(name, tmp_path):
    files = {"my_package/__init__.py": OFFER, f"my_package/{name}": "one"}
    wheel = PROJECT.format(module="my_package", wheel='only-include = ["my_package"]')
    installed = install(tmp_path / "installed", write(tmp_path / "project", {"pyproject.toml": wheel, **files}))
    before = read_digest(installed)
    (installed / "my_package" / name).write_text("two")
    assert read_digest(installed) != before


def test_what_others_installed_beside_it_is_not_its_own(tmp_path):
    """A wheel whose RECORD does not list its files, as some installers leave it."""
    site = tmp_path / "site"
    write(site, {"my_plugin.py": f"import my_helper, other\n{OFFER}", "my_helper.py": "", "other.py": ""})
    install_editable(tmp_path / "nowhere", "my_plugin", site)
    record = "other.py,,\nother-1.0.dist-info/METADATA,,\nother-1.0.dist-info/RECORD,,\n"
    metadata = "Metadata-Version: 2.1\nName: other\nVersion: 1.0\n"
    write(site / "other-1.0.dist-info", {"METADATA": metadata, "RECORD": record})
    before = read_digest(site)
    (site / "other.py").write_text("WORD = 1\n")
    assert read_digest(site) == before
    (site / "my_helper.py").write_text("WORD = 1\n")
    assert read_digest(site) != before


def test_a_file_in_a_folder_counts_with_what_it_reaches_beside_it(tmp_path):
    reach = "import sys, pathlib\nsys.path.insert(0, str(pathlib.Path(__file__).parent))\nimport of_mine_alone\n"
    write(tmp_path, {"mine.py": f"{reach}{OFFER}", "of_mine_alone.py": "", "other.py": OFFER})

    def digests():
        sys.modules.pop("of_mine_alone", None)
        found = discover(folder_candidates(tmp_path))
        return {provider.name: provider.source_hash for provider in found if provider.status == "ok"}

    before = digests()
    assert set(before) == {"mine", "other"}
    (tmp_path / "of_mine_alone.py").write_text("WORD = 1\n")
    after = digests()
    assert (before["mine"] == after["mine"], before["other"] == after["other"]) == (False, True)


@pytest.mark.parametrize(
    ("code", "needed"),
    [
        ("import helper", "helper"),
        ("from helper import x", "helper"),
        ("from helper.inner import x", "helper"),
        ("from . import helper", "other"),
        ("from .helper import x", "other"),
    ],
)
def test_a_sibling_that_is_missing_is_no_package_to_install(code, needed, tmp_path):
    write(tmp_path, {"mine.py": f"{code}\n{OFFER}", "_helper.py": ""})
    write(tmp_path, {"helper/__init__.py": ""} if "inner" in code else {"helper.py": ""})
    (provider,) = [p for p in discover(folder_candidates(tmp_path)) if p.name == "mine"]
    assert provider.status == "broken"
    assert "Make it a folder" in provider.reason
    assert f"from .{needed} import" in provider.reason
    assert "install" not in provider.reason


def test_another_module_that_is_missing_is_to_be_installed(tmp_path):
    write(tmp_path, {"mine.py": "import nowhere_to_be_found", "packed/__init__.py": "from .gone import x"})
    mine, packed = discover(folder_candidates(tmp_path))
    assert "It needs the module 'nowhere_to_be_found', which is not installed; install what" in mine.reason
    assert packed.status == "broken"
    assert "folder with" not in packed.reason + mine.reason
