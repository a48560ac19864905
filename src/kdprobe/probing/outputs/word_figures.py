"""Figures of the Shapley values of words: one bar per word, one colour per student."""

from __future__ import annotations

import html

import pandas as pd
import plotly.graph_objects as go

from kdprobe.console.streams import visible
from kdprobe.probing.analysis import Figure


def word_figures(table: pd.DataFrame) -> list[Figure]:
    """Returns one figure per problem.

    Args:
        table: A table with columns `student`, `problem`, `place`, `word`, `value` and `standard_error`.
    """
    return [_bars(str(problem), rows) for problem, rows in table.groupby("problem", sort=False)]


def _bars(problem: str, table: pd.DataFrame) -> Figure:
    figure = go.Figure()
    for student, rows in table.groupby("student", sort=False):
        figure.add_bar(
            x=rows["place"].tolist(),
            y=rows["value"].tolist(),
            error_y={"type": "data", "array": (1.96 * rows["standard_error"]).tolist(), "thickness": 1},
            name=str(student),
        )
    first = table[table["student"] == table["student"].iloc[0]]
    # plotly interprets some HTML in labels, and a question may contain any text.
    labels = [html.escape(visible(word)) for word in first["word"]]
    figure.update_xaxes(tickmode="array", tickvals=first["place"].tolist(), ticktext=labels, tickangle=-60)
    figure.update_layout(barmode="group", yaxis_title="nats", xaxis_title="")
    caption = "Shapley value of every word of the question, with its 95% interval over random orders of the words."
    return Figure(f"Contributions of the words of problem {problem}", caption, figure.to_plotly_json())
