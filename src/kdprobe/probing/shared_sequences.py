"""The sequences that all students read: the same token ids, rendered by one student's chat template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from kdprobe.comparison.finding import Finding
from kdprobe.errors import KdprobeError, UsageError
from kdprobe.models.conversation import prompt_text
from kdprobe.models.turn import assistant_turn
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import bare
from kdprobe.students.sequence import ProblemSequence, problem_sequences
from kdprobe.students.student import Student

_ANOTHER_TEMPLATE = "With --template-of NAME, all students read the problems in the chat template of NAME."


def shared_sequences(
    students: Sequence[Student], problems: Sequence[Problem], template_of: str | None = None
) -> tuple[list[ProblemSequence], list[Finding]]:
    """The problems as all students read them, in order, and the students whose own chat template differs.

    Tokenizers may differ in tokens that no problem contains: only the ids of these problems are compared.

    Args:
        students: The students.
        problems: The problems that they read.
        template_of: The student whose chat template renders the problems; by default the first.

    Raises:
        UsageError: There is no such student, or a student's tokenizer turns a problem into different tokens.
        KdprobeError: The chat template rejects or changes a question, or a gold value shares a token with other text.
    """
    names = [student.name for student in students]
    if template_of is not None and template_of not in names:
        raise UsageError(f"There is no student {template_of!r}.", f"Available: {', '.join(names)}.")
    first, *others = sorted(students, key=lambda student: student.name != template_of)
    tokenizer = first.load_tokenizer()
    sequences, texts = problem_sequences(tokenizer, problems), _texts(tokenizer, problems)
    # Students that share a tokenizer share the result.
    readers = {first.reader: first}
    for student in others:
        readers.setdefault(student.reader, student)
    unlike = []
    for student in list(readers.values())[1:]:
        other = student.load_tokenizer()
        own_template = "" if _own_texts(other, problems) == texts else _ANOTHER_TEMPLATE
        for text, sequence in zip(texts, sequences, strict=True):
            if difference := _difference((first.name, student.name), (tokenizer, other), text, sequence):
                raise UsageError(
                    f"{student.name!r} and {first.name!r} tokenise the problems differently: in "
                    f"{sequence.id!r}, {difference}.",
                    f"Students are compared on identical tokens. {own_template}".strip(),
                )
        if own_template:
            unlike.append(student.name)
    return sequences, _findings(first.name, unlike)


@dataclass(frozen=True)
class _Text:
    """A problem rendered by a chat template: the text before the answer, the answer, and the token that ends it."""

    prompt: str
    answer: str
    end: str


def _texts(tokenizer: Any, problems: Sequence[Problem]) -> list[_Text]:
    turn = assistant_turn(tokenizer)
    end = tokenizer.convert_ids_to_tokens(turn.end)
    return [
        _Text(prompt_text(tokenizer, bare(problem)), turn.lead + problem.plain_solution, end) for problem in problems
    ]


def _own_texts(tokenizer: Any, problems: Sequence[Problem]) -> list[_Text] | None:
    """The problems rendered by a student's own chat template; `None` if it rejects one."""
    try:
        return _texts(tokenizer, problems)
    except KdprobeError:
        return None


def _difference(names: tuple[str, str], tokenizers: tuple[Any, Any], text: _Text, sequence: ProblemSequence) -> str:
    """Where the second tokenizer produces different ids for a text, as the end of a sentence; empty if nowhere."""
    (first, name), (tokenizer, other) = names, tokenizers
    prompt = other(text.prompt, add_special_tokens=not tokenizer.chat_template)["input_ids"]
    answer = other(text.answer, add_special_tokens=False)["input_ids"]
    theirs = (*prompt, *answer, other.convert_tokens_to_ids(text.end))
    for position, (own, its) in enumerate(zip_longest(sequence.ids, theirs)):
        if own is None and its is not None:
            return f"{first!r} has no token {position}, where {name!r} has {_shown(other, its)}"
        if its is None and own is not None:
            return f"{name!r} has no token {position}, where {first!r} has {_shown(tokenizer, own)}"
        if own != its:
            return f"token {position} is {_shown(other, its)}, not {_shown(tokenizer, own)}"
    return ""


def _shown(tokenizer: Any, token: Any) -> str:
    return f"{tokenizer.decode([token])!r} ({token})"


def _findings(first: str, unlike: Sequence[str]) -> list[Finding]:
    if not unlike:
        return []
    *others, last = unlike
    own = (
        f"the templates of {', '.join(others)} and {last} are different"
        if others
        else f"the template of {last} is different"
    )
    evidence = f"All students read the problems in the chat template of {first!r}; {own}."
    return [Finding("other-template", evidence, f"{_ANOTHER_TEMPLATE}")]
