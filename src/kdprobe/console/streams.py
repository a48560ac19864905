"""The consoles, and what makes untrusted text safe to print.

Text that comes from models, data or plugins goes through `plain`, never through rich's markup.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
import unicodedata
from typing import TYPE_CHECKING, TextIO

from kdprobe.redaction import said

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


def out() -> Console:
    """The console for results, on stdout."""
    from rich.console import Console

    class Output(Console):
        def on_broken_pipe(self) -> None:
            # As for every other output; rich would exit with 1, although nothing is wrong.
            raise BrokenPipeError

    return Output(file=sys.stdout, markup=False, highlight=False, emoji=False)


def err() -> Console:
    """The console for progress and messages, on stderr."""
    from rich.console import Console

    return Console(file=sys.stderr, markup=False, highlight=False, emoji=False)


def plain(text: str) -> Text:
    """Untrusted text as a rich `Text`: no markup, no control or direction-changing characters."""
    from rich.text import Text

    return Text(visible(text))


def shortened(text: str, longest: int = 2000) -> str:
    """Text with the middle of long lines left out; a mistyped value may be of any length."""
    half = longest // 2
    return "\n".join(line if len(line) <= longest else f"{line[:half]} ... {line[-half:]}" for line in text.split("\n"))


def visible(text: str) -> str:
    r"""Text without secrets or control and direction-changing characters (all but `\n` and `\t` become `�`)."""
    hidden = {"Cc", "Cf", "Cs"}
    shown = said(text)
    if shown.replace("\n", "").replace("\t", "").isprintable():
        return shown  # Nearly every text, and much faster.
    return "".join(char if char in "\n\t" or unicodedata.category(char) not in hidden else "\ufffd" for char in shown)


def wrapped(text: str, stream: TextIO) -> str:
    """Text with lines broken between words where a terminal would break them within one; elsewhere unchanged."""
    if not stream.isatty():
        return text
    columns = shutil.get_terminal_size().columns
    # Nothing but a space is a place to break: paths and names are to be copied.
    wrapper = textwrap.TextWrapper(columns, break_long_words=False, break_on_hyphens=False, replace_whitespace=False)
    return "\n".join(wrapper.fill(line) if len(line) > columns else line for line in text.split("\n"))
