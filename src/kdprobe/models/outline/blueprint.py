"""A model without its weights: its configuration, and the names of its modules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

from kdprobe.errors import KdprobeError, UsageError, first_line
from kdprobe.files import json_of, sha256
from kdprobe.models.load import model_folder
from kdprobe.models.outline.fork import UnansweredError
from kdprobe.models.outline.helpers import Helpers
from kdprobe.models.outline.memory import Memory
from kdprobe.models.outline.weight_files import refuse_incomplete_files
from kdprobe.models.reference import ModelRecord

_CONTEXTS = ("max_position_embeddings", "n_positions", "n_ctx")
"""Names that configurations use for the longest sequence a model was made for."""
_DTYPES = {None, "float64", "float32", "float16", "bfloat16"}
_MODULES = "modules"


@dataclass(frozen=True)
class Modules:
    """The modules of a model, by name.

    Attributes:
        linear: Those that PEFT can adapt.
        attention: The linear projections of attention, as target modules for PEFT.
        headless: Why heads cannot be examined, and what to do; `None` if they can.
        recomputable: Whether transformers implements gradient checkpointing for them.
    """

    linear: tuple[str, ...]
    attention: tuple[str, ...]
    headless: tuple[str, str] | None
    recomputable: bool


@dataclass(frozen=True)
class Blueprint:
    """What a model's files reveal about it.

    Attributes:
        record: The model.
        kind: The architecture's name in transformers.
        context: The maximum number of tokens, prompt and response together; `None` if not stated.
        rows: Number of rows of its output matrix, which may be larger or smaller than the number of token ids.
    """

    record: ModelRecord
    kind: str
    context: int | None
    rows: int


def blueprint(record: ModelRecord, memory: Memory, helpers: Helpers | None = None) -> Blueprint:
    """Reads a model's configuration, and checks that transformers can load such a model here.

    Args:
        record: The model.
        memory: Remembers what a configuration says.
        helpers: Where the configuration is read; by default in this process.

    Raises:
        UsageError: The configuration cannot be read, its architecture is unknown, a weight file is missing or
            incomplete, or the package needed for quantised weights is missing.
    """
    found = memory.general.recall("configuration", configuration_key(record), lambda: _asked(record, helpers))
    refuse_incomplete_files(record)
    if record.is_packed and not record.quantised_on_load:
        from kdprobe.models.load import load_config
        from kdprobe.models.weights import refuse_unknown_quantisation

        refuse_unknown_quantisation(record, load_config(record).quantization_config)
    return Blueprint(record, found["kind"], found["context"], found["rows"])


def modules(record: ModelRecord, memory: Memory, helpers: Helpers | None = None) -> Modules:
    """The modules that transformers builds for a model; raises like `empty_model`.

    Args:
        record: The model.
        memory: Remembers the modules of a configuration.
        helpers: Where the modules are listed; by default in this process.
    """
    found = memory.general.recall(_MODULES, configuration_key(record), lambda: _listed(record, helpers))
    headless = found["headless"]
    return Modules(
        tuple(found["linear"]), tuple(found["attention"]), tuple(headless) if headless else None, found["recomputable"]
    )


def are_known(record: ModelRecord, memory: Memory) -> bool:
    """Whether a model's modules are remembered."""
    return memory.general.knows(_MODULES, configuration_key(record))


def empty_model(record: ModelRecord) -> Any:
    """A model's modules, on the meta device.

    Raises:
        UsageError: transformers has no causal language model of this architecture.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from kdprobe.models.chatter import quiet
    from kdprobe.models.load import load_config

    config = load_config(record)
    try:
        with quiet(), torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except (ValueError, ImportError) as error:
        raise UsageError(
            f"The model {record.name!r} ({config.model_type}) is not a causal language model supported by "
            "transformers.",
            "Choose another model; kdprobe never runs code shipped with a model.",
        ) from error
    except Exception as error:
        # Sizes that have the wrong type or contradict each other.
        raise UsageError(
            f"Cannot build a model from the configuration of {record.name!r}: {first_line(error)}",
            "Its config.json is damaged; download it again.",
        ) from error


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


def configuration_key(record: ModelRecord) -> dict[str, str]:
    """What determines a model's modules."""
    # A GGUF file contains its configuration, so its digest covers both.
    return {"config": sha256(record.path / "config.json") if record.path.is_dir() else record.digest}


def _asked(record: ModelRecord, helpers: Helpers | None) -> dict[str, Any]:
    """What `_read` returns, without importing torch here if possible."""
    if helpers:
        model_folder(record)
        helpers.without_torch.start()
        with suppress(UnansweredError):
            return helpers.without_torch.ask(_read_without_torch, record)
    return _read(record)


def _read_without_torch(record: ModelRecord) -> dict[str, Any]:
    """What `_read` returns, in a process in which transformers does not find torch.

    Raises:
        ValueError: With torch, it might be refused.
    """
    config = json_of((model_folder(record) / "config.json").read_bytes())
    # With torch, transformers looks up data types in it: all that depends on torch in a configuration.
    if not _DTYPES.issuperset(_dtypes(config)):
        raise ValueError("unusual data type")
    return _read(record)


def _dtypes(config: Any) -> Iterator[Any]:
    """The data types in a configuration, or in one inside it."""
    if isinstance(config, list):
        yield from chain.from_iterable(map(_dtypes, config))
    elif isinstance(config, dict):
        yield from (value for name, value in config.items() if name in {"dtype", "torch_dtype"})
        yield from chain.from_iterable(map(_dtypes, config.values()))


def _listed(record: ModelRecord, helpers: Helpers | None) -> dict[str, Any]:
    """What `_named` returns."""
    if helpers is None:
        return _named(record)
    model_folder(record)
    return helpers.with_torch.call(_named, record)


def _read(record: ModelRecord) -> dict[str, Any]:
    from kdprobe.models.load import load_config

    config = load_config(record)
    try:
        rows = int(getattr(config.get_text_config(), "vocab_size", 0))
        return {"kind": str(config.model_type), "context": context_length(config), "rows": rows}
    except (AttributeError, TypeError, ValueError) as error:
        raise UsageError(
            f"Cannot use the configuration of the model {record.name!r}: {first_line(error)}",
            "Its config.json is damaged; download it again.",
        ) from error


def _named(record: ModelRecord) -> dict[str, Any]:
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    from kdprobe.models.anatomy import anatomy
    from kdprobe.models.outline.attention_projections import attention_projections

    model = empty_model(record)
    headless = None
    try:
        anatomy(model)
    except KdprobeError as error:
        headless = [error.message, error.hint]
    kinds = nn.Linear | Conv1D | nn.Embedding
    linear = [name for name, module in model.named_modules() if isinstance(module, kinds)]
    return {
        "linear": linear,
        "attention": attention_projections(model),
        "headless": headless,
        "recomputable": bool(model.supports_gradient_checkpointing),
    }
