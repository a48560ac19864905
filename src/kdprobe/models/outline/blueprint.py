"""A model without its weights: its configuration, and its modules on the meta device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from kdprobe.errors import UsageError, first_line
from kdprobe.files import json_of
from kdprobe.models.chatter import quiet
from kdprobe.models.load import load_config
from kdprobe.models.reference import ModelRecord
from kdprobe.models.weights import refuse_unknown_quantisation

_CONTEXTS = ("max_position_embeddings", "n_positions", "n_ctx")
"""Names that configurations use for the longest sequence a model was made for."""


@dataclass(frozen=True)
class Blueprint:
    """What a model's files reveal about it.

    Attributes:
        record: The model.
        config: Its configuration.
    """

    record: ModelRecord
    config: Any

    @property
    def kind(self) -> str:
        """The architecture's name in transformers."""
        return str(self.config.model_type)

    @property
    def context(self) -> int | None:
        """The maximum number of tokens, prompt and response together; `None` if not stated."""
        return context_length(self.config)

    @property
    def rows(self) -> int:
        """Number of rows of its output matrix, which may be larger or smaller than the number of token ids."""
        return int(self.config.get_text_config().vocab_size)

    @cached_property
    def model(self) -> Any:
        """Its modules, on the meta device.

        Raises:
            UsageError: transformers has no causal language model of this architecture.
        """
        from transformers import AutoModelForCausalLM

        try:
            with quiet(), torch.device("meta"):
                return AutoModelForCausalLM.from_config(self.config, trust_remote_code=False)
        except (ValueError, ImportError) as error:
            raise UsageError(
                f"The model {self.record.name!r} ({self.kind}) is not a causal language model supported by "
                "transformers.",
                "Choose another model; kdprobe never runs code shipped with a model.",
            ) from error
        except Exception as error:
            # Sizes that have the wrong type or contradict each other.
            raise UsageError(
                f"Cannot build a model from the configuration of {self.record.name!r}: {first_line(error)}",
                "Its config.json is damaged; download it again.",
            ) from error


def blueprint(record: ModelRecord) -> Blueprint:
    """Reads a model's configuration, and checks that transformers can load such a model here.

    Raises:
        UsageError: The configuration cannot be read, its architecture is unknown, a weight file is missing or
            incomplete, or the package needed for quantised weights is missing.
    """
    found = Blueprint(record, load_config(record))
    _refuse_incomplete(record)
    if quantisation := getattr(found.config, "quantization_config", None):
        refuse_unknown_quantisation(record, quantisation)
    return found


def context_length(config: Any) -> int | None:
    """The maximum number of tokens, prompt and response together, for this configuration; `None` if not stated."""
    text = config.get_text_config()
    stated = next((length for name in _CONTEXTS if (length := getattr(text, name, None))), None)
    rope = getattr(text, "rope_parameters", None)
    # YaRN is often added to a configuration without changing its other fields.
    if stated and isinstance(rope, dict) and rope.get("rope_type") == "yarn":
        original = rope.get("original_max_position_embeddings") or 0
        stated = max(stated, int(original * (rope.get("factor") or 1)))
    return stated


def _refuse_incomplete(record: ModelRecord) -> None:
    """Checks that all weight files exist and have the length given in their headers."""
    if not record.path.is_dir():
        return
    index = record.path / "model.safetensors.index.json"
    named: set[str] = set()
    if index.is_file():
        try:
            named = {str(name) for name in json_of(index.read_bytes())["weight_map"].values()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"The file {index} does not say which file each weight is in.", "Download it again."
            ) from error
    files = {file.name for file in record.path.glob("*.safetensors")}
    faults = [f"{name} is missing" for name in sorted(named - files)]
    faults += [f"{name} is incomplete" for name in sorted(files) if not _is_whole(record.path / name)]
    if faults:
        raise UsageError(f"The model {record.name!r} is incomplete: {', '.join(faults)}.", "Download or copy it again.")


def _is_whole(file: Path) -> bool:
    """Whether a safetensors file has the length given in its header."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt"):
            return True
    except SafetensorError:
        return False
