"""The contract of an extractor: it never raises, and takes time linear in the length of the text."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from kdprobe.errors import first_line
from kdprobe.host.registry import Host
from kdprobe.problems.answers import Extraction
from kdprobe.problems.extractors import Extractor
from kdprobe.testing.contract import ContractError, require

LENGTHS = (*range(16, 64, 4), *(64 * 2**n for n in range(11)))
"""Characters of the texts that are timed. Short ones grow slowly, to catch an extractor whose time doubles with every
character before it takes hours."""
SHORTER, GROWTH = 8, 24
"""A text 8 times as long takes 8 times as long if the time is linear and 64 times if it is quadratic; 24 lies between
them by a factor of almost three on either side, so that neither a slow nor a busy machine is taken for a fault."""
MEASURABLE = 0.05
"""Seconds of CPU time; shorter ones are not compared."""
TRIES = 3
PIECES = (
    "9",
    "9,",
    "1/",
    "-",
    "$",
    " ",
    "\n",
    "####",
    "#### ",
    "{",
    "\\boxed{",
    "(",
    "9=",
    "the answer is ",
    "x 9 ",
    "é",
)
HOSTILE = (
    "", " ", "\n", "\x00", "\ud800", "#### ", "####\n", "\\boxed{", "\\boxed{}", "$", "-", "1/0", "3/0 apples", "٣",
    "½", "1e999", "1,,,2", "the answer is", "NaN", "inf", "\u22125", "1 2 3", "\u202e18", "{0}", "%s",
)  # fmt: skip
DIGITS = "9" * 5_000
"""More digits than Python converts to an integer; read last, because an extractor may take forever."""
GOLD = ("18", "1,200", "-3", "0.5", "3/4", "")


def check_extractor(
    host: Host, name: str, options: dict[str, Any] | None = None, reads: Mapping[str, str] | None = None
) -> None:
    """Reads hostile texts, long texts, and those that the plugin's author says it can read.

    Args:
        host: The host that provides it.
        name: The extractor.
        options: Its options, as in a config.
        reads: Answers that it must judge correct, with their gold values.

    Raises:
        ContractError: The extractor raises, does not return an `Extraction`, reads the same text differently the second
            time, needs more than linear time, or does not read what it should.
    """
    extractor: Extractor = host.create("extractors", name, options)
    for text in HOSTILE:
        _check_text(extractor, text, name)
    for text, gold in (reads or {}).items():
        extraction = extractor.extract(text)
        require(
            extractor.is_right(extraction, gold),
            f"The extractor {name!r} reads {extraction.written!r} in {text!r}, but the gold value is {gold!r}.",
        )
    for piece in PIECES:
        _check_time(extractor, piece, name)
    _check_text(extractor, DIGITS, name)


def _check_text(extractor: Extractor, text: str, name: str) -> None:
    shown = repr(text if len(text) < 50 else f"{text[:20]}…")  # noqa: PLR2004
    try:
        extraction = extractor.extract(text)
        verdicts = [extractor.is_right(extraction, gold) for gold in GOLD]
    except Exception as error:
        raise ContractError(
            f"The extractor {name!r} raises {type(error).__name__} on {shown}: {first_line(error)}"
        ) from error
    require(
        isinstance(extraction, Extraction),
        f"The extractor {name!r} must return Extraction, not {type(extraction).__name__}.",
    )
    require(all(isinstance(verdict, bool) for verdict in verdicts), f"is_right() of {name!r} must return a bool.")
    require(extractor.extract(text) == extraction, f"The extractor {name!r} reads {shown} differently the second time.")
    if extraction.where is not None:
        start, end = extraction.where
        require(
            0 <= start <= end <= len(text), f"The extractor {name!r} returned a span outside {shown}: {start} to {end}."
        )


def _check_time(extractor: Extractor, piece: str, name: str) -> None:
    """Compares how the time grows with the text, because how long it takes depends on the machine and on its load."""
    for length in LENGTHS:
        text = piece * (length // len(piece))
        if (seconds := _seconds(extractor, text)) < MEASURABLE:
            continue
        shorter = min(_seconds(extractor, text[: length // SHORTER]) for _ in range(TRIES))
        if seconds > GROWTH * shorter:
            seconds = min(seconds, *(_seconds(extractor, text) for _ in range(TRIES - 1)))
        require(
            seconds <= GROWTH * shorter,
            f"The extractor {name!r} takes {seconds / shorter:.0f} times as long for {length} characters of {piece!r} "
            "as for an eighth of them; the time must be linear in the length, so avoid nested repeats in patterns.",
        )


def _seconds(extractor: Extractor, text: str) -> float:
    """CPU time of one reading."""
    started = time.process_time()
    extractor.extract(text)
    return time.process_time() - started
