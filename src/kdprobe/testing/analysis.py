"""The contract of an analysis: tidy tables, figures that are data, statements in sentences."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

from kdprobe.host.registry import Host
from kdprobe.probing.analysis import AnalysisContext, AnalysisResult, Figure, Need
from kdprobe.probing.metrics.metric import head_metrics_of
from kdprobe.testing.contract import ContractError, require
from kdprobe.words import counted

if TYPE_CHECKING:
    import pandas as pd


def check_analysis(
    host: Host, name: str, options: dict[str, Any] | None, analysis_context: AnalysisContext
) -> AnalysisResult:
    """Runs an analysis on two students of the tiny model.

    Args:
        host: The host that provides it.
        name: The analysis.
        options: Its options, as in a config.
        analysis_context: The kit's fixture with that name.

    Returns:
        The analysis's result, for the plugin's own tests.

    Raises:
        ContractError: The analysis needs something that does not exist, a table is not tidy, a figure is not JSON, or a
            statement is not a sentence.
    """
    analysis = host.create("analyses", name, options)
    unknown = set(analysis.needs) - set(get_args(Need))
    require(
        not unknown,
        f"{name!r} declares {counted(len(unknown), 'unknown need')}: {', '.join(map(repr, sorted(unknown)))}. "
        f"Supported needs: {', '.join(get_args(Need))}.",
    )
    # The plugin's own head metrics and the built-in ones.
    metrics = {**analysis_context.head_metrics, **head_metrics_of(host)}
    result: AnalysisResult = analysis.run(replace(analysis_context, head_metrics=metrics))
    require(
        isinstance(result, AnalysisResult),
        f"run() of {name!r} must return AnalysisResult, not {type(result).__name__}.",
    )
    require(result.tables, f"{name!r} returns no tables; return the numbers behind every figure as a table.")
    students = {student.name for student in analysis_context.students}
    for title, table in result.tables.items():
        _check_table(title, table, students, name)
    for figure in result.figures:
        _check_figure(figure, name)
    for statement in result.statements:
        require(
            isinstance(statement, str) and statement.strip().endswith((".", "!", "?")),
            f"{name!r}: every statement must be a sentence, and this is not: {statement!r}.",
        )
    return result


def _check_table(title: str, table: pd.DataFrame, students: set[str], name: str) -> None:
    import pandas as pd

    label = f"The table {title!r} of {name!r}"
    require(re.fullmatch(r"[a-z][a-z0-9_]*", str(title)), f"{label} becomes a file: name it with a-z, 0-9 and _.")
    require(isinstance(table, pd.DataFrame), f"{label} must be a pandas DataFrame, not {type(table).__name__}.")
    require(len(table), f"{label} has no rows.")
    columns = list(table.columns)
    require(
        all(isinstance(column, str) for column in columns) and len(set(columns)) == len(columns),
        f"{label} must have distinct column names, all of them strings.",
    )
    require(
        isinstance(table.index, pd.RangeIndex),
        f"{label} has data in its index, which is not saved: call reset_index().",
    )
    spread = sorted(students & set(columns))
    require(not spread, f"{label} has a column for each student ({', '.join(spread)}): use one column, `student`.")
    nested = [column for column in columns if table[column].map(lambda cell: isinstance(cell, list | dict)).any()]
    require(not nested, f"{label} has lists or dicts in {nested}: write one observation per row, one value per cell.")
    keys = table[[column for column in columns if not pd.api.types.is_float_dtype(table[column])]]
    require(
        not keys.shape[1] or not keys.duplicated().any(),
        f"{label} has rows that differ only in measurements: add columns that identify each row.",
    )


def _check_figure(figure: Figure, name: str) -> None:
    require(isinstance(figure, Figure), f"{name!r}: a figure must be a kdprobe.probing.Figure.")
    require(
        figure.title and figure.caption, f"{name!r}: a figure needs a title and a caption that explains how to read it."
    )
    try:
        json.dumps(figure.plotly)
    except TypeError as error:
        raise ContractError(f"{name!r}: the figure {figure.title!r} must be serialisable as JSON: {error}.") from error
    require("data" in figure.plotly, f"{name!r}: the figure {figure.title!r} is not a plotly figure: it has no `data`.")
