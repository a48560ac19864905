"""Saves answers in parts, or each as it arrives, so that an interrupted capture resumes after them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from kdprobe.console import note, progress
from kdprobe.console.messages import warn
from kdprobe.files import PARTIAL, UnreadableError, sha256, sync
from kdprobe.teachers.teacher import PROMPT_TOO_LONG, Passage, Request, Response
from kdprobe.transfer.transfer_set import read_rows, write_rows

_SECONDS = "seconds"
_ENDING = ".parquet"
Question = TypeVar("Question", Request, Passage)


@dataclass
class Answers:
    """Responses, and the teacher's time for them in seconds."""

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
    """Requests the answers in parts, and saves each part.

    Args:
        questions: The questions; every part is a slice of them.
        size: Size of a part; `None` requests all at once and saves each answer as it arrives.
        answer: Answers a part, given its index and its questions.
        vocabulary: Number of token ids.
        label: The label of the progress bar.
        scratch: The folder of saved parts, which are not requested again; `None` saves none.

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
                    note(f"{label}: resuming after {start} of {len(questions)}.")
                part = Answers()
                stream = answer(index, batch)
                # Timed from here, because the call above loads the weights.
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
            note(f"{label}: resuming after {len(saved)} of {len(questions)}.")
        stream = answer(0, unanswered) if unanswered else []
        started = time.monotonic()
        for response in stream:
            part = Answers([response], time.monotonic() - started)
            started += part.seconds
            # Not saved if the prompt was too long: another server may accept it next time.
            if response.finish_reason != PROMPT_TOO_LONG:
                _write(part, vocabulary, scratch, names[response.id])
            bar.advance(1, work=len(response.token_ids))
            answers.responses += part.responses
            answers.seconds += part.seconds
    return answers


def forget(scratch: Path | None) -> None:
    """Removes all saved answers."""
    for file in scratch.glob(f"*{_ENDING}") if scratch else []:
        file.unlink()


def _write(part: Answers, vocabulary: int, scratch: Path | None, name: str) -> None:
    """Saves a part under its name and the checksum of its content, once the content is on disk."""
    if scratch is not None:
        partial = scratch / f".{name}{PARTIAL}"
        write_rows(part.responses, vocabulary, partial, {_SECONDS: repr(part.seconds)})
        sync(partial)
        partial.rename(scratch / f"{name}-{sha256(partial)}{_ENDING}")
        sync(scratch)


def _read(scratch: Path | None, name: str) -> Answers | None:
    """A saved part; `None` if there is none, or if it is damaged."""
    files = scratch.glob(f"{name}-*{_ENDING}") if scratch else ()
    return next((part for file in files if (part := _whole(file, name))), None)


def _whole(file: Path, name: str) -> Answers | None:
    """The answers in a file; a damaged file is removed and gives `None`."""
    with suppress(UnreadableError, KeyError, ValueError):
        if file.name == f"{name}-{sha256(file)}{_ENDING}":
            responses, notes = read_rows(file)
            return Answers(list(responses), float(notes[_SECONDS]))
    warn(f"{file} is damaged; its answers are requested again.")
    file.unlink()
    return None
