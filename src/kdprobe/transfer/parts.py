"""Answers saved part by part, or each when it arrives, so that a capture that was killed goes on after them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from kdprobe.console import note, progress, warn
from kdprobe.files import PARTIAL, UnreadableError, sha256, sync
from kdprobe.teachers.teacher import PROMPT_TOO_LONG, Passage, Request, Response
from kdprobe.transfer.transfer_set import read_rows, write_rows

_SECONDS = "seconds"
_ENDING = ".parquet"
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
            name = f"part-{index:05d}"
            part = _read(scratch, name)
            if part is None:
                if 0 < start == bar.done and not bar.work:
                    note(f"{label}: going on after {start} of {len(questions)}.")
                part = Answers()
                stream = answer(index, batch)
                # From here on, for the weights are loaded by the call.
                started = time.monotonic()
                part.responses += stream
                part.seconds = time.monotonic() - started
                _write(part, vocabulary, scratch, name)
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
    names = {question.id: f"answer-{index:06d}" for index, question in enumerate(questions)}
    files = {file.name.rpartition("-")[0]: file for file in scratch.glob(f"*{_ENDING}")} if scratch else {}
    saved = {id_: part for id_, name in names.items() if name in files and (part := _whole(files[name], name))}
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
                _write(part, vocabulary, scratch, names[response.id])
            bar.advance(1, work=len(response.token_ids))
            answers.responses += part.responses
            answers.seconds += part.seconds
    return answers


def forget(scratch: Path | None) -> None:
    """Removes what was saved."""
    for file in scratch.glob(f"*{_ENDING}") if scratch else []:
        file.unlink()


def _write(part: Answers, vocabulary: int, scratch: Path | None, name: str) -> None:
    """Saves a part under its name and the checksum of its content, once that is on the disk."""
    if scratch is not None:
        partial = scratch / f".{name}{PARTIAL}"
        write_rows(part.responses, vocabulary, partial, {_SECONDS: repr(part.seconds)})
        sync(partial)
        partial.rename(scratch / f"{name}-{sha256(partial)}{_ENDING}")
        sync(scratch)


def _read(scratch: Path | None, name: str) -> Answers | None:
    """A saved part; `None` where there is none, or one that is not what was written."""
    files = scratch.glob(f"{name}-*{_ENDING}") if scratch else ()
    return next((part for file in files if (part := _whole(file, name))), None)


def _whole(file: Path, name: str) -> Answers | None:
    """The answers of a file; `None`, without it, where it is not what was written."""
    with suppress(UnreadableError, KeyError, ValueError):
        if file.name == f"{name}-{sha256(file)}{_ENDING}":
            responses, notes = read_rows(file)
            return Answers(list(responses), float(notes[_SECONDS]))
    warn(f"{file} is damaged; its answers are asked for again.")
    file.unlink()
    return None
