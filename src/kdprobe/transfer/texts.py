"""Texts that a teacher scores but did not write: gold solutions, or answers from a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kdprobe.errors import KdprobeError
from kdprobe.files import json_of, refuse_special
from kdprobe.models.thinking import split_thinking
from kdprobe.models.turn import response_ids
from kdprobe.problems.problem import Problem
from kdprobe.teachers.teacher import Response, Thinking
from kdprobe.text import safe_text


def gold_texts(problems: Sequence[Problem], tokenizer: Any) -> list[Response]:
    """The worked gold solutions, without calculator annotations."""
    return [_written(problem.id, problem.plain_solution, tokenizer) for problem in problems]


def file_texts(file: Path, problems: Sequence[Problem], tokenizer: Any) -> list[Response]:
    """One answer to every problem, from JSON lines with `response`, and `id` or `question`; others are ignored.

    Raises:
        KdprobeError: The file cannot be read, a line is not an answer, or a problem has none or several.
    """
    by_id = {problem.id: problem for problem in problems}
    by_question = {problem.question: problem for problem in problems}
    responses: dict[str, str] = {}
    for location, row in _lines(file):
        response = row.get("response")
        if not isinstance(response, str) or not ({"id", "question"} & row.keys()):
            raise KdprobeError(
                f"{location} is not an answer.", "Each line needs `response`, and either `id` or `question`."
            )
        problem = by_id.get(_text(row, "id")) or by_question.get(_text(row, "question"))
        if problem is None:
            continue
        if problem.id in responses:
            raise KdprobeError(f"{location} answers problem {problem.id} again.", "Remove one of the two.")
        responses[problem.id] = safe_text(response)
    if missing := [problem.id for problem in problems if problem.id not in responses]:
        which = f"{missing[0]} is missing" if len(missing) == 1 else f"{len(missing)} are missing, such as {missing[0]}"
        raise KdprobeError(
            f"{file} answers {len(responses)} of the {len(problems)} transfer problems; {which}.",
            "Every transfer problem needs a line with its `id` or `question`.",
        )
    return [_written(problem.id, responses[problem.id], tokenizer) for problem in problems]


def _text(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    return safe_text(value) if isinstance(value, str) else ""


def _lines(file: Path) -> list[tuple[str, dict[str, Any]]]:
    try:
        refuse_special(file)
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise KdprobeError(
            f"The text file {file} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}.",
            "Check transfer.texts in the config.",
        ) from error
    rows = []
    # Not `splitlines`: U+2028 and others that it splits at may be part of a string.
    for line_number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        location = f"{file}, line {line_number}"
        try:
            row = json_of(line)
        except ValueError as error:
            raise KdprobeError(f"{location} is not JSON: {error}.") from error
        rows.append((location, row if isinstance(row, dict) else {}))
    return rows


def _written(problem: str, text: str, tokenizer: Any) -> Response:
    written = split_thinking(text)
    ids = response_ids(tokenizer, written.answer, written.thinking)
    thinking = None if written.thinking is None else Thinking(written.thinking, written.closed, None)
    return Response(
        problem, written.answer, np.asarray(ids, dtype=np.int64), finished=written.closed, thinking=thinking
    )
