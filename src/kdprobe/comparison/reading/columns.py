"""Finds the columns of a table by their usual names, and only where the names are unambiguous."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kdprobe.comparison.reading.cells import ROLES, flag, gold_texts, text
from kdprobe.comparison.reading.table import Table
from kdprobe.errors import UsageError
from kdprobe.problems.gold import gold_text, gold_value
from kdprobe.words import enumerated

RESPONSE = (
    "response", "model_answer", "model_response", "model_output", "model_completion", "output", "outputs",
    "prediction", "predicted", "predicted_answer", "pred", "completion", "generation", "generated", "generated_text",
    "generated_answer", "generated_solution", "responses", "completions", "generations", "predictions",
    "llm_answer", "llm_response", "llm_output", "student_answer", "assistant_response", "response_text", "output_text",
    "raw_response", "raw_output", "reply", "resps", "filtered_resps",
)  # fmt: skip
GOLD = (
    "gold", "gold_answer", "gold_value", "target", "ground_truth", "ground_truth_answer", "reference",
    "reference_answer", "label", "expected", "expected_answer", "correct_answer",
)  # fmt: skip
EITHER = ("answer", "solution")
"""Names used both for gold answers and for a model's."""
REPLIES = ("choices", "result", "messages", "conversation")
"""Columns of a server's reply, used if no column has the name of a response."""
ID = (
    "custom_id", "id", "problem_id", "question_id", "doc_id", "task_id", "example_id", "sample_id", "item_id", "qid",
    "uid", "uuid", "idx", "index",
)  # fmt: skip
QUESTION = ("question", "problem", "prompt", "input", "query", "instruction")
THINKING = (
    "thinking", "reasoning_content", "model_thinking", "model_reasoning", "thinking_content", "reasoning",
)  # fmt: skip
THINKING_CLOSED, THINKING_TOKENS = ("thinking_closed",), ("thinking_tokens", "reasoning_tokens")
CUT_OFF = ("cut_off", "model_max_tokens", "truncated")
ENDINGS = ("finish_reason", "finish_reasons", "finishreason", "stop_reason", "done_reason")
"""Columns that say why an answer ended; the first that does is read."""
SAMPLE, TOKENS = ("sample", "sample_index"), ("tokens", "model_output_tokens", "output_tokens", "completion_tokens")
PROMPT_HASH = "prompt_hash"
MEASURES = ("group", "conditions", PROMPT_HASH, "log_p_gold_value", "log_p_gold_solution", "gold_tokens")
_USUAL = frozenset((
    *RESPONSE, *GOLD, *EITHER, *REPLIES, *ID, *QUESTION, *CUT_OFF, *ENDINGS, *TOKENS, *MEASURES, *THINKING,
    *THINKING_CLOSED, *THINKING_TOKENS, *SAMPLE,
))  # fmt: skip
_DOUBT = 0.05
"""Share of rows in which two columns of gold values may differ in notation."""


@dataclass(frozen=True)
class Columns:
    """The columns to read from a file; `None` looks for the usual names.

    Attributes:
        response: The column with the text the model wrote.
        gold: The column with the gold value, or with an answer that ends in it.
        id: The column that identifies a problem.
        optional: Whether a file without one of these columns is read by the usual column names instead, with a note.
    """

    response: str | None = None
    gold: str | None = None
    id: str | None = None
    optional: bool = False

    def known(self, name: str) -> bool:
        """Whether a column of this name may be needed."""
        return usual(name) in _USUAL or name in {self.response, self.gold, self.id}

    @property
    def stated(self) -> dict[str, str]:
        """The columns that are stated, by role."""
        stated = {"response": self.response, "gold": self.gold, "id": self.id}
        return {role: name for role, name in stated.items() if name is not None}


def usual(name: str) -> str:
    """A column's name in the form of the lists above: `Model Answer` becomes `model_answer`."""
    return re.sub(r"[\W_]+", "_", name.strip().lower()).strip("_")


def find(table: Table, names: Sequence[str]) -> list[str]:
    """The table's columns with these usual names, in the order of the names."""
    columns: dict[str, list[str]] = {}
    for name in table.cells:
        columns.setdefault(usual(name), []).append(name)
    return [column for name in names for column in columns.get(name, [])]


def choose(table: Table, columns: Columns) -> Columns:
    """The columns of a table for the response, the gold answer and, if there is one, the id.

    Raises:
        UsageError: A column is missing, several could be meant, or one is named for two roles.
    """
    response = columns.response or _response(table, columns.gold)
    gold = columns.gold or _gold(table, response)
    if response == gold:
        raise UsageError(
            f"{table.file}: the column {gold!r} cannot be both the response and the gold answer.",
            "Select two columns with --response-column and --gold-column.",
        )
    return Columns(response, gold, columns.id or _id(table))


def stated_columns(table: Table, columns: Columns) -> Columns:
    """The stated columns that the table has; a note says which it lacks.

    Raises:
        UsageError: It lacks one that is not optional.
    """
    lacking = {role: name for role, name in columns.stated.items() if name not in table.cells}
    for role, name in lacking.items():
        if not columns.optional:
            raise UsageError(
                f"{table.file} has no column {name!r}; its columns are {_listed(table)}.", f"Check --{role}-column."
            )
        table.notes.append(f"There is no column {name!r}, so the usual column names were tried for the {ROLES[role]}.")
    detected: dict[str, Any] = dict.fromkeys(lacking)
    return replace(columns, **detected)


