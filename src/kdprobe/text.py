"""Text from outside, made safe where it enters: it can be written into any file, and holds no control characters."""

from __future__ import annotations

import re

_UNKNOWN = "\ufffd"
_UNSAFE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters but for tabs and the ends of lines, and halves of surrogate pairs."""


def safe_text(text: str) -> str:
    r"""Text that every file takes.

    Halves of a surrogate pair are joined; a lone one, as of half an emoji, becomes `�`. So do NUL and other control
    characters, but for `\t`, `\n` and `\r`; those that are white space become a space.
    """
    if not _UNSAFE.search(text):
        return text
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return _UNSAFE.sub(lambda found: " " if found[0].isspace() else _UNKNOWN, whole)
