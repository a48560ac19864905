"""The reference page of the functions in `kdprobe` and their results."""

from __future__ import annotations

import ast
import re

from signatures import call
from sources import Definition, Source, definition, lineage
from surface import front

API = "kdprobe.api"
_INTRODUCTION = """\
Commands that compute have a function here, with the same names and defaults (`kdprobe eval` is `evaluate`, and
`kdprobe export` is a method of students): `--max-new-tokens` is `max_new_tokens`. A
repeatable option takes a list, and one that names things (`--adapter NAME=PATH`) also takes a dict. Error messages
use the names of the command line's options. [Use kdprobe in a notebook](../how-to/use-in-a-notebook.md) has examples.

- Every error is a `kdprobe.KdprobeError` that says what is wrong and what to do.
- `progress=False` silences stderr. Anything that may invalidate a result is in its `findings` or `warnings`, not just
  printed.
- Results display themselves in a notebook. `.to_json()` returns what the command prints with `--json`,
  including the `warnings`. For `score` and `evaluate` this is a list, and every entry contains all of them.
- `import kdprobe` is fast: a function imports what it needs on its first call.
- `AnyPath` is a string or an `os.PathLike`. A `Config` is the path of a TOML file, its content as a dict, or `None`.
  `Functions` are a dict that maps names to functions, or `None`.
"""
_FUNCTIONS = """\
## Functions instead of plugins

`strategies=`, `analyses=` and `head_metrics=` accept plain functions:

- A strategy takes a `kdprobe.Problem`. It returns the text that the teacher reads, or a `kdprobe.PromptPair`.
- An analysis requests what it needs by the names of its parameters, such as `students` or `bridges`. It returns a
  table.
- A head metric takes a `kdprobe.probing.PatternView`, one layer of a batch. It returns a tensor `[batch, head]`.

The keys of stages contain the source of a function and of everything it uses: other functions by their source,
modules by version or source, and text, numbers, lists, tuples, sets and dicts by value, whether they are globals,
defaults or in a closure. Functions that cannot be part of a key are rejected: lambdas, callables that are not plain
functions, functions that use objects or classes defined in a notebook, and functions whose file has changed since it
was imported. `kdprobe.probe` stores nothing under a key and accepts any callable.
"""
_EXAMPLES = {
    "LoadedStudent": "[An example](../how-to/use-in-a-notebook.md#generate-with-a-student) generates with one.",
}
"""What to read next, by class."""


def is_of_api(origin: tuple[str, str]) -> bool:
    """Whether a name of a front is documented on this page."""
    return origin[0].startswith(f"{API}.")


def api_page() -> str:
    """Every function with its whole docstring, then every class that they return."""
    found = [(name, _found(origin)) for name, origin in front("kdprobe").origins.items() if is_of_api(origin)]
    parts = ["# The Python API\n", "Generated from the code by `make docs`.\n", _INTRODUCTION, "## Calls\n"]
    for name, each in found:
        if isinstance(each.statement, ast.FunctionDef):
            parts.append(_function(f"kdprobe.{name}", each, each.statement))
    parts += [_FUNCTIONS, "## Results\n"]
    for name, each in found:
        if isinstance(each.statement, ast.ClassDef):
            parts.append(_class(name, each, each.statement))
    return "\n".join(parts)


def _found(origin: tuple[str, str]) -> Definition:
    found = definition(*origin)
    if found is None or not found.docstring:
        raise ValueError(f"{origin[0]}.{origin[1]} is public and has no docstring")
    return found


def _function(name: str, found: Definition, statement: ast.FunctionDef) -> str:
    shown = call(name, found.source, statement)
    return f"### {name}\n\n```python\n{shown}\n```\n\n{_prose(found.docstring)}\n"


def _class(name: str, found: Definition, statement: ast.ClassDef) -> str:
    classes = lineage(found.source, statement)
    attributes: dict[str, str] = {}
    methods: dict[str, str] = {}
    for source, each in classes:
        docstring = ast.get_docstring(each) or ""
        attributes |= dict(re.findall(r"^    (\w+): (.*(?:\n     .*)*)", docstring, re.MULTILINE))
        for line in each.body:
            if isinstance(line, ast.FunctionDef) and not line.name.startswith("_"):
                _member(source, line, attributes, methods)
    lines = [f"### {name}\n", f"{found.docstring.partition(chr(10) * 2)[0]}\n"]
    lines += [f"- `{attribute}`: {' '.join(meaning.split())}" for attribute, meaning in attributes.items()]
    lines += ["", _EXAMPLES[name]] if name in _EXAMPLES else []
    lines += ["", *methods.values()] if methods else [""]
    return "\n".join(lines)


def _member(source: Source, line: ast.FunctionDef, attributes: dict[str, str], methods: dict[str, str]) -> None:
    docstring = ast.get_docstring(line) or ""
    if {source.written(each) for each in line.decorator_list} & {"property", "cached_property"}:
        attributes[line.name] = docstring
    elif "Args:" in docstring or "Raises:" in docstring:
        methods[line.name] = f"```python\n{call(line.name, source, line)}\n```\n\n{_prose(docstring)}\n"
    else:
        methods[line.name] = f"- `{' '.join(call(line.name, source, line).split())}`: {' '.join(docstring.split())}\n"


def _prose(docstring: str) -> str:
    """A docstring as Markdown: its sections as lists."""
    lines: list[str] = []
    for line in docstring.splitlines():
        if line in {"Args:", "Returns:", "Raises:"}:
            lines += [f"{line}\n"]
        elif line.startswith("        "):
            lines[-1] += f" {line.strip()}"
        elif line.startswith("    "):
            name, colon, meaning = line.strip().partition(": ")
            lines.append(f"- `{name}`: {meaning}" if colon and name.isidentifier() else f"- {line.strip()}")
        else:
            lines.append(line)
    return "\n".join(lines)
