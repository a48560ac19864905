"""Makes external text safe on input: it can be written to any file and contains no control characters."""

from __future__ import annotations

import re

_UNKNOWN = "\ufffd"
_UNSAFE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters except tabs and line ends, and lone surrogates."""


def safe_text(text: str) -> str:
    r"""Text that can be written to any file.

    Halves of a surrogate pair are joined; a lone half (half an emoji, say) becomes `�`. So do NUL and other control
    characters except `\t`, `\n` and `\r`; those that are white space become a space.
    """
    if not _UNSAFE.search(text):
        return text
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return _UNSAFE.sub(lambda found: " " if found[0].isspace() else _UNKNOWN, whole)
