"""Arguments that several calls share: options of plugins, conversations, problems."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdprobe.api.session import AnyPath
from kdprobe.errors import UsageError
from kdprobe.redaction import without_secrets

if TYPE_CHECKING:
    import datetime as dt

    import pandas as pd

    from kdprobe.host.registry import Host
    from kdprobe.models.conversation import Conversation
    from kdprobe.problems.counterfactuals import Counterfactuals
    from kdprobe.problems.draw import Source
    from kdprobe.problems.problem import Problem, Split

    Problems = AnyPath | Sequence[Problem] | Sequence[Mapping[str, Any]] | pd.DataFrame

Options = Mapping[str, Mapping[str, Any]]
"""Options by name of the analysis or problem source."""


@dataclass(frozen=True)
class ProblemSource:
    """A source of problems.

    Attributes:
        name: Its name.
        source: Returns the problems of a split.
        finite: Whether the number of problems is finite.
        dataset: The id on the Hub of its data set, if it is known.
        counterfactuals: Yields counterfactuals of a problem, if the source offers them.
    """

    name: str
    source: Source
    finite: bool
    dataset: str | None = None
    counterfactuals: Counterfactuals | None = None


def checked_options(options: Options | None) -> dict[str, dict[str, Any]]:
    """Returns the options as dicts; secrets in them are redacted from now on.

    Raises:
        UsageError: A number is impossible, such as NaN.
    """
    given = {name: dict(values) for name, values in (options or {}).items()}
    for name, values in given.items():
        for key, value in values.items():
            _refuse_impossible(value, f"--option {name}.{key}")
    # Before any message quotes a secret.
    without_secrets(given)
    return given


def refuse_strays(options: Options, named: set[str]) -> None:
    """Rejects options of anything that is not used.

    Raises:
        UsageError: There are such options.
    """
    if stray := sorted(options.keys() - named):
        raise UsageError(
            f"--option refers to {stray[0]!r}, which is not used here.",
            f"Options can be set for: {', '.join(sorted(named))}.",
        )


def create(host: Host, kind: str, name: str, options: Options) -> Any:
    """Builds something that a plugin provides; raises like `validated_options`."""
    return host.build(kind, name, validated_options(host, kind, name, options))


def validated_options(host: Host, kind: str, name: str, options: Options) -> Any:
    """The options of something that a plugin provides, or `None` if it has none.

    Raises:
        UsageError: It does not exist, or its options have errors.
    """
    from pydantic import ValidationError

    from kdprobe.experiment.section import sentences
    from kdprobe.host.suggestions import keys_of

    try:
        return host.options(kind, name, dict(options.get(name, {})))
    except ValidationError as error:
        mistakes = sentences(error, lambda: keys_of(host.get(kind, name).spec.options))
        listed = "; ".join(mistakes)
        raise UsageError(
            f"The options of {name} are invalid: {listed}{'' if listed.endswith('?') else '.'}",
            f"Set options with --option {name}.KEY=VALUE.",
        ) from error


def conversation_of(
    system: str | None, date: dt.date | str | None, template_arguments: Mapping[str, Any] | None
) -> Conversation:
    """Returns the conversation settings, with the defaults and checks of `[conversation]` in an experiment.

    Raises:
        UsageError: The date is invalid, or kdprobe itself sets that argument of the template.
    """
    from pydantic import ValidationError

    from kdprobe.experiment.config import ConversationConfig
    from kdprobe.experiment.section import sentences

    arguments = dict(template_arguments or {})
    for name, value in arguments.items():
        _refuse_impossible(value, f"--template-argument {name}")
    given = {"system": system, "date": date, "template_arguments": arguments}
    try:
        config = ConversationConfig.model_validate({key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        raise UsageError(
            f"The conversation settings are invalid: {'; '.join(sentences(error))}.",
            "Fix --system, --date or --template-argument.",
        ) from error
    return config.conversation


def problem_source(host: Host, problems: Problems, options: Options) -> ProblemSource:
    """Resolves the argument `problems`.

    Args:
        host: The plugins.
        problems: A problem source, a file of JSON lines, problems, or a table with `question` and `answer`.
        options: Options of the source.

    Raises:
        UsageError: There is no such source, or its options have errors.
    """
    from kdprobe.problems.counterfactuals import counterfactuals_of

    if isinstance(problems, str | os.PathLike):
        name = os.fspath(problems)
        if Path(name).suffix != ".jsonl":
            if Path(name).is_file() or (os.sep in name and name not in host.names("problem-sources")):
                if not Path(name).exists():
                    raise UsageError(f"The problem file {name} does not exist.", "Check the path.")
                raise UsageError(
                    f"The problem file {name} is not a .jsonl file.",
                    "Write problems as JSON lines with `question` and `answer` to a file that ends in .jsonl, or read "
                    "the file with pandas and pass the table to kdprobe in Python, as the argument `problems`.",
                )
            spec = host.get("problem-sources", name).spec
            finite, dataset = getattr(spec, "finite", False), getattr(spec, "dataset", None)
            validated = validated_options(host, "problem-sources", name, options)
            source = host.build("problem-sources", name, validated)
            return ProblemSource(name, source, finite, dataset, counterfactuals_of(host, name, validated))
        from kdprobe.problems.sources.jsonl import read

        return ProblemSource(name, _tests_only(lambda: read(Path(name)), "A single problem file"), finite=True)
    given = list(_problems_in(problems))
    return ProblemSource("problems", _tests_only(lambda: iter(given), "A table of problems"), finite=True)


def _tests_only(read: Any, what: str) -> Source:
    def source(split: Split) -> Iterator[Problem]:
        if split != "test":
            raise UsageError(
                f"{what} provides no few-shot examples.",
                "Use --problems jsonl with a transfer file and a test file.",
            )
        yield from read()

    return source


def _problems_in(problems: Any) -> Iterator[Problem]:
    from kdprobe.api.given.answers import rows_of
    from kdprobe.problems.problem import Problem

    if isinstance(problems, Sequence) and all(isinstance(problem, Problem) for problem in problems):
        yield from problems
        return
    for number, row in enumerate(rows_of(problems, "problems"), start=1):
        yield Problem.from_gsm8k(str(row.get("id", number)), row, group=row.get("group"))


def _refuse_impossible(value: Any, named: str) -> None:
    from kdprobe.experiment.config_checks import impossible_numbers

    for key, mistake in impossible_numbers(value, named):
        raise UsageError(f"{key}: {mistake}.")
