"""Reads an adapter's folder: its configuration, its tensors, and the end tokens it was trained on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdprobe.errors import UsageError, first_line
from kdprobe.files import json_of, write_json

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import Tensor

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
_SETS = ("target_modules", "exclude_modules")
"""Keys of sets."""
ENDS = "kdprobe.json"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
PREFIX = "base_model.model."
"""Precedes the names of modules in PEFT's files."""

_ADDED = (True, False, None, "gaussian", "orthogonal", "eva")
"""Initialisations of LoRA that leave the base's weights unchanged."""
_OF_EVERY_LORA = {
    "alpha_pattern", "auto_mapping", "base_model_name_or_path", "eva_config", "exclude_modules", "fan_in_fan_out",
    "inference_mode", "init_lora_weights", "layers_pattern", "layers_to_transform", "lora_alpha", "lora_bias",
    "lora_dropout", "peft_type", "peft_version", "r", "rank_pattern", "revision", "runtime_config", "target_modules",
    "task_type", "use_dora", "use_rslora",
}  # fmt: skip
"""Settings of a LoRA that only adds to the outputs of linear layers; any other setting makes it a different kind of
adapter."""
_TYPES = {
    "ADALORA": "AdaLoRA", "DELORA": "DeLoRA", "FOURIERFT": "FourierFT", "GRALORA": "GraLoRA", "HIRA": "HiRA",
    "LN_TUNING": "LN Tuning", "LOHA": "LoHa", "LOKR": "LoKr", "LORA": "LoRA", "MISS": "MiSS", "RANDLORA": "RandLora",
    "ROAD": "RoAd", "SHIRA": "SHiRA", "VBLORA": "VB-LoRA", "VERA": "VeRA", "WAVEFT": "WaveFT", "XLORA": "X-LoRA",
}  # fmt: skip
"""How PEFT's documentation writes the types of adapters, where that is not their `peft_type`."""
_VARIANTS = {
    "arrow_config": "Arrow", "kasa_config": "KaSA", "monteclora_config": "MonteCLoRA", "use_bdlora": "BD-LoRA",
    "use_dora": "DoRA", "use_qalora": "QALoRA", "use_rslora": "rsLoRA", "velora_config": "VeLoRA",
}  # fmt: skip
"""Settings that make another method of LoRA."""
_AGAIN = "Download or copy the adapter again."
_DRAWN = "pissa_niter_"
"""Prefix of the initialisations that take a random part of the weights out of the base."""


def adapter_config(folder: Path) -> PeftConfig:
    """An adapter's configuration, if the adapter can be merged.

    Raises:
        UsageError: It is damaged, of a kind or version unknown to PEFT, or of a kind that cannot be merged.
    """
    from peft import PeftConfig, __version__
    from peft.config import PromptLearningConfig
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    from kdprobe.models.chatter import quiet

    settings = _settings(folder)
    name = settings.get("peft_type")
    kind = PEFT_TYPE_TO_CONFIG_MAPPING.get(name) if isinstance(name, str) else None
    if kind is None:
        raise UsageError(
            f"The adapter {folder} has type {name!r}, which PEFT {__version__} does not support.", "Upgrade peft."
        )
    known = {field.name for field in fields(kind)} | {"runtime_config"}
    if unknown := sorted(key for key, value in settings.items() if key not in known and value):
        raise UsageError(
            f"The adapter {folder} sets {unknown[0]!r}, which PEFT {__version__} does not support for {name}.",
            "The setting would be ignored; use the version of PEFT that wrote the adapter.",
        )
    if issubclass(kind, PromptLearningConfig):
        raise UsageError(
            f"The adapter {folder} has type {name}, whose virtual tokens cannot be merged into weights.",
            "kdprobe merges adapters into the base model; use one that can be merged, such as a plain LoRA.",
        )
    if not isinstance(settings.get("base_model_name_or_path"), str | None):
        raise UsageError(f"The adapter {folder} does not name its base model.", _AGAIN)
    if settings.get("alora_invocation_tokens"):
        raise UsageError(
            f"The adapter {folder} is an activated LoRA, which acts only after certain tokens and cannot be merged.",
            "kdprobe merges adapters into the base model; use one that can be merged, such as a plain LoRA.",
        )
    if str(settings.get("init_lora_weights")).startswith(_DRAWN):
        raise UsageError(
            f"The adapter {folder} was initialised with {settings['init_lora_weights']!r}, which removes a random "
            "part from the base's weights; that part cannot be reconstructed.",
            "Save it as a plain LoRA: save_pretrained(..., path_initial_model_for_weight_conversion=...).",
        )
    try:
        with quiet():
            return PeftConfig.from_pretrained(folder)
    except Exception as error:
        # The file may contain values of any kind, and every class of PEFT validates its own.
        raise UsageError(f"The configuration of the adapter {folder} is invalid: {first_line(error)}") from error


