"""The contract of a problem source: unique ids, readable gold values, the same problems every time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, get_args

from kdprobe.host.registry import Host
from kdprobe.problems.counterfactuals import Counterfactuals, counterfactuals_of
from kdprobe.problems.draw import Source, normalised
from kdprobe.problems.gold import gold_value
from kdprobe.problems.problem import Problem, Split
from kdprobe.testing.contract import require
from kdprobe.words import counted

_CONTRASTED, _COUNTERFACTUALS = 10, 5
"""Problems of each split whose counterfactuals are checked, and how many of each."""


def check_problem_source(
    host: Host,
    name: str,
    options: dict[str, Any] | None = None,
    *,
    count: int = 50,
    splits: Sequence[Split] = ("transfer", "test"),
) -> None:
    """Draws the first problems of each split, twice; and, if the source offers them, counterfactuals of the first ones.

    Args:
        host: The host that provides it.
        name: The problem source.
        options: Its options, as in a config.
        count: Number of problems per split; a source may have fewer, but not none.
        splits: The splits it has.

    Raises:
        ContractError: An id or question occurs twice, a gold value is not a number, a question is in two splits, or the
            source yields different problems the second time; or no problem of a split has a counterfactual, or one has
            the problem's own gold value, is in another split, or differs the second time.
    """
    source = host.create("problem-sources", name, options)
    unknown = set(splits) - set(get_args(Split))
    named = ", ".join(map(repr, sorted(unknown)))
    require(
        not unknown,
        f"Unknown {'split' if len(unknown) == 1 else 'splits'} {named}. Available: {', '.join(get_args(Split))}.",
    )
    locations: dict[str, str] = {}
    drawn: dict[Split, list[Problem]] = {}
    for split in splits:
        problems = _taken(source, split, count, name)
        require(problems, f"The problem source {name!r} has no {split} problems.")
        require(
            _taken(source, split, count, name) == problems,
            f"The problem source {name!r} yields different {split} problems the second time; it must be deterministic.",
        )
        drawn[split] = problems
        _check_ids(problems, split, name)
        for problem in problems:
            _check_value(problem, name)
            location = locations.setdefault(normalised(problem.question), f"{split} problem {problem.id!r}")
            require(
                location == f"{split} problem {problem.id!r}",
                f"The problem source {name!r} repeats the question of {split} problem {problem.id!r} as {location}.",
            )
    validated = host.options("problem-sources", name, options or {})
    if (counterfactuals := counterfactuals_of(host, name, validated)) is not None:
        _check_counterfactuals(counterfactuals, drawn, locations, name)


def _taken(source: Source, split: Split, count: int, name: str) -> list[Problem]:
    problems = list(islice(source(split), count))
    for problem in problems:
        require(
            isinstance(problem, Problem),
            f"The problem source {name!r} must yield Problem records, not {type(problem).__name__}.",
        )
        require(problem.question.strip(), f"The problem source {name!r}: problem {problem.id!r} has no question.")
    return problems


def _check_counterfactuals(
    counterfactuals: Counterfactuals, drawn: dict[Split, list[Problem]], locations: dict[str, str], name: str
) -> None:
    for split, problems in drawn.items():
        offered = 0
        for problem in problems[:_CONTRASTED]:
            others = list(islice(counterfactuals(problem), _COUNTERFACTUALS))
            subject = f"The problem source {name!r}: a counterfactual of {split} problem {problem.id!r}"
            for other in others:
                require(isinstance(other, Problem), f"{subject} is of type {type(other).__name__}, not Problem.")
                _check_value(other, name)
                require(
                    gold_value(other.value) != gold_value(problem.value), f"{subject} has the problem's own gold value."
                )
                location = locations.get(normalised(other.question), split)
                require(
                    location.startswith(split), f"{subject} is also {location}; it must not come from another split."
                )
            require(
                list(islice(counterfactuals(problem), _COUNTERFACTUALS)) == others,
                f"{subject} is different the second time; counterfactuals must be deterministic.",
            )
            offered += bool(others)
        examined = f"the first {counted(len(problems[:_CONTRASTED]), f'{split} problem')}"
        require(offered, f"The problem source {name!r} offers no counterfactual for any of {examined}.")


def _check_ids(problems: list[Problem], split: Split, name: str) -> None:
    ids = [problem.id for problem in problems]
    repeated = next((id_ for id_ in ids if ids.count(id_) > 1), None)
    require(
        repeated is None, f"The problem source {name!r} uses the id {repeated!r} more than once in the {split} split."
    )


def _check_value(problem: Problem, name: str) -> None:
    require(
        gold_value(problem.value) is not None,
        f"The problem source {name!r}: the gold value {problem.value!r} of problem {problem.id!r} is not a number.",
    )
    require(
        problem.value in problem.solution,
        f"The problem source {name!r}: the solution of problem {problem.id!r} does not contain its gold value "
        f"{problem.value!r}; it must end with the line `#### value`.",
    )
