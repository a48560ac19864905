"""The public surface of kdprobe, read from its source, and a check that plugins import nothing else.

A *front* is a module whose `__all__` is public. What a front exports is read from its import statements, those under
`TYPE_CHECKING` included, so that nothing is imported here.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sources import ROOT, read

FRONTS = (
    "kdprobe",
    "kdprobe.problems",
    "kdprobe.strategies",
    "kdprobe.teachers",
    "kdprobe.transfer",
    "kdprobe.distill",
    "kdprobe.models",
    "kdprobe.students",
    "kdprobe.evaluation",
    "kdprobe.experiment",
    "kdprobe.comparison",
    "kdprobe.stats",
    "kdprobe.probing",
    "kdprobe.host",
    "kdprobe.console",
    "kdprobe.testing",
)
CHECKED = (
    "plugins/*/src/**/*.py",
    "plugins/*/tests/**/*.py",
    "src/kdprobe/scaffold/templates/*.py.template",
    "examples/*.py",
    "examples/*.ipynb",
    "README.md",
    "docs/*.md",
    "docs/how-to/*.md",
    "docs/reference/hooks/*.md",
)
"""What may import from fronts only; of Markdown, the Python examples; of notebooks, the cells of code."""


@dataclass(frozen=True)
class Front:
    """A module whose `__all__` is public.

    Attributes:
        name: The module's.
        docstring: The module's.
        origins: Exported name, in the order of `__all__`, to the module that defines it and its name there.
    """

    name: str
    docstring: str
    origins: dict[str, tuple[str, str]]


@cache
def front(name: str) -> Front:
    """Reads a front."""
    tree = read(name).tree
    imported = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    (names,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    return Front(name, ast.get_docstring(tree) or "", {each: imported.get(each, (name, each)) for each in names})


def checked_files() -> list[Path]:
    """The files whose imports are checked."""
    return [file for pattern in CHECKED for file in sorted(ROOT.glob(pattern))]


def violations(files: Iterable[Path]) -> Iterator[str]:
    """A line for every import of kdprobe that is not public: file, line, what it is, and what to write instead."""
    for file in files:
        shown = file.relative_to(ROOT) if file.is_relative_to(ROOT) else file
        for code in _code(file):
            yield from (f"{shown}:{line}: {fault}" for line, fault in _faults(ast.parse(code)))


def _code(file: Path) -> Iterator[str]:
    """The code of a file, in pieces whose lines have the numbers that they have there, or in their cell."""
    if file.suffix == ".md":
        yield from _examples(file)
    elif file.suffix == ".ipynb":
        cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
        yield from ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    else:
        yield file.read_text(encoding="utf-8")


def _examples(page: Path) -> Iterator[str]:
    """The Python examples of a page, each after as many empty lines as there are lines before it on the page."""
    text = page.read_text(encoding="utf-8")
    for example in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        yield "\n" * text.count("\n", 0, example.start(1)) + example[1]


def _faults(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("kdprobe."):
                    yield node.lineno, f"import {alias.name} hides the names in use: write from MODULE import NAME"
        elif isinstance(node, ast.ImportFrom) and not node.level and str(node.module).split(".")[0] == "kdprobe":
            module = str(node.module)
            for alias in node.names:
                if module not in FRONTS or alias.name not in front(module).origins:
                    yield node.lineno, f"{module}.{alias.name} is not public: {_instead(module, alias.name)}"


def _instead(module: str, name: str) -> str:
    """Where a name is public."""
    if f"{module}.{name}" in FRONTS:
        return f"write from {module}.{name} import NAME"
    exports = [(each, exported, origin) for each in FRONTS for exported, origin in front(each).origins.items()]
    defined = [export for export in exports if export[2][1] == name and module in {export[0], export[2][0]}]
    alike = [export for export in exports if export[1] == name]
    for each, exported, _ in (*defined, *alike):
        return f"write from {each} import {exported}"
    return "no public module exports it"
