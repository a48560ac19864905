"""The shape of src/kdprobe: small files, small folders, no import cycle."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

import kdprobe

SOURCE = Path(kdprobe.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
MOST_LINES = 250
MOST_MODULES = 16
EXCUSE = "This file is long because "
"""How the sentence begins with which a module's docstring may exempt it."""


def faults(files):
    """What is too long or too full, as sentences."""
    found = []
    for file in files:
        text = file.read_text(encoding="utf-8")
        lines = text.count("\n")
        if lines > MOST_LINES and EXCUSE not in (ast.get_docstring(ast.parse(text)) or ""):
            found.append(f"{file.name} has {lines} lines; split it, or let its docstring say: {EXCUSE}...")
    for folder in sorted({file.parent for file in files}):
        modules = [file for file in files if file.parent == folder and file.name != "__init__.py"]
        if len(modules) > MOST_MODULES:
            found.append(f"{folder.name} has {len(modules)} modules; make folders of it")
    return found


def test_files_and_folders_are_small():
    assert len(FILES) > 100
    assert faults(FILES) == []


@pytest.mark.parametrize(
    ("docstring", "lines", "modules", "fault"),
    [
        ("A module.", MOST_LINES, MOST_MODULES, None),
        ("A module.", MOST_LINES + 1, 1, "m0.py has 251 lines"),
        (f"A table. {EXCUSE}it is one table.", MOST_LINES + 1, 1, None),
        ("A module.", 1, MOST_MODULES + 1, "has 17 modules"),
    ],
)
def test_what_is_large_is_found(docstring, lines, modules, fault, tmp_path):
    (tmp_path / "__init__.py").touch()
    for index in range(modules):
        (tmp_path / f"m{index}.py").write_text(f'"""{docstring}"""\n' + "x = 1\n" * (lines - 1))
    found = faults(sorted(tmp_path.rglob("*.py")))
    assert (fault is None) == (found == [])
    assert all(fault in sentence for sentence in found)


def test_no_module_imports_itself_by_way_of_others():
    graph = grimp.build_graph("kdprobe", cache_dir=None)
    assert len(graph.modules) >= len(FILES)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    # Raises CycleError, which names the modules.
    TopologicalSorter(imports).prepare()
