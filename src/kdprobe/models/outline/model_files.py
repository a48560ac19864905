"""The files in a model's or adapter's folder that libraries will open."""

from __future__ import annotations

from pathlib import Path

from kdprobe.errors import UsageError, first_line
from kdprobe.files import json_of, refuse_special

WEIGHT_FILES = (".safetensors", ".gguf")
DESCRIBING = (".json", ".jinja", ".model", ".txt")
FURTHER_TEMPLATES = "additional_chat_templates/*.jinja"
"""Named templates besides `chat_template.jinja`, of which `default` may be the one used."""
_SETTINGS = frozenset(
    {"config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json", "special_tokens_map.json"}
    | {"adapter_config.json", "kdprobe.json", "model.safetensors.index.json"}
)
"""JSON files that must contain an object. transformers treats a damaged generation_config.json as missing."""


def refuse_unreadable(folder: Path) -> None:
    """Checks the files in a model's or adapter's folder that libraries will open.

    Raises:
        UsageError: A file is a named pipe, a device or a folder, or does not contain the JSON its name promises.
    """
    for file in sorted((*folder.iterdir(), *folder.glob(FURTHER_TEMPLATES))):
        if file.suffix in (*WEIGHT_FILES, *DESCRIBING) and (fault := _fault(file)):
            raise UsageError(f"{file} {fault}.", "Download or copy it again.")


def _fault(file: Path) -> str | None:
    """Why a file cannot be read, as the end of a sentence; `None` if it can."""
    try:
        refuse_special(file)
        if file.is_dir():
            return "is a folder, not a file"
        if file.name in _SETTINGS and not isinstance(json_of(file.read_bytes()), dict):
            return "is not a JSON object"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except ValueError as error:
        return f"is not valid JSON ({first_line(error)})"
    return None
