"""The fenced blocks of hand-written documentation, and the commands in them."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
GENERATED = "Generated from the code by `make docs`."
BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>.+?) -->\n\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
RUN_BY = re.compile(r"^<!-- run by (?P<test>\S+) -->$", re.MULTILINE)
"""Marks a page whose blocks are all run, in order, by another test."""
HEREDOC = re.compile(r"<<-?\s*['\"]?(?P<end>\w+)['\"]?")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: Its page, relative to the root of the repository.
        line: The line that the block's text begins at.
        kind: The language after the fence.
        text: What is between the fences.
        reason: Why it is not run, as the comment before it says.
    """

    page: str
    line: int
    kind: str
    text: str
    reason: str | None

    @property
    def where(self):
        return f"{self.page}:{self.line}"


def pages():
    """All hand-written pages, path to text."""
    files = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/*/README.md")]
    texts = {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8") for file in sorted(files)}
    return {page: text for page, text in texts.items() if GENERATED not in text}


def blocks_of(page, text):
    """The blocks of a page."""
    return [
        Block(page, text.count("\n", 0, found.start("text")) + 1, found["kind"], found["text"], found["reason"])
        for found in BLOCK.finditer(text)
    ]


def commands(script):
    """A script's commands, continued lines joined and each here-document with the command that reads it."""
    lines = iter(script.splitlines())
    for line in lines:
        command = line
        while command.endswith("\\"):
            command = command[:-1] + next(lines)
        if heredoc := HEREDOC.search(command):
            for each in lines:
                command += f"\n{each}"
                if each == heredoc["end"]:
                    break
        if command.strip() and not command.lstrip().startswith("#"):
            yield command


def words(command):
    """A command's words without comments, and without the variables set before it."""
    found = shlex.split(command, comments=True)
    while found and re.fullmatch(r"\w+=.*", found[0]):
        del found[0]
    return found
