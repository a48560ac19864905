"""Problems from JSONL files in GSM8K's two fields, `question` and `answer`."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from kdprobe.errors import KdprobeError, UsageError, first_line
from kdprobe.files import json_of, refuse_special
from kdprobe.problems.problem import Problem, Split


class JsonlOptions(BaseModel):
    """Options of the source `jsonl`: two files, so that training and test problems stay separate."""

    model_config = ConfigDict(extra="forbid")

    transfer: Path = Field(description="The file with the transfer problems; the first ones are used.")
    test: Path = Field(description="The file with the test problems; the first ones are used.")


def build(options: JsonlOptions) -> Callable[[Split], Iterator[Problem]]:
    """A source that reads one file per split."""
    files = {"transfer": options.transfer, "test": options.test}

    def problems(split: Split) -> Iterator[Problem]:
        if split not in files:
            raise UsageError(f"The problem source 'jsonl' has no {split} split.", "Available: transfer and test.")
        return read(files[split])

    return problems


def read(file: Path) -> Iterator[Problem]:
    """Reads problems from one file; a problem's id is the file's stem and the line number.

    Raises:
        KdprobeError: The file is missing, empty, or a line is not a problem (the line is named).
    """
    try:
        refuse_special(file)
        stream = file.open("rb")
    except OSError as error:
        raise KdprobeError(f"The problem file {file} cannot be read: {error.strerror}.", "Check the path.") from error
    has_problems = False
    with stream:
        for line_number, line in enumerate(stream, start=1):
            content = line.removeprefix(codecs.BOM_UTF8) if line_number == 1 else line
            if not content.strip():
                continue
            has_problems = True
            yield _problem(content, f"{file.stem}-{line_number}", f"{file}, line {line_number}")
    if not has_problems:
        raise KdprobeError(f"The problem file {file} is empty.", "Write one JSON object per line.")


def _problem(line: bytes, id_: str, location: str) -> Problem:
    try:
        row = json_of(line)
    except ValueError as error:
        # Without json's own position: every line is parsed as a document, so it always says "line 1".
        reason = error.msg if isinstance(error, json.JSONDecodeError) else first_line(error)
        raise KdprobeError(f"{location} is not JSON: {reason}.", "Write one JSON object per line.") from error
    if not isinstance(row, dict):
        raise KdprobeError(f"{location} is not a JSON object.", "Write objects with `question` and `answer`.")
    try:
        return Problem.from_gsm8k(id_, row, group=row.get("group"))
    except KdprobeError as error:
        raise KdprobeError(f"{location}: {error.message}", error.hint) from error
