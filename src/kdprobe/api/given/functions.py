"""Plain functions as strategies, analyses and head metrics, without a package, a hook or a context object."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kdprobe.errors import KdprobeError, UsageError, quoted
from kdprobe.host.provider import Provider
from kdprobe.host.specs import AnalysisSpec, HeadMetricSpec, Spec, StrategySpec
from kdprobe.words import with_article

if TYPE_CHECKING:
    from torch import Tensor

    from kdprobe.host.registry import Host
    from kdprobe.probing.analysis import AnalysisContext, AnalysisResult, Need
    from kdprobe.probing.patterns.view import PatternView
    from kdprobe.problems.problem import Problem
    from kdprobe.strategies.prompt_pair import PromptPair

Functions = Mapping[str, Callable[..., Any]] | None
"""Name to function."""
_HOOKS = {
    StrategySpec: "kdprobe_strategies",
    AnalysisSpec: "kdprobe_analyses",
    HeadMetricSpec: "kdprobe_head_metrics",
}
_NEEDS: dict[str, frozenset[Need]] = {
    "students": frozenset({"students"}),
    "problems": frozenset({"problems"}),
    "sequences": frozenset({"students", "problems"}),
    "bridges": frozenset({"students", "problems"}),
    "pool": frozenset({"students"}),
    "patterns": frozenset({"patterns"}),
    "records": frozenset({"scores"}),
    "counterfactuals": frozenset({"counterfactuals"}),
    "head_metrics": frozenset(),
    "batch_size": frozenset(),
    "seed": frozenset(),
}
"""The parameters that an analysis function may have, and what each needs."""
_WITHOUT_TOKENS = "Patterns from files have no tokens or spans, so a metric that uses tokens or spans needs a model."


def add_functions(
    host: Host,
    strategies: Functions = None,
    analyses: Functions = None,
    head_metrics: Functions = None,
    *,
    keyed: bool = True,
) -> None:
    """Adds functions to a host as plugins.

    Args:
        host: The host to add them to.
        strategies: Functions by name.
        analyses: Functions by name.
        head_metrics: Functions by name.
        keyed: Whether stages depend on them, so that each needs a digest.

    Raises:
        UsageError: An argument is not a dict, a name is taken or not valid in a config, or a function has no digest or
            has unknown parameters.
    """
    for argument, given in (("strategies", strategies), ("analyses", analyses), ("head_metrics", head_metrics)):
        if given is not None and not isinstance(given, Mapping):
            raise UsageError(
                f"{argument} must be a dict of names to functions.", f"Write {argument}={{'NAME': function}}."
            )
    for name, function in (strategies or {}).items():
        _add(host, StrategySpec, name, function, _as_strategy(name, function), keyed=keyed)
    for name, function in (analyses or {}).items():
        _add(host, AnalysisSpec, name, function, FunctionAnalysis(name, function), keyed=keyed)
    for name, function in (head_metrics or {}).items():
        _add(host, HeadMetricSpec, name, function, _as_head_metric(name, function), keyed=keyed)


def _add(host: Host, kind: type[Spec], name: str, function: Callable[..., Any], built: Any, *, keyed: bool) -> None:
    from kdprobe.host.checks import check_spec
    from kdprobe.host.functions import function_digest
    from kdprobe.host.guard import PluginError

    # The label of a metric is followed by a unit or a comma, so it has no full stop.
    summary = (inspect.getdoc(function) or "A function passed by the caller").splitlines()[0].removesuffix(".")
    try:
        # The caller chooses both the function and the data type of what it reads.
        settings: dict[str, Any] = {"any_precision": True} if kind is AnalysisSpec else {}
        spec = check_spec(kind(name=name, summary=summary, build=lambda _options: built, **settings), _HOOKS[kind])
    except PluginError as error:
        raise UsageError(str(error)) from error
    digest = function_digest(function, name) if keyed else "unkeyed"
    host.add(Provider(f"function:{name}", "", f"the function {name}", specs=(spec,), digest=digest))


def _as_strategy(name: str, function: Callable[..., Any]) -> Callable[[Problem], PromptPair]:
    """A strategy that may also return only the teacher's prompt as text; the student then reads the bare question."""
    from kdprobe.strategies.prompt_pair import PromptPair, bare

    if not callable(function):
        raise UsageError(
            f"The strategy {name!r} is {with_article(type(function))}.", "Pass a function that takes a problem."
        )

    def render(problem: Problem) -> PromptPair:
        with _named_in_errors("strategy", name):
            made = function(problem)
        if isinstance(made, str):
            return PromptPair(teacher=[{"role": "user", "content": made}], student=bare(problem))
        if not isinstance(made, PromptPair):
            returned = "None (did you forget `return`?)" if made is None else with_article(type(made))
            raise KdprobeError(
                f"The strategy {name!r} must return the text that the teacher reads, or a kdprobe.PromptPair; for "
                f"problem {problem.id!r} it returned {returned}."
            )
        return made

    return render


