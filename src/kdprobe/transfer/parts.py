"""Answers saved part by part, or each when it arrives, so that a capture that was killed goes on after them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from kdprobe.console import note, progress
from kdprobe.teachers.teacher import PROMPT_TOO_LONG, Passage, Request, Response
from kdprobe.transfer.transfer_set import read_rows, write_rows

_SECONDS = "seconds"
Question = TypeVar("Question", Request, Passage)


@dataclass
class Answers:
    """Responses, and how long the teacher took for them, in seconds."""

    responses: list[Response] = field(default_factory=list)
    seconds: float = 0.0


def in_parts(
    questions: Sequence[Question],
    size: int | None,
    answer: Callable[[int, Sequence[Question]], Iterable[Response]],
    *,
    vocabulary: int,
    label: str,
    scratch: Path | None,
) -> Answers:
    """Asks part after part, and saves each.

    Args:
        questions: What is asked; every part is a slice of them.
        size: Of a part; `None` asks all at once and saves each answer when it arrives.
        answer: Takes the part's index and its questions.
        vocabulary: How many token ids there are.
        label: How progress calls it.
        scratch: Where parts are saved, and read from where they exist; `None` saves none.

    Returns:
        All answers, in the order of the parts.
    """
    if size is None:
        return _one_by_one(questions, answer, vocabulary=vocabulary, label=label, scratch=scratch)
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


def _one_by_one(
    questions: Sequence[Question],
    answer: Callable[[int, Sequence[Question]], Iterable[Response]],
    *,
    vocabulary: int,
    label: str,
    scratch: Path | None,
) -> Answers:
    files = {
        question.id: scratch / f"answer-{index:06d}.parquet" if scratch else None
        for index, question in enumerate(questions)
    }
    saved = {id_: part for id_, file in files.items() if (part := _read(file)) is not None}
    answers = Answers(
        [response for part in saved.values() for response in part.responses],
        sum(part.seconds for part in saved.values()),
    )
    unanswered = [question for question in questions if question.id not in saved]
    with progress(label, len(questions), unit="tok") as bar:
        bar.skip(len(saved))
        if saved and unanswered:
            note(f"{label}: going on after {len(saved)} of {len(questions)}.")
        stream = answer(0, unanswered) if unanswered else []
        started = time.monotonic()
        for response in stream:
            part = Answers([response], time.monotonic() - started)
            started += part.seconds
            # A prompt that was too long may not be for the server that is asked next time.
            if response.finish_reason != PROMPT_TOO_LONG:
                _write(part, vocabulary, files[response.id])
            bar.advance(1, work=len(response.token_ids))
            answers.responses += part.responses
            answers.seconds += part.seconds
    return answers


def forget(scratch: Path | None) -> None:
    """Removes what was saved."""
    for file in scratch.glob("*.parquet") if scratch else []:
        file.unlink()


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
