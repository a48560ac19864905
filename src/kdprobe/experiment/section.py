"""What the sections of a config have in common, and how their mistakes are worded."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from kdprobe.host.suggestions import suggested_keys
from kdprobe.words import enumerated

_COLDEST = 0.01
"""Logits are divided by the temperature; below this, float32 overflows, and sampling is greedy anyway."""
_TABLES = {"model_type", "dict_type", "model_attributes_type"}
_KEYS = {"missing", "extra_forbidden"}
_ALTERNATIVE = re.compile(r"(list|dict|literal)\[.*\]|constrained-\w+|int|float|str|bool")
"""How pydantic names the alternatives of a union, after the key."""
_SHOULD_BE = "Input should be "


def not_too_cold(temperature: float) -> float:
    """Returns the temperature.

    Raises:
        ValueError: It is so low that dividing the logits by it overflows.
    """
    if not (temperature == 0 or _COLDEST <= temperature < math.inf):
        raise ValueError(f"must be 0 (greedy decoding) or at least {_COLDEST}")
    return temperature


Seed = Annotated[int, Field(ge=0, lt=2**32)]
Temperature = Annotated[float, Field(ge=0), AfterValidator(not_too_cold)]


def named(value: Any) -> Any:
    """A table from a plain string, which is its name; anything else as it is."""
    return {"name": value} if isinstance(value, str) else value


class Section(BaseModel):
    """A section: unknown keys are errors, and nothing is changed after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Plugged(Section):
    """A section that names something a plugin provides and passes options to it."""

    name: str = Field(description="Name as listed by `kdprobe plugins`.")
    options: dict[str, Any] = Field(default_factory=dict, description="Options of the plugin.")


def sentences(
    error: ValidationError, known: Callable[[], Iterable[str]] = tuple, section: str | None = None
) -> list[str]:
    """Pydantic's errors as sentences starting with their key.

    Args:
        error: The error raised by pydantic.
        known: Returns the keys to suggest for one that is not known.
        section: The key of what was validated, if it is a part of the config.
    """
    items = error.errors(include_url=False)
    # Of several alternatives, the one that has errors inside of the value is meant.
    inside = {path for item in items for path, depth in [_outside(item)] if depth > 1}
    messages: dict[str, list[str]] = {}
    for item in items:
        path, depth = _outside(item)
        if path in inside and depth == 1:
            continue
        place = [*([section] if section else []), *path, *(item["loc"][len(path) + 1 :] if depth else ())]
        # Known keys have no indices: a key known for one strategy is known for all.
        said = _sentence(item, ".".join(part for part in place if isinstance(part, str)), known)
        messages.setdefault(".".join(map(str, place)), []).append(said)
    return [f"{key}: {_joined(said)}" if key else _joined(said) for key, said in messages.items()]


def _outside(item: Any) -> tuple[tuple[int | str, ...], int]:
    """The path of the key whose value may be one of several alternatives, and how many parts of the path follow it."""
    path = item["loc"]
    alternatives = path[:-1] if item["type"] in _KEYS else path
    for index, part in enumerate(alternatives):
        if isinstance(part, str) and _ALTERNATIVE.fullmatch(part):
            return path[:index], len(path) - index
    return path, 0


def _joined(said: list[str]) -> str:
    """What is wrong with one value, for all alternatives."""
    *others, last = dict.fromkeys(said)
    if not others:
        return last
    shown = last[last.rindex(" (got ") :] if " (got " in last else ""
    wanted = [each.removesuffix(shown).removeprefix(_SHOULD_BE.lower()).partition(", ")[0] for each in [*others, last]]
    return f"{_SHOULD_BE.lower()}{', or '.join(wanted)}{shown}"


def _sentence(item: Any, asked: str, known: Callable[[], Iterable[str]]) -> str:
    if item["type"] == "missing":
        return "missing"
    if item["type"] == "extra_forbidden":
        suggestions = [repr(each) for each in suggested_keys(asked, known())]
        return f"unknown key; did you mean {enumerated(suggestions, 'or')}?" if suggestions else "unknown key"
    value = item["input"]
    shown = f" (got {value!r})" if isinstance(value, str | int | float | bool | list) else ""
    if item["type"] in _TABLES:
        return f"must be a table{shown}"
    text = item["msg"].removeprefix("Value error, ")
    return f"{text[0].lower()}{text[1:]}{shown}"
