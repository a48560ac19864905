"""The reference page of every hook: when it is called, its exact signature, its record, a runnable example."""

from __future__ import annotations

import doctest
import inspect
import re
from dataclasses import fields
from importlib.resources import files

from docstrings import attributes_of

from kdprobe.host import hook_api, hookspecs
from kdprobe.host.specs import Spec
from kdprobe.host.stage import FinishedStage
from kdprobe.scaffold import KINDS

NAMES = (*hookspecs.HOOKS, hookspecs.OBSERVER)


def hook_pages() -> dict[str, str]:
    """File name to text, of all pages about hooks."""
    return {"README.md": _index(), **{f"{name}.md": _page(name) for name in NAMES}}


def _index() -> str:
    parts = [
        "# Hooks\n",
        "Generated from the code by `make docs`.\n",
        f"A plugin is a module with `@hookimpl` functions, registered in the entry-point group `{hook_api.GROUP}`.\n",
        f"The current hook API is {hook_api.HOOK_API}; the oldest supported one is {hook_api.OLDEST_HOOK_API}.\n",
        f"A plugin states the one it was written for: `kdprobe_api = {hook_api.HOOK_API}`.\n",
        "| hook | record | purpose |",
        "| --- | --- | --- |",
    ]
    for name in NAMES:
        record = _record(name).__name__
        parts.append(f"| [`{name}`]({name}.md) | `{record}` | {_documented(name)[0].partition(': ')[2]} |")
    return "\n".join(parts) + "\n"


def _page(name: str) -> str:
    summary, body, example = _documented(name)
    record = _record(name)
    signature = f"def {name}{inspect.signature(getattr(hookspecs, name), eval_str=False)}"
    parts = [
        f"# {name}\n",
        "Generated from the code by `make docs`.\n",
        f"{summary}\n",
        f"```python\n{signature.replace(chr(39), '')}: ...\n```\n",
        f"{body}\n",
        f"## {record.__name__}\n",
        f"{_fields(record)}\n",
        "## Example\n",
        f"```python\n{example}\n```\n",
    ]
    for kind, hook in KINDS.items():
        if hook == name:
            source = files("kdprobe.scaffold").joinpath("templates", f"{kind}.py.template").read_text(encoding="utf-8")
            parts += [
                "## A whole module\n",
                f"What `kdprobe plugins new example --kind {kind}` writes, with a test that it passes.\n",
                f"```python\n{source.replace('@name@', 'example').rstrip()}\n```\n",
            ]
    return "\n".join(parts)


def _record(name: str) -> type:
    return hookspecs.HOOKS.get(name, FinishedStage)


def _documented(name: str) -> tuple[str, str, str]:
    """Summary, body and example of a hook's docstring, the example as plain code with what it shows as comments."""
    text, _, example = inspect.cleandoc(getattr(hookspecs, name).__doc__).partition("\n\nExample:\n")
    summary, _, body = text.partition("\n\n")
    code = [f"from kdprobe import {_record(name).__name__}, hookimpl\n"]
    for part in doctest.DocTestParser().get_examples(example):
        block = part.source.startswith(("def ", "class ", "@"))
        code.append(f"\n{part.source}\n" if block else part.source.rstrip())
        code += [f"# {line}" for line in part.want.splitlines()]
    return summary, body, re.sub(r"\n{4,}", "\n\n\n", "\n".join(code))


def _fields(record: type) -> str:
    """A table of a record's fields, with what its docstrings say of them."""
    meanings = {
        name: meaning
        for base in reversed(record.__mro__)
        for name, meaning in attributes_of(inspect.cleandoc(base.__doc__ or "")).items()
    }
    rows = ["| field | type | meaning |", "| --- | --- | --- |"]
    for field in fields(record):
        kind = str(field.type).replace("|", "\\|")
        rows.append(f"| `{field.name}` | `{kind}` | {meanings[field.name]} |")
    if not issubclass(record, Spec):
        return "\n".join(rows)
    return f"{inspect.cleandoc(record.__doc__ or '').splitlines()[0]}\n\n" + "\n".join(rows)
