"""Finds where an answer runs on into another problem, which a model that does not stop invents and answers too."""

from __future__ import annotations

import re

from kdprobe.problems.reading.numbers import first_number

_LINE = r"(?<=\n)[>\#*\s]{0,8}"
_BEGINS = rf"(?:{_LINE}|(?<=[.!?}}$)*])[ ]{{1,2}}(?P<sentence>))"
"""On a line of its own, or after a sentence."""
_NEXT = re.compile(
    rf"""
    # The first character is one of few, so that most positions are skipped at once.
    [\n.!?}}$)*\[<](?:
    {_BEGINS}(?:(?:next|new|another)[ ])?
        (?:(?:question|problem|exercise|q)(?:[ ]?\#?\d{{1,4}})?|example[ ]?\#?\d{{1,4}})(?:\*\*)?\s?:
  | (?<=\n)\#{{1,6}}[ ](?:question|problem|exercise|example)[ ]\d{{1,4}}\b
  | {_LINE}(?:user|human|instruction|input)(?:\*\*)?\s?:
  | (?P<token>(?<=\[)INST\]
      | (?<=<)(?:/s|\|(?:im_start|im_end|endoftext|end_of_text|eot_id|end|return|user|start_header_id
          |(?:begin|end)\u2581of\u2581sentence)\|
        |start_of_turn|end_of_turn|eos)>)
    )
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""The next question of a prompt with examples, the next turn of a conversation, or the end of this one."""


def run_on(text: str) -> int | None:
    """The start of the next problem, or `None`.

    The search begins after the first number, because an answer may begin with the question.

    Args:
        text: Text with plain digits.
    """
    first = first_number(text)
    found = _NEXT.search(text, first.end - 1) if first else None
    if found is None:
        return None
    return found.start() if found["token"] else max(found.start() + 1, found.start("sentence"))
