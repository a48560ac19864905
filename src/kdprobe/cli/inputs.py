"""What commands make of the shared options: the plugins, problems and settings they name, and what `--strict` does."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kdprobe.errors import KdprobeError, UsageError
from kdprobe.redaction import without_secrets

if TYPE_CHECKING:
    from kdprobe.comparison.finding import Finding
    from kdprobe.host.choice import Choice
    from kdprobe.host.registry import Host
    from kdprobe.models.conversation import Conversation
    from kdprobe.problems.draw import Source
    from kdprobe.problems.problem import Problem, Split

_NOT_TOML = {"True": "true", "False": "false", "TRUE": "true", "FALSE": "false", "None": "null", "NULL": "null"}
"""What other languages call values that TOML and JSON write otherwise."""
Settings = dict[str, dict[str, Any]]
"""Name of an analysis or a problem source to its options."""


def plugin_choice() -> Choice:
    """Which plugins the command line and the environment want."""
    from kdprobe.host.choice import Choice

    meta = click.get_current_context().meta
    return Choice.of_environment(none=meta["kdprobe.no_plugins"], folder=meta["kdprobe.plugins_dir"])


def open_host() -> Host:
    """The plugins of this process, for a command that has `plugin_options`."""
    from kdprobe.host.registry import Host

    host = Host(choice=plugin_choice())
    opened: list[Host] | None = click.get_current_context().find_object(list)
    if opened is not None:
        opened.append(host)
    return host


def read_settings(settings: tuple[str, ...]) -> Settings:
    """Name to key to value; values are TOML, or text where they are not.

    Raises:
        UsageError: One is not of the form NAME.KEY=VALUE.
    """
    options: Settings = {}
    for setting in settings:
        target, equals, text = setting.partition("=")
        name, dot, key = target.partition(".")
        if not (equals and dot and key):
            raise UsageError(f"{setting!r} is not an option.", "Write NAME.KEY=VALUE, as in heads.smallest_effect=0.1.")
        options.setdefault(name, {})[key] = _value(text, f"--option {target}")
    # Before any message quotes a secret.
    without_secrets(options)
    return options


def _value(text: str, named: str) -> Any:
    """A value as TOML has it, or text where it is none.

    Raises:
        UsageError: It is a number that nothing can be; `named` is what it is given to.
    """
    from kdprobe.experiment.config_checks import impossible_numbers

    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # not TOML: a text without its quotes
        value = text
    for key, mistake in impossible_numbers(value, named):
        raise UsageError(f"{key}: {mistake}.")
    return value


def read_conversation(system: str | None, date: str | None, arguments: tuple[str, ...]) -> Conversation:
    """What `conversation_options` give, with the defaults and refusals of `[conversation]` in an experiment.

    Raises:
        UsageError: The date is none, or an argument is not of the form NAME=VALUE or not the template's to take.
    """
    from pydantic import ValidationError

    from kdprobe.experiment.config import ConversationConfig
    from kdprobe.experiment.config_checks import sentences

    read: dict[str, Any] = {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not (equals and name) or name in read:
            raise UsageError(
                f"{argument!r} is {'given twice' if name in read else 'not an argument'}.",
                "Write --template-argument NAME=VALUE, as in enable_thinking=false.",
            )
        if text in _NOT_TOML:
            raise UsageError(f"{argument!r} would be a text to the template.", f"Write {name}={_NOT_TOML[text]}.")
        read[name] = None if text == "null" else _value(text, f"--template-argument {name}")
    given = {"system": system, "date": date, "template_arguments": read}
    try:
        config = ConversationConfig.model_validate({key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        raise UsageError(
            f"The conversation cannot be read: {'; '.join(sentences(error, None))}.",
            "Fix --system, --date or --template-argument.",
        ) from error
    return config.conversation


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


def fail_where_found(findings: Sequence[Finding], *, strict: bool) -> None:
    """What `--strict` does, once everything is told.

    Raises:
        KdprobeError: There are findings, and they are to fail the command.
    """
    if strict and findings:
        codes = ", ".join(dict.fromkeys(finding.code for finding in findings))
        raise KdprobeError(f"There are findings: {codes}.", "They fail because of --strict.")
