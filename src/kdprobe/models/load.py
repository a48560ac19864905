"""Loading a model and its tokenizer, never from pickles and never with remote code."""

from __future__ import annotations

import logging
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from filelock import FileLock

from kdprobe.console import note
from kdprobe.errors import KdprobeError, UsageError
from kdprobe.models import processes
from kdprobe.models.cache import cache_folder
from kdprobe.models.conversation import bind
from kdprobe.models.reference import Dtype, ModelRecord
from kdprobe.models.turn import assistant_turn


@dataclass(frozen=True)
class LoadedModel:
    """A model ready for use.

    Attributes:
        model: A Hugging Face causal language model (perhaps wrapped by peft), in evaluation mode.
        tokenizer: Its tokenizer, with a padding token.
        record: Which weights these are.
        dtype: The data type of its weights.
        end_ids: Tokens that its adapter was trained to end a turn with, besides the model's own.
    """

    model: Any
    tokenizer: Any
    record: ModelRecord
    dtype: Dtype
    end_ids: frozenset[int] = frozenset()

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = next(self.model.parameters()).device
        return device

    @cached_property
    def eos_ids(self) -> frozenset[int]:
        """The token ids that end a response: as the model, its tokenizer, its template or its training have it.

        Asked for every token that is written, so it is found out once.
        """
        declared = self.model.generation_config.eos_token_id
        ids = declared if isinstance(declared, list) else [declared]
        ends = (*ids, self.tokenizer.eos_token_id, assistant_turn(self.tokenizer).end, *self.end_ids)
        return frozenset(id_ for id_ in ends if id_ is not None)


def default_device() -> str:
    """`cuda` where there is one (of several processes, each has its own), else `cpu`."""
    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if processes.count() > 1 else "cuda"


def concrete_dtype(dtype: Dtype, device: str) -> Dtype:
    """The data type that `auto` stands for: bfloat16 on an accelerator, float32 on a CPU."""
    if dtype != "auto":
        return dtype
    return "float32" if device.startswith("cpu") else "bfloat16"


def load(
    record: ModelRecord,
    *,
    dtype: Dtype = "auto",
    device: str | None = None,
    attention: Literal["eager"] | None = None,
) -> LoadedModel:
    """Loads a model and its tokenizer.

    Args:
        record: Which weights, from `resolve`.
        dtype: Data type of the weights; `auto` as in `concrete_dtype`.
        device: Where to, by default `default_device()`.
        attention: `eager` where attention patterns are wanted; by default what transformers chooses for the
            architecture. Not every one has PyTorch's fused attention.

    Raises:
        KdprobeError: It cannot be loaded.
    """
    from transformers import AutoModelForCausalLM

    device = device or default_device()
    dtype_name = concrete_dtype(dtype, device)
    tokenizer = load_tokenizer(record)
    folder = _converted(record)
    try:
        with quiet():
            model = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=getattr(torch, dtype_name),
                attn_implementation=attention,
                use_safetensors=True,
                trust_remote_code=False,
            )
    except (OSError, ValueError, ImportError) as error:
        raise KdprobeError(
            f"The model {record.name!r} cannot be loaded: {str(error).strip().splitlines()[0]}",
            "Check that the folder is complete.",
        ) from error
    if record.quantisation is None or record.path.suffix == ".gguf":
        model = model.to(device)
    return LoadedModel(model.eval(), tokenizer, record, dtype_name)


def load_tokenizer(record: ModelRecord) -> Any:
    """The tokenizer alone, with a padding token; its chat template renders as the record's conversation says.

    Raises:
        KdprobeError: The model's folder has none that can be loaded, or it has no chat template to tell what the
            conversation says.
    """
    from transformers import AutoTokenizer

    folder = _converted(record)
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        raise KdprobeError(
            f"The tokenizer of the model {record.name!r} cannot be loaded.",
            "A model folder needs tokenizer.json and tokenizer_config.json.",
        ) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return bind(tokenizer, record.conversation)


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps the progress bars and chatter of the libraries off the screen while the block runs."""
    from transformers.utils import logging as chatter

    had_bar = chatter.is_progress_bar_enabled()
    level = chatter.get_verbosity()
    chatter.disable_progress_bar()
    chatter.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        chatter.set_verbosity(level)
        if had_bar:
            chatter.enable_progress_bar()


def _converted(record: ModelRecord) -> Path:
    """The folder to load from: the record's own, or a GGUF file's weights, converted once per digest."""
    if record.path.suffix != ".gguf":
        return record.path
    models = cache_folder() / "models"
    models.mkdir(exist_ok=True)
    folder = models / f"{record.path.stem}-{record.digest[:16]}"
    if folder.is_dir():
        return folder
    with FileLock(models / f"{folder.name}.lock"):
        if folder.is_dir():
            return folder
        note(f"Converting {record.path.name} once into {folder}")
        partial = models / f"{folder.name}.partial-{os.getpid()}"
        shutil.rmtree(partial, ignore_errors=True)
        _convert(record.path, partial)
        partial.rename(folder)
    return folder


def _convert(file: Path, folder: Path) -> None:
    if not importable("gguf"):
        raise UsageError(
            "Reading GGUF files needs the package gguf.", "Install it with: pip install 'kdprobe[embedded]'"
        )
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, trust_remote_code=False)
        # Without `dequantize` the weights stay packed and cannot be saved.
        model = AutoModelForCausalLM.from_pretrained(
            file.parent,
            gguf_file=file.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32,
            trust_remote_code=False,
        )
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def importable(package: str) -> bool:
    """Whether a package is installed, without importing it."""
    import importlib.util

    return importlib.util.find_spec(package) is not None
