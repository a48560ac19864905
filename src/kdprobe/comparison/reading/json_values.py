"""Reads JSON as a stream of values: one per line, concatenated, or the elements of a single array."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

_CHUNK = 2**20
_SPACE = re.compile(r"\s*")
_CUT = 16
"""A decoding error this close to the end of the text read so far may only mean that more must be read."""


def json_values(stream: TextIO) -> Iterator[tuple[int, Any]]:
    """The values, and the line on which each begins. Memory use does not grow with their number.

    Args:
        stream: JSON lines, concatenated values, or a single array, whose elements are then the values.

    Raises:
        ValueError: It is not JSON; the message names the line.
    """
    scanner = _Scanner(stream)
    if scanner.peek() != "[":
        while scanner.peek():
            yield scanner.line, scanner.value()
        return
    scanner.skip()
    if scanner.peek() == "]":
        scanner.skip()
    else:
        while True:
            scanner.peek()
            yield scanner.line, scanner.value()
            sign = scanner.peek()
            scanner.skip()
            if sign == "]":
                break
            if sign != ",":
                raise ValueError(f"line {scanner.line} is not valid JSON: expected a comma or the end of the array")
    if scanner.peek():
        raise ValueError(f"line {scanner.line} is not valid JSON: unexpected content after the array")


class _Scanner:
    """The position of the next value in a text, of which only the unread part is kept.

    Attributes:
        line: The current line.
    """

    def __init__(self, stream: TextIO) -> None:
        self.line = 1
        self._stream, self._text, self._at, self._ended = stream, "", 0, False
        self._decode = json.JSONDecoder().raw_decode

    def peek(self) -> str:
        """The next character that is not space; nothing at the end."""
        while True:
            space = _SPACE.match(self._text, self._at)
            self._move(space.end() if space else self._at)
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._read(_CHUNK)

    def skip(self) -> None:
        """Moves on by one character."""
        self._move(min(self._at + 1, len(self._text)))

    def value(self) -> Any:
        """The value that begins here."""
        more = _CHUNK
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated string") or error.pos >= len(self._text) - _CUT
                if self._ended or not cut:
                    line = self.line + self._text.count("\n", self._at, error.pos)
                    where = "" if line == self.line else f" on line {line}"
                    raise ValueError(f"line {self.line} is not valid JSON: {error.msg}{where}") from error
                self._read(more)
                # Doubled, so that a value of many megabytes is not decoded from its start too often.
                more *= 2
            except RecursionError as error:
                raise ValueError(f"line {self.line} is nested too deeply") from error
            else:
                self._move(end)
                return value

    def _move(self, end: int) -> None:
        self.line += self._text.count("\n", self._at, end)
        self._at = end

    def _read(self, size: int) -> None:
        piece = self._stream.read(size)
        self._text, self._at, self._ended = self._text[self._at :] + piece, 0, not piece
