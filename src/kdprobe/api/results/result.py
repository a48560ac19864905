"""What all results of the Python API have in common: display in a notebook, and conversion to JSON."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdprobe.api.results.sections import Listed, Section
from kdprobe.redaction import said

_MOST_LINES = 40


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Result(ABC):
    """The result of an API function.

    Attributes:
        warnings: Warnings about anything that may invalidate it, such as damaged files and skipped plugins.
    """

    warnings: tuple[str, ...] = ()

    @abstractmethod
    def _data(self) -> Any:
        """The data of the command's `--json` output, without the warnings, before NaN and secrets are removed.

        Either a dict, or a list with a dict for each of several results.
        """

    @abstractmethod
    def _sections(self) -> Iterator[Section]:
        """The parts to display."""

    def _answers(self) -> Mapping[str, Any]:
        """Answers by name, if the result has any."""
        return {}

    def _base(self) -> str | None:
        """The name of the answers of a model without an adapter, if the result has them."""
        return None

    def _run(self) -> tuple[str, Path] | None:
        """The name and the store of the run, if the result is one."""
        return None

    def to_dict(self) -> Any:
        """The command's `--json` output as dicts and lists; NaN and infinities become `None`."""
        return json.loads(self.to_json())

    def to_json(self) -> str:
        """The command's `--json` output; NaN and infinities become null."""
        data, warnings = self._data(), {"warnings": list(self.warnings)}
        return json_text([row | warnings for row in data] if isinstance(data, list) else data | warnings)

    def __repr__(self) -> str:
        lines = [line for section in self._shown for line in section.lines()]
        if len(lines) > _MOST_LINES:
            lines = [*lines[: _MOST_LINES - 1], f"... and {len(lines) - _MOST_LINES + 1} more lines"]
        names = [
            name for name in dir(self) if not name.startswith("_") and not callable(getattr(type(self), name, None))
        ]
        return "\n".join([f"<{type(self).__name__} with {', '.join(names)}>", *lines])

    def _repr_html_(self) -> str:
        # Dollar signs mean money here, not formulas.
        shown = "".join(section.html() for section in self._shown)
        return f'<div class="tex2jax_ignore mathjax_ignore">{shown}</div>'

    @property
    def _shown(self) -> list[Section]:
        return [*self._sections(), Listed("Warnings", self.warnings)]


def json_text(data: Any) -> str:
    """Data as JSON; NaN and infinities become null, and secrets are removed."""
    from kdprobe.files import clean

    return said(json.dumps(clean(data), indent=2, ensure_ascii=False, allow_nan=False))
