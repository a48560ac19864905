"""What all results of the Python API can do: show themselves in a notebook, and become JSON."""

from __future__ import annotations

import html
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kdprobe.redaction import said

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Result(ABC):
    """What a function of the API returns.

    Attributes:
        warnings: What was noticed while it was made and may spoil it, such as damaged files and plugins left out.
    """

    warnings: tuple[str, ...] = ()

    @abstractmethod
    def to_dict(self) -> Any:
        """What the command prints with `--json`, as dicts and lists."""

    @abstractmethod
    def _sections(self) -> Iterator[str]:
        """What a notebook shows, as HTML."""

    def to_json(self) -> str:
        """What the command prints with `--json`; NaN and infinities are null."""
        return json_text(self.to_dict())

    def __repr__(self) -> str:
        # All of it would fill the screen; what can be asked for is what somebody wants to know.
        names = [
            name for name in dir(self) if not name.startswith("_") and not callable(getattr(type(self), name, None))
        ]
        return f"<{type(self).__name__} with {', '.join(names)}>"

    def _repr_html_(self) -> str:
        warnings = html_list("Warnings", self.warnings)
        # Dollar signs are money here, and no formulas.
        return f'<div class="tex2jax_ignore mathjax_ignore">{"".join(self._sections())}{warnings}</div>'


def json_text(data: Any) -> str:
    """Data as JSON; NaN and infinities become null, secrets are cut out."""
    from kdprobe.files import clean

    return said(json.dumps(clean(data), indent=2, ensure_ascii=False, allow_nan=False))


def html_list(title: str, sentences: Sequence[str]) -> str:
    """Sentences under a title as HTML; nothing where there are none. Text is never markup."""
    items = "".join(f"<li>{_escaped(sentence)}</li>" for sentence in sentences)
    return f"<p><b>{_escaped(title)}</b></p><ul>{items}</ul>" if items else ""


def html_table(title: str, table: pd.DataFrame, columns: Sequence[str] = ()) -> str:
    """A table under a title as HTML; nothing where it has no rows. Text is never markup.

    Args:
        title: Above it.
        table: Any.
        columns: Those that are shown, as far as the table has them; by default all.
    """
    if table.empty:
        return ""
    shown = [name for name in columns or table.columns if name in table.columns]
    head = "".join(f"<th>{_escaped(str(name))}</th>" for name in shown)
    rows = "".join(
        f"<tr>{''.join(f'<td>{_escaped(_cell(value))}</td>' for value in row)}</tr>"
        for row in table[shown].itertuples(index=False)
    )
    return f"<p><b>{_escaped(title)}</b></p><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _escaped(text: str) -> str:
    from kdprobe.console import visible

    return html.escape(visible(text))
