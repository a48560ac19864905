"""A model without its weights: its configuration, and its modules on the meta device, where tensors have no content."""

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
"""What configurations call the longest sequence that a model was made for."""


@dataclass(frozen=True)
class Blueprint:
    """What is known of a model from its files.

    Attributes:
        record: Which model.
        config: Its configuration.
    """

    record: ModelRecord
    config: Any

    @property
    def kind(self) -> str:
        """The architecture, as transformers calls it."""
        return str(self.config.model_type)

    @property
    def context(self) -> int | None:
        """The most tokens that it reads and writes together, or `None` where it says none."""
        return context_length(self.config)

    @property
    def rows(self) -> int:
        """Rows of its output matrix; there may be more of them than token ids, or fewer."""
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
                f"The model {self.record.name!r} ({self.kind}) is not a causal language model that transformers knows.",
                "Choose another model; code that a model brings along is never run.",
            ) from error
        except Exception as error:
            # Sizes of wrong types, or that contradict each other.
            raise UsageError(
                f"No model can be built from the configuration of {self.record.name!r}: {first_line(error)}",
                "Its config.json is damaged.",
            ) from error


def blueprint(record: ModelRecord) -> Blueprint:
    """Reads a model's configuration, and asks transformers whether it can load such a model here.

    Raises:
        UsageError: The configuration cannot be read, its architecture is unknown, a file of weights is missing or
            incomplete, or the package is missing that quantised weights need.
    """
    found = Blueprint(record, load_config(record))
    _refuse_incomplete(record)
    if quantisation := getattr(found.config, "quantization_config", None):
        refuse_unknown_quantisation(record, quantisation)
    return found


def context_length(config: Any) -> int | None:
    """The most tokens that a model of this configuration reads and writes together, or `None` where it says none."""
    text = config.get_text_config()
    stated = next((length for name in _CONTEXTS if (length := getattr(text, name, None))), None)
    rope = getattr(text, "rope_parameters", None)
    # YaRN is often added to a configuration whose other fields stay as they were.
    if stated and isinstance(rope, dict) and rope.get("rope_type") == "yarn":
        original = rope.get("original_max_position_embeddings") or 0
        stated = max(stated, int(original * (rope.get("factor") or 1)))
    return stated


def _refuse_incomplete(record: ModelRecord) -> None:
    """Looks for all files of weights, each as long as its own header says."""
    if not record.path.is_dir():
        return
    index = record.path / "model.safetensors.index.json"
    named: set[str] = set()
    if index.is_file():
        try:
            named = {str(name) for name in json_of(index.read_bytes())["weight_map"].values()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"The file {index} does not say which file a weight is in.", "Fetch it again.") from error
    files = {file.name for file in record.path.glob("*.safetensors")}
    faults = [f"{name} is missing" for name in sorted(named - files)]
    faults += [f"{name} is incomplete" for name in sorted(files) if not _is_whole(record.path / name)]
    if faults:
        raise UsageError(f"The model {record.name!r} is not whole: {', '.join(faults)}.", "Fetch or copy it again.")


def _is_whole(file: Path) -> bool:
    """Whether a file of safetensors is as long as its header says."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt"):
            return True
    except SafetensorError:
        return False
