"""Text from outside, made safe where it enters: it can be written into any file, and holds no control characters."""

from __future__ import annotations

import unicodedata

_UNKNOWN = "\ufffd"


def safe_text(text: str) -> str:
    r"""Text that every file takes.

    Halves of a surrogate pair are joined; a lone one, as of half an emoji, becomes `�`. So do NUL and other control
    characters, but for `\t`, `\n` and `\r`; those that are white space become a space.
    """
    if text.isprintable():
        return text
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return "".join(map(_safe, whole))


def _safe(char: str) -> str:
    if char in "\t\n\r" or unicodedata.category(char) != "Cc":
        return char
    return " " if char.isspace() else _UNKNOWN
