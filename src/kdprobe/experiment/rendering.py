"""Conversations that strategies build from problems, and whether they prime the teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from kdprobe.errors import KdprobeError, quoted
from kdprobe.experiment.config import StrategyConfig
from kdprobe.host.registry import Host
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import PromptPair, Strategy, bare


def render(host: Host, strategy: StrategyConfig, problems: Sequence[Problem]) -> dict[str, PromptPair]:
    """The conversations that a strategy builds: problem id mapped to the pair of conversations.

    Raises:
        KdprobeError: The strategy raised an exception, or returned something else.
    """
    function = host.create("strategies", strategy.name, strategy.options)
    provider = host.get("strategies", strategy.name).provider.name
    return {
        problem.id: _pair(function, problem, f"The strategy {strategy.display_name!r} of {provider}")
        for problem in problems
    }


def _pair(function: Strategy, problem: Problem, subject: str) -> PromptPair:
    """The conversations that a strategy builds from one problem; raises like `render`."""
    try:
        pair = function(problem)
    except KdprobeError:
        raise
    except (Exception, SystemExit) as error:
        raise KdprobeError(
            f"{subject} failed on problem {problem.id!r}: {quoted(error)}",
            "This is a bug in the plugin; use --debug for the traceback.",
        ) from error
    if not isinstance(pair, PromptPair):
        raise KdprobeError(
            f"{subject} must return a PromptPair but returned {type(pair).__name__} for problem {problem.id!r}.",
            "This is a bug in the plugin.",
        )
    return pair


def reads_gold(host: Host, strategy: StrategyConfig, problems: Sequence[Problem]) -> bool:
    """Whether a strategy shows the teacher anything of a gold solution. Its behaviour decides, not its name.

    It does if the teacher's conversation contains the solution, or changes or fails with a different solution.
    """
    for problem in problems:
        value = "7" if problem.value != "7" else "8"
        other = replace(problem, solution=f"There is nothing to calculate.\n#### {value}", value=value)
        teacher = render(host, strategy, [problem])[problem.id].teacher
        if any(problem.plain_solution in message["content"] for message in teacher):
            return True
        try:
            if render(host, strategy, [other])[problem.id].teacher != teacher:
                return True
        except KdprobeError:
            return True
    return False


def is_unprimed(conversations: Mapping[str, PromptPair], problems: Sequence[Problem]) -> bool:
    """Whether a strategy gives the teacher the bare question. Its behaviour decides, not its name.

    Args:
        conversations: Problem id mapped to the pair of conversations the strategy built.
        problems: All transfer problems.
    """
    return all(conversations[problem.id].teacher == bare(problem) for problem in problems)
