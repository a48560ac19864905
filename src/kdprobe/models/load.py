"""Loads a model and its tokenizer, never from pickles and never with remote code.

torch is imported inside functions, because loading only a tokenizer or a configuration does not require it.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock

from kdprobe.console import note
from kdprobe.errors import KdprobeError, UsageError, first_line
from kdprobe.models.cache import cache_folder
from kdprobe.models.chatter import quiet
from kdprobe.models.conversation import bind
from kdprobe.models.installed import importable
from kdprobe.models.outline.device import concrete_dtype, default_device
from kdprobe.models.reference import Dtype, ModelRecord
from kdprobe.models.turn import end_ids

if TYPE_CHECKING:
    import torch

    from kdprobe.models.adapters import AdapterRecord


@dataclass(frozen=True)
class LoadedModel:
    """A model ready for use.

    Attributes:
        model: A Hugging Face causal language model (possibly wrapped by PEFT), in evaluation mode.
        tokenizer: Its tokenizer, with a padding token.
        record: Which weights these are.
        dtype: The data type of its weights.
        end_ids: Tokens its adapter was trained to end a turn with, besides the model's own.
    """

    model: Any
    tokenizer: Any
    record: ModelRecord
    dtype: Dtype
    end_ids: frozenset[int] = frozenset()

    @property
    def device(self) -> torch.device:
        """The device that the model's inputs go to."""
        from kdprobe.models.devices.spread import input_device

        return input_device(self.model)

    @cached_property
    def eos_ids(self) -> frozenset[int]:
        """The token ids that end a response, according to the model, its tokenizer, its template or its training.

        Cached because it is needed for every generated token.
        """
        return end_ids(self.tokenizer, self.model.generation_config.eos_token_id, self.end_ids)


def load(
    record: ModelRecord,
    *,
    dtype: Dtype = "auto",
    device: str | None = None,
    attention: Literal["eager"] | None = None,
) -> LoadedModel:
    """Loads a model and its tokenizer.

    Args:
        record: The weights, from `resolve`.
        dtype: Data type of the weights; `auto` as in `concrete_dtype`.
        device: Target device; by default that of the record's placement, or else `default_device()`.
        attention: `eager` if attention patterns are needed; by default transformers chooses for the architecture,
            because not every architecture supports PyTorch's fused attention. Models that cap attention scores, such
            as Gemma 2, are always eager.

    Raises:
        KdprobeError: It cannot be loaded, or not completely.
    """
    import torch

    from kdprobe.models.devices.spread import placed, placing
    from kdprobe.models.forward.quantised import arguments_on_load, import_bitsandbytes, settle
    from kdprobe.models.weights import complete_model, refuse_unknown_quantisation

    placement, device = (None if device else record.placement), device or default_device()
    dtype_name = concrete_dtype(dtype, device)
    import_bitsandbytes()
    tokenizer = load_tokenizer(record)
    config = load_config(record)
    if record.is_packed and not record.quantised_on_load:
        # transformers only warns about an unknown quantisation, and loads the weights as if they were not quantised.
        refuse_unknown_quantisation(record, config.quantization_config)
    if getattr(config.get_text_config(), "attn_logit_softcapping", None) is not None:
        # PyTorch's fused attention has no soft cap; some versions of transformers use it all the same, without a word.
        attention = "eager"
    settings = {"dtype": getattr(torch, dtype_name), "attn_implementation": attention} | placing(record, placement)
    if record.quantised_on_load:
        settings |= arguments_on_load(record, device)
    model = complete_model(record, model_folder(record), **settings, use_safetensors=True)
    # Padding is masked, so any token that has a row in the model will do.
    if (tokenizer.pad_token_id or 0) >= model.get_input_embeddings().weight.shape[0]:
        tokenizer.pad_token = tokenizer.eos_token
    if record.is_packed:
        settle(record, model, getattr(torch, dtype_name))
    return LoadedModel(placed(model, record, placement, device).eval(), tokenizer, record, dtype_name)


