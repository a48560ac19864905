"""The reference page of the Python API: every public name with its signature and description, read from the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from api_page import is_of_api
from docstrings import attributes_of, first_paragraph
from signatures import arguments_of_field, call, constructor
from sources import Definition, Source, definition, lineage
from surface import FRONTS, Front, front

_INTRODUCTION = """\
Plugins, scripts and notebooks may import what these modules export. Everything else is internal and changes without
notice. Importing one of these modules loads neither torch nor transformers; importing a name that needs them does."""
_OTHER_PAGES = {"kdprobe.testing": "Every name is on the page [The test kit](test-kit.md)."}


def python_page() -> str:
    """Every public name of every public module."""
    fronts = [front(name) for name in FRONTS]
    parts = [
        "# Python\n",
        "Generated from the code by `make docs`.\n",
        f"{_INTRODUCTION}\n",
        "| module | contents |",
        "| --- | --- |",
        *(f"| {_link(each.name)} | {first_paragraph(each.docstring)} |" for each in fronts),
        "",
    ]
    documented: dict[tuple[str, str], str] = {}
    for each in fronts:
        parts += [f"## {each.name}\n", *_section(each, documented)]
        for origin in each.origins.values():
            documented.setdefault(origin, each.name)
    return "\n".join(parts)


def _section(each: Front, documented: dict[tuple[str, str], str]) -> Iterator[str]:
    if each.name in _OTHER_PAGES:
        yield f"{_OTHER_PAGES[each.name]}\n"
        return
    for name, origin in each.origins.items():
        found = definition(*origin)
        if found is None or not found.docstring:
            raise ValueError(f"{each.name}.{name} is public and has no docstring")
        if is_of_api(origin):
            yield f"### {name}\n\nSee [The Python API](api.md#{_anchor(name, found)}).\n"
        elif origin in documented:
            yield f"### {name}\n\nThe same as in {_link(documented[origin])}.\n"
        else:
            yield _entry(name, found)


def _entry(name: str, found: Definition) -> str:
    source, statement = found.source, found.statement
    members: list[str] = []
    if isinstance(statement, ast.ClassDef):
        shown = constructor(name, source, statement)
        members = _members(source, statement)
    elif isinstance(statement, ast.FunctionDef):
        managed = any(source.written(decorator) == "contextmanager" for decorator in statement.decorator_list)
        shown = ("@contextmanager\n" if managed else "") + call(name, source, statement)
    else:
        shown = f"{name} = {source.written(statement).partition(' = ')[2]}"
    title = name.replace("__", "\\_\\_")
    text = f"### {title}\n\n```python\n{shown}\n```\n\n{first_paragraph(found.docstring)}\n"
    return "\n".join([text, *members, ""]) if members else text


def _members(source: Source, statement: ast.ClassDef) -> list[str]:
    """Attributes, properties and methods, those of bases first: a line each."""
    members: dict[str, str] = {}
    for home, each in lineage(source, statement):
        for name, meaning in attributes_of(ast.get_docstring(each) or "").items():
            members[name] = f"- `{name}`: {meaning}"
        for line in each.body:
            if isinstance(line, ast.AnnAssign) and (described := arguments_of_field(line).get("description")):
                name = home.written(line.target)
                members[name] = f"- `{name}`: {ast.literal_eval(described)}"
            if isinstance(line, ast.FunctionDef) and not line.name.startswith("_"):
                decorators = {home.written(decorator) for decorator in line.decorator_list}
                shown = line.name if decorators & {"property", "cached_property"} else call(line.name, home, line)
                meaning = first_paragraph(ast.get_docstring(line) or "")
                members.setdefault(line.name, f"- `{' '.join(shown.split())}`: {meaning}")
    return list(members.values())


def _anchor(name: str, found: Definition) -> str:
    return (f"kdprobe{name}" if isinstance(found.statement, ast.FunctionDef) else name).lower()


def _link(front_name: str) -> str:
    return f"[`{front_name}`](#{front_name.replace('.', '')})"
