"""The contract of a strategy: it is pure and deterministic, and its student prompt does not contain the gold answer."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from kdprobe.errors import first_line
from kdprobe.host.registry import Host
from kdprobe.host.specs import StrategySpec
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import Message, PromptPair, Strategy
from kdprobe.testing.contract import ContractError, require
from kdprobe.testing.other_process import rendered_in_other_process
from kdprobe.testing.word_problems import some_problems, telling_problems

ROLES = ("system", "user", "assistant")


def check_strategy(
    host: Host, name: str, options: dict[str, Any] | None = None, problems: Iterable[Problem] | None = None
) -> None:
    """Renders problems twice, in two orders, with a rebuilt strategy, and in a separate process.

    Args:
        host: The host that provides it.
        name: The strategy.
        options: Its options, as in a config.
        problems: The problems to render; by default the kit's own.

    Raises:
        ContractError: The strategy is impure or not deterministic, does not return two conversations, omits the
            question, or shows the student the gold answer without declaring it.
    """
    spec = host.get("strategies", name).spec
    render = host.create("strategies", name, options)
    cases = [*some_problems(), *telling_problems()] if problems is None else list(problems)
    random_state = random.getstate()
    first = {problem.id: _pair(render, problem, name) for problem in cases}
    require(
        random.getstate() == random_state,
        f"The strategy {name!r} uses the global random generator: use a `random.Random` seeded with the problem's id.",
    )
    copies = copy.deepcopy(first)
    for pair in first.values():
        for message in (*pair.teacher, *pair.student):
            message["content"] = ""
    second = {problem.id: _pair(render, problem, name) for problem in reversed(cases)}
    rebuilt = host.create("strategies", name, options)
    in_other_process = rendered_in_other_process(host.get("strategies", name).provider.plugin, name, options, cases)
    for problem in cases:
        pair = copies[problem.id]
        require(
            second[problem.id] == pair,
            f"The strategy {name!r} is not pure: it renders problem {problem.id!r} differently when called "
            "a second time, with the problems in a different order and the first messages overwritten.",
        )
        require(
            _pair(rebuilt, problem, name) == pair,
            f"The strategy {name!r} is not deterministic: when rebuilt, it renders problem {problem.id!r} differently.",
        )
        require(
            in_other_process is None or in_other_process[problem.id] == asdict(pair),
            f"The strategy {name!r} renders problem {problem.id!r} differently in a separate process; does it "
            "iterate over a set or hash a string?",
        )
        _check_teacher_side(pair, problem, name)
        if not (isinstance(spec, StrategySpec) and spec.student_sees_gold):
            _check_student_side(pair, problem, name)


def _pair(render: Strategy, problem: Problem, name: str) -> PromptPair:
    try:
        pair = render(problem)
    except Exception as error:
        raise ContractError(
            f"The strategy {name!r} raises {type(error).__name__} on problem {problem.id!r}: {first_line(error)}"
        ) from error
    require(
        isinstance(pair, PromptPair),
        f"The strategy {name!r} must return a PromptPair, not {type(pair).__name__}.",
    )
    for side, messages in (("teacher", pair.teacher), ("student", pair.student)):
        require(
            isinstance(messages, list) and messages and all(map(_is_message, messages)),
            f"The {side}'s prompt of {name!r} must be messages {{'role': {' | '.join(ROLES)}, 'content': text}}.",
        )
        require(
            messages[-1]["role"] == "user",
            f"The {side}'s prompt of {name!r} must end with a user message, which the model answers.",
        )
    return pair


def _is_message(message: Any) -> bool:
    return (
        isinstance(message, dict)
        and message.keys() == {"role", "content"}
        and message["role"] in ROLES
        and isinstance(message["content"], str)
        and bool(message["content"].strip())
    )


def _check_teacher_side(pair: PromptPair, problem: Problem, name: str) -> None:
    require(
        problem.question in _text(pair.teacher),
        f"The teacher's prompt of {name!r} does not contain the question of problem {problem.id!r}.",
    )


def _check_student_side(pair: PromptPair, problem: Problem, name: str) -> None:
    shown = _text(pair.student).replace(problem.question, "").replace(",", "")
    gold = problem.value.replace(",", "")
    distinctive = len(gold) > 4  # noqa: PLR2004 - a short number may occur by chance
    require(
        not (distinctive and gold in shown) and problem.plain_solution not in _text(pair.student),
        f"The student's prompt of {name!r} contains the gold answer of problem {problem.id!r}. Students are tested "
        "without it: leave it out, or declare it with StrategySpec(student_sees_gold=True).",
    )


def _text(messages: list[Message]) -> str:
    return "\n".join(message["content"] for message in messages)
