"""A maths word problem, and the format of its gold answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from kdprobe.errors import KdprobeError
from kdprobe.problems.gold import GOLD_MARK, gold_text, gold_value
from kdprobe.text import safe_text

Split = Literal["teacher", "transfer", "test"]
"""What a set of problems is drawn for. Sets drawn for different splits are disjoint."""

_CALCULATOR = re.compile(r"<<[^<>]*>>")


@dataclass(frozen=True)
class Problem:
    """A maths word problem with its worked solution.

    Attributes:
        id: Unique within its source and split.
        question: The bare question, as a student reads it.
        solution: The worked gold solution; its last line is `#### value`.
        value: The gold value, as written after `####`.
        group: The template or family it comes from; overlap and clustering are assessed per group.
    """

    id: str
    question: str
    solution: str
    value: str
    group: str | None = None

    def __post_init__(self) -> None:
        """Makes its texts, which come from any source, safe to write to any file."""
        for name, value in self.as_row().items():
            if isinstance(value, str):
                object.__setattr__(self, name, safe_text(value))

    @classmethod
    def from_gsm8k(cls, id: str, row: dict[str, Any], group: str | None = None) -> Problem:  # noqa: A002
        """A problem from GSM8K's two fields, `question` and `answer`.

        Raises:
            KdprobeError: A field is missing or empty, or the answer has no `#### value`.
        """
        question, answer = row.get("question"), row.get("answer")
        if not isinstance(question, str) or not question.strip():
            raise KdprobeError(f"Problem {id} has no question.", "Each row needs `question` and `answer`.")
        if not isinstance(answer, str) or GOLD_MARK not in answer:
            example = f": here `#### {answer}`" if gold_value(str(answer)) is not None else ""
            raise KdprobeError(
                f"Problem {id} has no gold value.", f"`answer` must end with a line `#### value`{example}."
            )
        value = gold_text(answer)
        if not value:
            raise KdprobeError(f"Problem {id} has an empty gold value.", "Write it after `####`.")
        return cls(id=id, question=question.strip(), solution=answer.strip(), value=value, group=group)

    @property
    def plain_solution(self) -> str:
        """The solution without GSM8K's calculator annotations (`<<48/2=24>>`), which students need not write."""
        return _CALCULATOR.sub("", self.solution)

    def as_row(self) -> dict[str, Any]:
        """All fields as JSON data."""
        # All are texts, so there is nothing that `asdict` would have to copy.
        return dict(vars(self))
