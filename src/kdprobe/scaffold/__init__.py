"""`kdprobe plugins new`: a complete plugin package to start from, written from templates."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from kdprobe.errors import UsageError
from kdprobe.host.hookspecs import HOOKS
from kdprobe.host.registry import SINGULAR, Host

KINDS = {
    "strategy": "kdprobe_strategies",
    "teacher": "kdprobe_teachers",
    "distiller": "kdprobe_distillers",
    "analysis": "kdprobe_analyses",
    "head-metric": "kdprobe_head_metrics",
    "problem-source": "kdprobe_problem_sources",
    "extractor": "kdprobe_extractors",
    "task": "kdprobe_tasks",
    "engine": "kdprobe_engines",
    "executor": "kdprobe_executors",
}
"""The kinds with a template, and the hook of each."""
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def write_package(name: str, kind: str, folder: Path | None, host: Host) -> Path:
    """Writes a package with one plugin.

    Args:
        name: Its name in configs; a leading `kdprobe-` is removed.
        kind: Its kind, as on the command line (`problem-source`).
        folder: Where to write it; by default a new folder `kdprobe-NAME`.
        host: The host with the existing plugins, whose names are taken.

    Returns:
        The folder.

    Raises:
        UsageError: The name is invalid or taken, or the folder is not empty.
    """
    name = name.removeprefix("kdprobe-")
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a valid plugin name.",
            "Use lower-case letters, digits and single dashes, as in step-back.",
        )
    plural = HOOKS[KINDS[kind]].kind
    if name in host.names(plural):
        source = host.get(plural, name).provider.source
        raise UsageError(f"The {SINGULAR[plural]} {name!r} already exists, from {source}.", "Choose another name.")
    folder = folder or Path(f"kdprobe-{name}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not empty.", "Choose another folder with --folder, or empty it.")
    module = f"kdprobe_{name.replace('-', '_')}"
    values = {
        "name": name,
        "package": f"kdprobe-{name}",
        "module": module,
        "kind": SINGULAR[plural],
        "use": _USE[kind].replace("NAME", name),
    }
    more = {f"src/{module}/tasks/{file}": f"task/{file}" for file in ("questions.py", "task.yaml")}
    for file, template in {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        f"src/{module}/__init__.py": f"{kind}.py",
        f"tests/test_{module}.py": f"test_{kind}.py",
        ".github/workflows/test.yml": "test.yml",
        **(more if kind == "task" else {}),
    }.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_fill(template, values), encoding="utf-8")
    return folder


_USE = {
    "strategy": 'strategies = ["none", "NAME"]',
    "teacher": '[teacher]\nname = "NAME"\noptions = { model = "smollm2-135m-instruct" }',
    "distiller": '[distill]\nname = "NAME"',
    "analysis": '[probe]\nanalyses = ["heads", "NAME"]',
    "head-metric": '[probe]\nanalyses = ["heads"]  # measures all installed head metrics',
    "problem-source": '[problems]\nsource = "NAME"\ntransfer = 100\ntest = 100',
    "extractor": "# kdprobe score answers.csv --extractor NAME",
    "engine": '[evaluation]\nengine = "NAME"',
    "executor": "# kdprobe run mine.toml --executor NAME",
    "task": '[evaluation]\ntasks = [{ name = "NAME", role = "retention" }]',
}
"""How a config uses it."""


def _fill(template: str, values: dict[str, str]) -> str:
    """A template with every `@key@` replaced; braces are left to Python and TOML."""
    text = files("kdprobe.scaffold").joinpath("templates", f"{template}.template").read_text(encoding="utf-8")
    return re.sub(r"@([a-z]+)@", lambda key: values[key[1]], text)
