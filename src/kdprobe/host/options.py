"""A spec's options as readable rows: name, type, default, meaning."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel


@dataclass(frozen=True)
class Option:
    """One option of a spec.

    Attributes:
        name: Its key in a config; keys of nested options are joined by dots.
        type: The values it accepts, in words.
        required: Whether a config must set it.
        default: Its default, ready for JSON; `None` if it is required.
        description: Its meaning.
    """

    name: str
    type: str
    required: bool
    default: Any
    description: str


def options_of(model: type[BaseModel] | None) -> list[Option]:
    """All options of a model, in the model's order, with nested models flattened."""
    if model is None:
        return []
    from pydantic_core import to_jsonable_python

    schema = model.model_json_schema()
    fields = {field.alias or name: field for name, field in model.model_fields.items() if not field.is_required()}
    # Taken from the fields, because the schema omits defaults made by a factory.
    values = {key: field.get_default(call_default_factory=True) for key, field in fields.items()}
    defaults = to_jsonable_python(values, fallback=repr)
    return list(_flat(schema, schema.get("$defs", {}), defaults, ""))


def _flat(
    schema: dict[str, Any], definitions: dict[str, Any], defaults: dict[str, Any], prefix: str
) -> Iterator[Option]:
    required = schema.get("required", [])
    for key, field in schema.get("properties", {}).items():
        default = defaults.get(key, field.get("default"))
        nested = definitions.get(field.get("$ref", "").rsplit("/", 1)[-1], {})
        if "properties" in nested:
            yield from _flat(nested, definitions, default or {}, f"{prefix}{key}.")
        else:
            kinds = " or ".join(_kind(part, definitions) for part in field.get("anyOf", [field]))
            yield Option(f"{prefix}{key}", kinds, key in required, default, field.get("description", ""))


def _kind(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    field = definitions.get(field.get("$ref", "").rsplit("/", 1)[-1], field)
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if field.get("type") == "array":
        items = _kind(field["items"], definitions) if field.get("items") else "anything"
        return f"array of {items}"
    return str(field.get("format") or field.get("type", "anything"))
