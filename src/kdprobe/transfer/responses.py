"""Responses that are read when they are used, so that a transfer set is never whole in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Protocol, overload

import numpy as np
from numpy.typing import NDArray

from kdprobe.teachers.teacher import Response


class Source(Protocol):
    """Where responses come from."""

    @property
    def temperatures(self) -> tuple[float, ...]:
        """Temperatures at which the tails are known of all that have distributions; empty if none have."""

    def __len__(self) -> int:
        """Number of responses."""

    def response(self, index: int, *, distributions: bool) -> Response:
        """A response; without distributions, `rows` is `None` and nothing is spent on reading them."""

    def has_distributions(self, index: int) -> bool:
        """Whether a response has distributions, or would have them if it had tokens."""


@dataclass(frozen=True)
class Held:
    """Responses in memory."""

    responses: tuple[Response, ...]

    @property
    def temperatures(self) -> tuple[float, ...]:
        """As in `Source`."""
        known = [set(response.rows.tail_logmass) for response in self.responses if response.rows is not None]
        return tuple(sorted(set.intersection(*known))) if known else ()

    def __len__(self) -> int:
        """As in `Source`."""
        return len(self.responses)

    def response(self, index: int, *, distributions: bool) -> Response:
        """As in `Source`."""
        response = self.responses[index]
        return response if distributions else replace(response, rows=None)

    def has_distributions(self, index: int) -> bool:
        """As in `Source`."""
        return self.responses[index].rows is not None


class Joined:
    """The responses of several sources, one after another."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._starts = np.array([0, *accumulate(map(len, sources))])

    @property
    def temperatures(self) -> tuple[float, ...]:
        """As in `Source`."""
        known = [set(source.temperatures) for source in self._sources if source.temperatures]
        return tuple(sorted(set.intersection(*known))) if known else ()

    def __len__(self) -> int:
        """As in `Source`."""
        return int(self._starts[-1])

    def response(self, index: int, *, distributions: bool) -> Response:
        """As in `Source`."""
        source, inner = self._place(index)
        return source.response(inner, distributions=distributions)

    def has_distributions(self, index: int) -> bool:
        """As in `Source`."""
        source, inner = self._place(index)
        return source.has_distributions(inner)

    def _place(self, index: int) -> tuple[Source, int]:
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._sources[number], index - int(self._starts[number])


class Responses(Sequence[Response]):
    """A sequence of responses, and a source of others; each is read anew whenever it is used.

    Args:
        source: Where they come from.
        indices: Which of them, in order; by default all.
        changes: What is done to each of them once it is read, in order.
        distributions: Whether they have their rows.
    """

    def __init__(
        self,
        source: Source,
        indices: Sequence[int] | NDArray[np.int64] | None = None,
        changes: tuple[Callable[[Response], Response], ...] = (),
        *,
        distributions: bool = True,
    ) -> None:
        self.source = source
        self._indices: Sequence[int] | NDArray[np.int64] = range(len(source)) if indices is None else indices
        self._changes = changes
        self._distributions = distributions

    @classmethod
    def of(cls, responses: Iterable[Response]) -> Responses:
        """The responses as a `Responses`; one that already is comes back unchanged."""
        return responses if isinstance(responses, cls) else cls(Held(tuple(responses)))

    @property
    def temperatures(self) -> tuple[float, ...]:
        """Temperatures at which the tails are known of all that have distributions; empty if none have."""
        return self.source.temperatures if self._distributions else ()

    @property
    def texts(self) -> Responses:
        """The same without distributions, which take most of the time to read."""
        return Responses(self.source, self._indices, self._changes, distributions=False)

    def chosen(self, positions: Iterable[int]) -> Responses:
        """The responses at these positions, in this order."""
        chosen = np.array([self._indices[position] for position in positions], dtype=np.int64)
        return Responses(self.source, chosen, self._changes, distributions=self._distributions)

    def changed(self, change: Callable[[Response], Response]) -> Responses:
        """The responses after a change to each of them."""
        return Responses(self.source, self._indices, (*self._changes, change), distributions=self._distributions)

    def response(self, index: int, *, distributions: bool) -> Response:
        """As in `Source`."""
        response = self.source.response(int(self._indices[index]), distributions=distributions and self._distributions)
        for change in self._changes:
            response = change(response)
        return response

    def has_distributions(self, index: int) -> bool:
        """As in `Source`."""
        return self._distributions and self.source.has_distributions(int(self._indices[index]))

    def __len__(self) -> int:
        """Number of responses."""
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Response: ...
    @overload
    def __getitem__(self, index: slice) -> Responses: ...
    def __getitem__(self, index: int | slice) -> Response | Responses:
        """A response, or several."""
        if isinstance(index, slice):
            return self.chosen(range(len(self))[index])
        return self.response(index, distributions=True)