def load_tokenizer(record: ModelRecord) -> Any:
    """The tokenizer alone, with a padding token; its chat template renders according to the record's conversation.

    Raises:
        KdprobeError: The model's folder has no tokenizer that can be loaded, or it has no chat template although the
            conversation has settings for one.
    """
    from transformers import AutoTokenizer

    folder = model_folder(record)
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        # Missing, damaged, unknown, or with values of the wrong types: three libraries have a class for each.
        raise KdprobeError(
            f"Cannot load the tokenizer of the model {record.name!r}: {first_line(error)}",
            "A model folder needs tokenizer.json and tokenizer_config.json.",
        ) from error
    if not isinstance(tokenizer.model_max_length, int | float):
        raise KdprobeError(
            f"The tokenizer of the model {record.name!r} sets model_max_length to {tokenizer.model_max_length!r}.",
            "Its tokenizer_config.json is damaged; download it again.",
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return bind(tokenizer, record.conversation)


def load_config(record: ModelRecord) -> Any:
    """The configuration alone.

    Raises:
        UsageError: It cannot be read, or transformers does not know the architecture.
    """
    from transformers import AutoConfig

    try:
        with quiet():
            return AutoConfig.from_pretrained(model_folder(record), trust_remote_code=False)
    except KdprobeError:
        raise
    except Exception as error:
        # Missing, unreadable, unknown, or with values that contradict each other: two libraries have a class for each.
        reason = " ".join(str(error).split("\n")[:2]).strip()
        raise UsageError(
            f"Cannot use the configuration of the model {record.name!r}: {reason}",
            "Its config.json must be complete and name an architecture that transformers itself supports.",
        ) from error


def declared_end_ids(record: ModelRecord, tokenizer: Any, adapter: AdapterRecord | None = None) -> frozenset[int]:
    """The token ids that end a response, as `LoadedModel.eos_ids`, without loading any weights.

    Args:
        record: The model.
        tokenizer: Its tokenizer.
        adapter: Its adapter, which may have been trained to end a turn with further tokens.

    Raises:
        UsageError: The model's configuration, or the adapter's list of tokens, cannot be read.
    """
    from transformers import GenerationConfig

    from kdprobe.models.merging.files import read_ends

    folder = model_folder(record)
    if (folder / "generation_config.json").is_file():
        with quiet():
            config = GenerationConfig.from_pretrained(folder)
    else:
        config = GenerationConfig.from_model_config(load_config(record))
    return end_ids(tokenizer, config.eos_token_id, read_ends(adapter.path) if adapter else ())


def model_folder(record: ModelRecord) -> Path:
    """The folder to load from: the record's own, or that of a GGUF file's weights, converted once per digest."""
    if record.path.suffix != ".gguf":
        return record.path
    folder = _converted(record)
    if folder.is_dir():
        return folder
    models = folder.parent
    models.mkdir(exist_ok=True)
    with FileLock(models / f"{folder.name}.lock"):
        if folder.is_dir():
            return folder
        note(f"Converting {record.path.name} (once) to {folder}")
        partial = models / f"{folder.name}.partial-{os.getpid()}"
        shutil.rmtree(partial, ignore_errors=True)
        _convert(record, partial)
        partial.rename(folder)
    return folder


def needs_conversion(record: ModelRecord) -> bool:
    """Whether `model_folder` would have to convert a GGUF file."""
    return record.path.suffix == ".gguf" and not _converted(record).is_dir()


def _converted(record: ModelRecord) -> Path:
    """The folder of a GGUF file's converted weights, which need not exist."""
    return cache_folder() / "models" / f"{record.path.stem}-{record.digest[:16]}"


def _convert(record: ModelRecord, folder: Path) -> None:
    file = record.path
    if not importable("gguf"):
        raise UsageError(
            "Reading GGUF files needs the package gguf.", "Install it with: pip install 'kdprobe[embedded]'"
        )
    import torch
    from transformers import AutoTokenizer, GgufConfig

    from kdprobe.models.weights import complete_model

    with quiet():
        try:
            tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, trust_remote_code=False)
        except Exception as error:
            # transformers and gguf report faults in a header with many classes.
            raise UsageError(
                f"Cannot read the GGUF file {file}: {first_line(error)}",
                "It is damaged, or its architecture is not supported.",
            ) from error
        # Without `dequantize` the weights stay packed and cannot be saved.
        model = complete_model(
            record,
            file.parent,
            gguf_file=file.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32,
        )
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
