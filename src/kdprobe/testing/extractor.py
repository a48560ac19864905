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

LONGEST = 64_000
SECONDS = 1.0
"""CPU time for the longest text; a linear extractor needs a few hundredths of a second."""
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
    "½", "1e999", "9" * 5_000, "1,,,2", "the answer is", "NaN", "inf", "\u22125", "1 2 3", "\u202e18", "{0}", "%s",
)  # fmt: skip
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
    """Doubles the text, so that an extractor that explodes is caught while the text is still short."""
    length = 1_000
    while length <= LONGEST:
        text = piece * (length // len(piece))
        started = time.process_time()
        extractor.extract(text)
        seconds = time.process_time() - started
        require(
            seconds < SECONDS,
            f"The extractor {name!r} takes {seconds:.1f} s for {length} characters of {piece!r}; the time must be "
            "linear in the length, so avoid nested repeats in patterns.",
        )
        length *= 2
