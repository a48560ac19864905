"""Text without what the eye does not see, and the words of a text, for finding phrases in answers."""

from __future__ import annotations

import re
import unicodedata

_PLAIN = str.maketrans({
    "\u2018": "'", "\u2019": "'", "\u02bc": "'", "\u201c": '"', "\u201d": '"', "\u2010": "-", "\u2011": "-",
})  # fmt: skip
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_SPACES = re.compile(r"[^\S\n]+")


def shown_text(text: str) -> str:
    """The text with one form for characters that look the same, and without those that do not show.

    Compatibility forms are unified (NFKC), typographic apostrophes, quotation marks and hyphens become plain ones, and
    format characters such as zero-width spaces and soft hyphens are removed, as are variation selectors. Spaces within
    a line become one.
    """
    if not text.isascii():
        unified = unicodedata.normalize("NFKC", text).translate(_PLAIN)
        text = "".join(char for char in unified if not _is_hidden(char))
    return _SPACES.sub(" ", text)


def words(text: str) -> list[str]:
    """The words and numbers of a text in order, without case, punctuation, Markdown's marks and hidden characters."""
    return _WORD.findall(shown_text(text).casefold())


def _is_hidden(char: str) -> bool:
    return unicodedata.category(char) == "Cf" or "\ufe00" <= char <= "\ufe0f"
