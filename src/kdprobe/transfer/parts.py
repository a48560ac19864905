"""Saves answers in parts, or each as it arrives, so that an interrupted capture resumes after them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from kdprobe.console import note, progress
from kdprobe.console.messages import warn
from kdprobe.files import PARTIAL, UnreadableError, sha256, sync
from kdprobe.teachers.teacher import PROMPT_TOO_LONG, Passage, Request, Response
from kdprobe.transfer.responses import Held, Joined, Responses, Source
from kdprobe.transfer.rows_file import RowsFile
from kdprobe.transfer.rows_writer import write_rows

_SECONDS = "seconds"
_ENDING = ".parquet"
Question = TypeVar("Question", Request, Passage)


@dataclass(frozen=True)
class Answers:
    """Responses, and the teacher's time for them in seconds."""

    responses: Responses
    seconds: float

    @classmethod
    def of(cls, parts: Sequence[_Part]) -> Answers:
        """The answers of all parts, in their order."""
        return cls(Responses(Joined([part.source for part in parts])), sum(part.seconds for part in parts))


@dataclass(frozen=True)
class _Part:
    """Saved responses, or responses in memory if nothing is saved, and the teacher's time for them in seconds."""

    source: Source
    seconds: float


@dataclass(frozen=True)
class _Saved:
    """The responses of a saved part, whose file is opened when they are used: there may be one for each answer."""

    file: Path
    count: int
    temperatures: tuple[float, ...]

    @classmethod
    def of(cls, file: Path) -> _Saved:
        rows = _opened(file)
        return cls(file, len(rows), rows.temperatures)

    def __len__(self) -> int:
        return self.count

    def response(self, index: int, *, distributions: bool) -> Response:
        return _opened(self.file).response(index, distributions=distributions)

    def has_distributions(self, index: int) -> bool:  # noqa: ARG002 - all or none
        return bool(self.temperatures)


# The name of a saved part contains a checksum of its content.
@lru_cache(maxsize=16)
def _opened(file: Path) -> RowsFile:
    return RowsFile(file)


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
        All answers, in the order of the parts; those that are saved are read when they are used.
    """
    if size is None:
        return _one_by_one(questions, answer, vocabulary=vocabulary, label=label, scratch=scratch)
    parts = []
    with progress(label, len(questions), unit="tok") as bar:
        for index, start in enumerate(range(0, len(questions), size)):
            batch = questions[start : start + size]
            name = f"part-{index:05d}"
            part = _read(scratch, name)
            if part is None:
                if 0 < start == bar.done and not bar.work:
                    note(f"{label}: resuming after {start} of {len(questions)}.")
                stream = answer(index, batch)
                # Timed from here, because the call above loads the weights.
                started = time.monotonic()
                responses = tuple(stream)
                part = _write(responses, time.monotonic() - started, vocabulary, scratch, name)
                bar.advance(len(batch), work=sum(len(response.token_ids) for response in responses))
            else:
                bar.skip(len(batch))
            parts.append(part)
    return Answers.of(parts)


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
    found = {id_: _whole(files[name], name) for id_, name in names.items() if name in files}
    saved: dict[str, _Part] = {id_: part for id_, part in found.items() if part}
    parts = [*saved.values()]
    unanswered = [question for question in questions if question.id not in saved]
    with progress(label, len(questions), unit="tok") as bar:
        bar.skip(len(saved))
        if saved and unanswered:
            note(f"{label}: resuming after {len(saved)} of {len(questions)}.")
        stream = answer(0, unanswered) if unanswered else []
        started = time.monotonic()
        for response in stream:
            seconds = time.monotonic() - started
            started += seconds
            # Not saved if the prompt was too long: another server may accept it next time.
            kept = None if response.finish_reason == PROMPT_TOO_LONG else scratch
            parts.append(_write((response,), seconds, vocabulary, kept, names[response.id]))
            bar.advance(1, work=len(response.token_ids))
    return Answers.of(parts)


def forget(scratch: Path | None) -> None:
    """Removes all saved answers."""
    for file in scratch.glob(f"*{_ENDING}") if scratch else []:
        file.unlink()


def _write(responses: tuple[Response, ...], seconds: float, vocabulary: int, scratch: Path | None, name: str) -> _Part:
    """Saves a part under its name and the checksum of its content, once the content is on disk."""
    if scratch is None:
        return _Part(Held(responses), seconds)
    partial = scratch / f".{name}{PARTIAL}"
    # A group for each response, because they are read in a different order.
    write_rows(responses, vocabulary, partial, {_SECONDS: repr(seconds)}, group_tokens=0, predict=False)
    sync(partial)
    file = scratch / f"{name}-{sha256(partial)}{_ENDING}"
    partial.rename(file)
    sync(scratch)
    return _Part(_Saved.of(file), seconds)


def _read(scratch: Path | None, name: str) -> _Part | None:
    """A saved part; `None` if there is none, or if it is damaged."""
    files = scratch.glob(f"{name}-*{_ENDING}") if scratch else ()
    return next((part for file in files if (part := _whole(file, name))), None)


def _whole(file: Path, name: str) -> _Part | None:
    """The answers in a file; a damaged file is removed and gives `None`."""
    with suppress(UnreadableError, KeyError, ValueError):
        if file.name == f"{name}-{sha256(file)}{_ENDING}":
            return _Part(_Saved.of(file), float(_opened(file).notes[_SECONDS]))
    warn(f"{file} is damaged; its answers are requested again.")
    file.unlink()
    return None
