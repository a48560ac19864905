"""Answers saved part by part, so that a capture that was killed goes on after its last part."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from kdprobe.console import note, progress
from kdprobe.teachers.teacher import Response
from kdprobe.transfer.transfer_set import read_rows, write_rows

_SECONDS = "seconds"
Question = TypeVar("Question")


@dataclass
class Answers:
    """Responses, and how long the teacher took for them, in seconds."""

    responses: list[Response] = field(default_factory=list)
    seconds: float = 0.0


def in_parts(
    questions: Sequence[Question],
    size: int,
    answer: Callable[[int, Sequence[Question]], Iterable[Response]],
    *,
    vocabulary: int,
    label: str,
    scratch: Path | None,
) -> Answers:
    """Asks part after part, and saves each.

    Args:
        questions: What is asked; every part is a slice of them.
        size: Of a part.
        answer: Takes the part's index and its questions.
        vocabulary: How many token ids there are.
        label: How progress calls it.
        scratch: Where parts are saved, and read from where they exist; `None` saves none.

    Returns:
        All answers, in the order of the parts.
    """
    answers = Answers()
    with progress(label, len(questions), unit="tok") as bar:
        for index, start in enumerate(range(0, len(questions), size)):
            batch = questions[start : start + size]
            file = scratch / f"part-{index:05d}.parquet" if scratch else None
            part = _read(file)
            if part is None:
                if 0 < start == bar.done and not bar.work:
                    note(f"{label}: going on after {start} of {len(questions)}.")
                part = Answers()
                stream = answer(index, batch)
                # From here on, for the weights are loaded by the call.
                started = time.monotonic()
                part.responses += stream
                part.seconds = time.monotonic() - started
                _write(part, vocabulary, file)
                bar.advance(len(batch), work=sum(len(response.token_ids) for response in part.responses))
            else:
                bar.skip(len(batch))
            answers.responses += part.responses
            answers.seconds += part.seconds
    return answers


def _write(part: Answers, vocabulary: int, file: Path | None) -> None:
    if file is not None:
        partial = file.with_suffix(".partial")
        write_rows(part.responses, vocabulary, partial, {_SECONDS: repr(part.seconds)})
        partial.rename(file)


def _read(file: Path | None) -> Answers | None:
    """A saved part; `None` where there is none, or only the beginning of one that a crash of the machine left."""
    if file is None or not file.is_file():
        return None
    try:
        responses, notes = read_rows(file)
    except pa.ArrowInvalid:
        return None
    return Answers(list(responses), float(notes[_SECONDS]))