def _as_head_metric(name: str, function: Callable[..., Any]) -> Callable[[PatternView], Tensor]:
    """A head metric whose result is checked."""
    if not callable(function):
        raise UsageError(
            f"The head metric {name!r} is {with_article(type(function))}.",
            "Pass a function that takes an attention view.",
        )

    def measure(view: PatternView) -> Tensor:
        import torch

        with _named_in_errors("head metric", name, "" if view.spans else _WITHOUT_TOKENS):
            measured = function(view)
        if not isinstance(measured, torch.Tensor) or measured.shape != view.pattern.shape[:2]:
            made = tuple(measured.shape) if isinstance(measured, torch.Tensor) else with_article(type(measured))
            raise KdprobeError(
                f"The head metric {name!r} returned {made}, not a tensor of shape {tuple(view.pattern.shape[:2])}.",
                "A head metric returns one number for each sequence and head: `[batch, head]`.",
            )
        return measured

    return measure


@contextmanager
def _named_in_errors(kind: str, name: str, hint: str = "") -> Iterator[None]:
    """Names the caller's function in its errors; errors of disk and memory have their own messages."""
    try:
        yield
    except (KdprobeError, OSError, MemoryError):
        raise
    except Exception as error:
        raise KdprobeError(
            f"The {kind} {name!r} failed: {quoted(error)}",
            hint or "The traceback shows where.",
        ) from error


@dataclass(frozen=True)
class FunctionAnalysis:
    """An analysis from a function, whose parameters are named after attributes of the `AnalysisContext`.

    Attributes:
        name: Its name.
        function: Returns a table (a DataFrame or a list of dicts), DataFrames by name, or an `AnalysisResult`.
    """

    name: str
    function: Callable[..., Any]

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise UsageError(f"The analysis {self.name!r} is {with_article(type(self.function))}.", "Pass a function.")
        if unknown := sorted(set(self._asked) - _NEEDS.keys()):
            raise UsageError(
                f"The analysis {self.name!r} has an unknown parameter {unknown[0]!r}.",
                f"Available parameters: {', '.join(_NEEDS)}.",
            )

    @property
    def _asked(self) -> list[str]:
        parameters = inspect.signature(self.function).parameters.values()
        return [each.name for each in parameters if each.default is each.empty]

    @property
    def needs(self) -> frozenset[Need]:
        """What its parameters need."""
        return frozenset().union(*(_NEEDS[name] for name in self._asked))

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Calls the function.

        Raises:
            KdprobeError: It needs patterns from files, but there are none; or it returns an unsupported type.
        """
        import pandas as pd

        from kdprobe.probing.analysis import AnalysisResult

        if "patterns" in self._asked and not context.patterns:
            raise KdprobeError(
                f"The analysis {self.name!r} needs patterns from files.",
                "Pass patterns=, or use the parameter `bridges` instead.",
            )
        given = {name: getattr(context, name) for name in self._asked}
        with _named_in_errors("analysis", self.name):
            made = self.function(**given)
        if isinstance(made, AnalysisResult):
            return made
        rows = isinstance(made, list) and made and all(isinstance(row, Mapping) for row in made)
        tables = {self.name: pd.DataFrame(made)} if rows or isinstance(made, pd.DataFrame) else made
        if isinstance(tables, Mapping) and all(isinstance(table, pd.DataFrame) for table in tables.values()):
            return AnalysisResult(tables={str(name): table for name, table in tables.items()})
        raise KdprobeError(
            f"The analysis {self.name!r} returned {with_article(type(made))}.",
            "Return a DataFrame, a list of dicts, a dict of DataFrames, or a kdprobe.probing.AnalysisResult.",
        )
