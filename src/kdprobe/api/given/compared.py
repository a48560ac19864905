"""What is compared: files, runs, results of calls, and answers that have names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdprobe.api.results.result import Result
from kdprobe.errors import UsageError
from kdprobe.words import with_article

if TYPE_CHECKING:
    from kdprobe.comparison.arms import Arm
    from kdprobe.comparison.reading.columns import Columns


def run_of(given: Any) -> tuple[str, Path] | None:
    """The name and the store of a finished run passed as the result of a call."""
    return given._run() if isinstance(given, Result) else None  # noqa: SLF001


def sources_of(given: Any, columns: Columns, encoding: str | None) -> Iterator[str | Arm]:
    """Resolves a name: a file or a run stands for itself; other answers have already been read.

    Args:
        given: A path, or a dict of answers by name.
        columns: The columns to read.
        encoding: Encoding of text files.

    Raises:
        UsageError: The answers have no name.
        KdprobeError: They cannot be read.
    """
    from kdprobe.api.given.answers import read_answers
    from kdprobe.comparison.arms import Arm

    if isinstance(given, str | os.PathLike):
        yield os.fspath(given)
    elif isinstance(given, Mapping):
        for name, answers in given.items():
            yield Arm(str(name), read_answers(answers, columns, encoding, str(name)))
    else:
        raise UsageError(
            f"The answers are {with_article(type(given))}, which has no name.",
            "Name it: compare({'NAME': answers, ...}).",
        )
