"""A view of one student on a bridge shared by several."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdprobe.students.pattern_sources import Twins


class SwitchedBridge:
    """A `TransformerBridge` with one student's weights whenever it is used.

    Students of one base share one bridge, whose adapters are switched. This object switches to its own student before
    each call and each access to an attribute, so that the bridges of two students can be held and compared. Parts of it
    that are kept, such as `bridge.blocks[0]`, do not switch, and hooks that are left on it act on all students.

    Args:
        take: Returns the models, with the student's weights.
    """

    def __init__(self, take: Callable[[], Twins]) -> None:
        object.__setattr__(self, "_take", take)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """The student's output, as from `TransformerBridge`."""
        return self._take().bridge(*arguments, **named)

    def __getattr__(self, name: str) -> Any:
        if name == "_take":  # of a copy that has no attributes yet
            raise AttributeError(name)
        value = getattr(self._take().bridge, name)
        if not isinstance(value, MethodType):
            return value

        def switched(*arguments: Any, **named: Any) -> Any:
            return getattr(self._take().bridge, name)(*arguments, **named)

        return switched

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._take().bridge, name, value)

    # So that isinstance says what the bridge is.
    @property  # type: ignore[misc]
    def __class__(self) -> type:
        kind: type = type(self._take().bridge)
        return kind

    def __dir__(self) -> list[str]:
        return dir(self._take().bridge)

    def __repr__(self) -> str:
        return repr(self._take().bridge)
