"""What commands name in the same words: problems, adapters, and the options of what plugins provide."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kdprobe.errors import UsageError

if TYPE_CHECKING:
    from kdprobe.host.registry import Host
    from kdprobe.problems.draw import Source
    from kdprobe.problems.problem import Problem, Split

Settings = dict[str, dict[str, Any]]
"""Name of an analysis or a problem source to its options."""


def problems_option(function: Any) -> Any:
    """`--problems`, as every command has it that takes problems from outside an experiment."""
    return click.option(
        "--problems",
        default="gsm8k",
        show_default=True,
        metavar="NAME|FILE",
        help="A problem source, or a file of JSON lines.",
    )(function)


def adapters_option(function: Any) -> Any:
    """`--adapter`, as every command has it that looks at several students of one base."""
    return click.option(
        "--adapter", "adapters", multiple=True, metavar="[NAME=]PATH", help="A LoRA adapter of MODEL; repeatable."
    )(function)


def settings_option(whose: str) -> Callable[[Any], Any]:
    """`--option NAME.KEY=VALUE`, as every command has it that builds what plugins provide."""
    return click.option(
        "--option", "settings", multiple=True, metavar="NAME.KEY=VALUE", help=f"An option of {whose}; repeatable."
    )


def read_settings(settings: tuple[str, ...]) -> Settings:
    """Name to key to value; values are TOML, or text where they are not.

    Raises:
        UsageError: One is not of the form NAME.KEY=VALUE.
    """
    options: Settings = {}
    for setting in settings:
        place, given, text = setting.partition("=")
        name, dot, key = place.partition(".")
        if not (given and dot and key):
            raise UsageError(f"{setting!r} is not an option.", "Write NAME.KEY=VALUE, as in heads.smallest_effect=0.1.")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        options.setdefault(name, {})[key] = value
    return options


def refuse_strays(settings: Settings, named: set[str]) -> None:
    """Refuses options of what the command does not use.

    Raises:
        UsageError: There are some.
    """
    if stray := sorted(settings.keys() - named):
        raise UsageError(
            f"--option names {stray[0]!r}, which is not asked for.", f"Options here are of {', '.join(sorted(named))}."
        )


def create(host: Host, kind: str, name: str, settings: Settings) -> Any:
    """Builds something that plugins provide.

    Raises:
        UsageError: There is no such thing, or its options have mistakes.
    """
    from pydantic import ValidationError

    from kdprobe.experiment.config_checks import sentences

    try:
        return host.create(kind, name, settings.get(name, {}))
    except ValidationError as error:
        raise UsageError(
            f"Options of {name}: {'; '.join(sentences(error, None))}.", f"They are given as --option {name}.KEY=VALUE."
        ) from error


def is_finite(host: Host, problems: str) -> bool:
    """Whether the problems that `--problems` names come to an end; errors as `open_problems`."""
    return Path(problems).suffix == ".jsonl" or getattr(host.get("problem-sources", problems).spec, "finite", False)


def open_problems(host: Host, problems: str, settings: Settings) -> Source:
    """The problems that `--problems` names; a file has a test part only.

    Raises:
        UsageError: There is no such source, its options have mistakes, or a file's other part is asked for.
    """
    if Path(problems).suffix != ".jsonl":
        return create(host, "problem-sources", problems, settings)  # type: ignore[no-any-return]
    from kdprobe.problems.sources.jsonl import read

    def source(split: Split) -> Iterator[Problem]:
        if split != "test":
            raise UsageError("A file of problems has no solved ones to show.", "Use --problems jsonl with two files.")
        yield from read(Path(problems))

    return source
