"""Definitions in the source of kdprobe, found without importing it."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Source:
    """A module's source.

    Attributes:
        module: The module's name.
        text: All of it.
        tree: The same, parsed.
    """

    module: str
    text: str
    tree: ast.Module

    def written(self, node: ast.AST) -> str:
        """A piece of the source, on one line."""
        return " ".join((ast.get_source_segment(self.text, node) or "").split())


@dataclass(frozen=True)
class Definition:
    """Where a name is defined.

    Attributes:
        source: The module.
        statement: The class, the function, or the assignment.
        docstring: Its docstring; of an assignment, the text below it.
    """

    source: Source
    statement: ast.stmt
    docstring: str


@cache
def read(module: str) -> Source:
    """Reads a module of kdprobe."""
    path = ROOT.joinpath("src", *module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = file.read_text(encoding="utf-8")
    return Source(module, text, ast.parse(text))


def definition(module: str, name: str) -> Definition | None:
    """Where a name of a module is defined: there, or in the module of kdprobe that it is imported from."""
    source = read(module)
    body = source.tree.body
    for statement, below in zip(body, [*body[1:], None], strict=True):
        if isinstance(statement, ast.FunctionDef | ast.ClassDef) and statement.name == name:
            return Definition(source, statement, ast.get_docstring(statement) or "")
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == name:
            return Definition(source, statement, _text(below))
        if isinstance(statement, ast.ImportFrom) and str(statement.module).startswith("kdprobe."):
            for alias in statement.names:
                if (alias.asname or alias.name) == name:
                    return definition(str(statement.module), alias.name)
    return None


def lineage(source: Source, statement: ast.ClassDef) -> list[tuple[Source, ast.ClassDef]]:
    """A class and its bases within kdprobe, bases first."""
    classes = [(source, statement)]
    for base in statement.bases:
        found = definition(source.module, source.written(base))
        if found and isinstance(found.statement, ast.ClassDef):
            classes = [*lineage(found.source, found.statement), *classes]
    return classes


def _text(statement: ast.stmt | None) -> str:
    """The text that a statement is, or nothing."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""