def refuse_unused(columns: Columns, used: Iterable[Mapping[str, str | None]]) -> None:
    """Rejects stated columns that no file has.

    Args:
        columns: The stated columns.
        used: For each file, its columns by role.

    Raises:
        UsageError: No file has one of the stated columns.
    """
    chosen = list(used)
    for role, name in columns.stated.items():
        if all(each.get(role) != name for each in chosen):
            raise UsageError(f"No file has a column {name!r}.", f"Check --{role}-column.")


def _response(table: Table, gold: str | None) -> str:
    found = [name for name in find(table, RESPONSE) if name != gold and not _is_truth(table, name)]
    if len(found) > 1 and any(table.cells[name] != table.cells[found[0]] for name in found):
        raise _ambiguous(table, "response", found)
    if found:
        return found[0]
    either = [name for name in find(table, EITHER) if name != gold]
    certain = [gold] if gold else find(table, GOLD)
    # If the gold column already holds worked solutions, a column "solution" is the model's.
    if certain and [usual(name) for name in either] == ["solution"] and _is_worked(table, certain[0]):
        return either[0]
    if either and (certain or len(either) > 1):
        raise _ambiguous(table, "response", either)
    replies = [
        name for name in find(table, REPLIES) if any(isinstance(cell, list | dict) for cell in table.cells[name])
    ]
    if len(replies) == 1:
        return replies[0]
    raise _missing(table, "response")


def _gold(table: Table, response: str) -> str:
    found = [name for name in find(table, GOLD) if name != response]
    if len(found) > 1 and _differ(table, found):
        raise _ambiguous(table, "gold", found)
    either = [name for name in find(table, EITHER) if name != response]
    if found and _is_flags(table, found[0]):
        if either and _differ(table, [found[0], *either]):
            raise _ambiguous(table, "gold", [found[0], *either])
        if not either and usual(found[0]) == "label":
            raise _ambiguous(table, "gold", found[:1])
    if found:
        return found[0]
    if len(either) > 1 and _differ(table, either, only_numbers=True):
        raise _ambiguous(table, "gold", either)
    if either:
        return either[0]
    raise _missing(table, "gold")


def _id(table: Table) -> str | None:
    """The first id column that is unique, in samples with the sample's number; else one of the most common names."""
    found = [name for name in find(table, ID) if any(cell not in {None, ""} for cell in map(text, table.cells[name]))]
    unique = [name for name in found if len({*map(text, table.cells[name])}) == table.size]
    common = [name for name in found if usual(name) in ID[:5]]
    again = [name for name in common if name not in unique and _is_numbered(table, map(text, table.cells[name]))]
    return next(iter([*again, *unique, *common]), None)


def _is_numbered(table: Table, ids: Iterable[str]) -> bool:
    """Whether ids are unique together with the number of a sample."""
    return len({*zip(ids, *(map(str, table.cells[key]) for key in find(table, SAMPLE)[:1]), strict=True)}) == table.size


def _is_worked(table: Table, gold: str) -> bool:
    """Whether most rows of a column hold gold reasoning that ends in the value."""
    golds = [text(cell) for cell in table.cells[gold]]
    return sum(gold_text(answer) != answer.strip() for answer in golds) > table.size / 2


def _is_truth(table: Table, name: str) -> bool:
    """Whether a column has only true and false, as one that says whether there is a response."""
    return all(isinstance(cell, bool) for cell in table.cells[name])


def _is_flags(table: Table, name: str) -> bool:
    """Whether a column has only 0 and 1, or true and false, and so may say which answers are correct."""
    return None not in {*map(flag, table.cells[name])}


def _differ(table: Table, names: Sequence[str], *, only_numbers: bool = False) -> bool:
    """Whether columns hold different gold values in more rows than notation explains.

    Args:
        table: The table.
        names: The columns.
        only_numbers: Whether to skip rows in which one of them is not a number.
    """
    first, *others = (list(map(gold_text, gold_texts(table, name))) for name in names)
    differing = 0
    for other in others:
        for a, b in zip(first, other, strict=True):
            values = gold_value(a), gold_value(b)
            if None in values:
                differing += a != b and not only_numbers
            else:
                differing += values[0] != values[1]
    return differing > _DOUBT * table.size


def _ambiguous(table: Table, role: str, names: Sequence[str]) -> UsageError:
    verb = "may contain" if len(names) > 1 else "may or may not contain"
    ambiguous = "names are" if len(names) > 1 else "name is"
    return UsageError(
        f"{table.file}: {enumerated([*map(repr, names)])} {verb} the {ROLES[role]}; the {ambiguous} ambiguous.",
        f"Select the right one with --{role}-column, for example --{role}-column {names[0]!r}.",
    )


def _missing(table: Table, role: str) -> UsageError:
    return UsageError(
        f"No column of {table.file} is recognised as the {ROLES[role]}; its columns are {_listed(table)}.",
        f"Select the right one with --{role}-column.",
    )


def _listed(table: Table) -> str:
    return ", ".join(map(str, table.names))