def adapter_methods(folder: Path) -> tuple[str, ...]:
    """How an adapter changes its base: `LoRA`, or another method such as `IA3`, or the variants of LoRA that it uses.

    Raises:
        UsageError: Its configuration is damaged.
    """
    settings = _settings(folder)
    name = str(settings.get("peft_type"))
    variants = [variant for key, variant in _VARIANTS.items() if settings.get(key)] if name == "LORA" else []
    return tuple(variants) or (_TYPES.get(name, name),)


def adapter_tensors(folder: Path) -> dict[str, Tensor]:
    """An adapter's tensors.

    Raises:
        UsageError: The file is damaged, or contains NaN or infinite numbers.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from kdprobe.models.weights import not_finite

    try:
        tensors: dict[str, Tensor] = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"Cannot read the weights of the adapter {folder}: {first_line(error)}", _AGAIN) from error
    if broken := not_finite(tensors.items()):
        raise UsageError(
            f"The adapter {folder} has NaN or infinite numbers in {broken}.", "Its training failed; train it again."
        )
    return tensors


def brings_tokenizer(folder: Path) -> bool:
    """Whether an adapter's folder contains a tokenizer."""
    return any((folder / file).is_file() for file in TOKENIZER)


def lies_beside(folder: Path) -> bool:
    """Whether an adapter only adds to the outputs of layers, so that several can be attached to one base.

    Other kinds replace the base's weights, take a part out of them, or change them.
    """
    from peft import LoraConfig

    config = adapter_config(folder)
    return (
        type(config) is LoraConfig
        and config.init_lora_weights in _ADDED
        and all(_is_default(config, field) for field in fields(config) if field.name not in _OF_EVERY_LORA)
        and all(".lora_" in name for name in adapter_tensors(folder))
    )


def write_base(folder: Path, name: str) -> None:
    """Replaces the base model's name in an adapter's configuration, which may be a local path.

    Modules are put in order: PEFT writes them as they are in a set, in every process differently.
    """
    file = folder / CONFIG
    config = json_of(file.read_bytes())
    ordered = {key: sorted(config[key]) for key in _SETS if isinstance(config.get(key), list)}
    write_json(file, config | ordered | {"base_model_name_or_path": name})


def write_ends(folder: Path, ends: Iterable[int]) -> None:
    """Records next to an adapter which tokens it was trained to end a turn with."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ENDS).write_text(json.dumps({"end_ids": sorted(ends)}) + "\n", encoding="utf-8")


def read_ends(folder: Path) -> frozenset[int]:
    """The tokens an adapter was trained to end a turn with, if that was recorded.

    Raises:
        UsageError: The file is damaged.
    """
    file = folder / ENDS
    if not file.is_file():
        return frozenset()
    try:
        ends = json_of(file.read_bytes())["end_ids"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(f"The file {file} does not say which tokens end a turn.", _AGAIN) from error
    if not isinstance(ends, list) or not all(type(id_) is int for id_ in ends):
        raise UsageError(f"In the file {file}, end_ids is not a list of token ids.", _AGAIN)
    return frozenset(ends)


def _settings(folder: Path) -> dict[str, Any]:
    try:
        settings = json_of((folder / CONFIG).read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(f"The file {folder / CONFIG} is not valid JSON.") from error
    if not isinstance(settings, dict):
        raise UsageError(f"The file {folder / CONFIG} is not a JSON object.")
    return settings


def _is_default(config: Any, field: Field[Any]) -> bool:
    default = field.default if field.default_factory is MISSING else field.default_factory()
    return bool(getattr(config, field.name) == default)
