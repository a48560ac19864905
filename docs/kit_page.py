"""The reference page of the test kit: its checks, its helpers, its fixtures."""

from __future__ import annotations

import inspect
from typing import Any

from _pytest.fixtures import FixtureFunctionDefinition

from kdprobe import testing


def kit_page() -> str:
    """Every public name of `kdprobe.testing`, as the code documents it."""
    public = {name: getattr(testing, name) for name in testing.__all__}
    # pytest wraps a fixture in an object of its own, which holds the function's docstring.
    fixtures = {name: thing for name, thing in public.items() if isinstance(thing, FixtureFunctionDefinition)}
    checks = {name: thing for name, thing in public.items() if name.startswith("check_")}
    rest = {name: thing for name, thing in public.items() if name not in {*fixtures, *checks}}
    parts = [
        "# The test kit\n",
        "Generated from the code by `make docs`.\n",
        'Write `pytest_plugins = ["kdprobe.testing"]` into the test module, or into the topmost `conftest.py`.\n',
        "A check raises a `ContractError` with one sentence about the first fault that it finds.\n",
        "## Checks\n",
        *(_entry(name, thing) for name, thing in checks.items()),
        "## Helpers\n",
        *(_entry(name, thing) for name, thing in rest.items()),
        "## Fixtures\n",
        "| fixture | description |",
        "| --- | --- |",
        *(f"| `{name}` | {_said(thing)} |" for name, thing in fixtures.items()),
    ]
    return "\n".join(parts) + "\n"


def _entry(name: str, thing: Any) -> str:
    signature = "" if inspect.isclass(thing) else str(inspect.signature(thing)).replace("'", "")
    return f"### {name}\n\n```python\n{name}{signature}\n```\n\n{_said(thing)}\n"


def _said(thing: Any) -> str:
    """A docstring as Markdown: its sections as lists."""
    lines: list[str] = []
    for line in inspect.cleandoc(thing.__doc__ or "").splitlines():
        if line in {"Args:", "Returns:", "Raises:"}:
            lines += [f"{line}\n"]
        elif line.startswith("        "):
            lines[-1] += f" {line.strip()}"
        elif line.startswith("    "):
            lines.append(f"- {line.strip()}")
        else:
            lines.append(line)
    return "\n".join(lines)
