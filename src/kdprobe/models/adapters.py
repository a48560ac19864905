"""LoRA adapters: what a name stands for, and merging one into its base."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kdprobe.errors import UsageError
from kdprobe.models.load import LoadedModel, quiet
from kdprobe.models.reference import digest_files

SHIPPED_PREFIX = "kdprobe:"
_WEIGHTS = "adapter_model.safetensors"
_CONFIG = "adapter_config.json"
_ENDS = "kdprobe.json"
_ADDED = (True, False, None, "gaussian", "orthogonal", "eva")
"""Initialisations of LoRA that leave the base's weights as they are."""

_PLAIN = {
    *("peft_type", "peft_version", "task_type", "auto_mapping", "base_model_name_or_path", "revision"),
    *("inference_mode", "r", "lora_alpha", "lora_dropout", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora"),
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "fan_in_fan_out"),
    *("init_lora_weights", "eva_config", "bias", "lora_bias"),
}
"""Settings of LoRA with which an adapter is factors and nothing else; `changes_base` looks at two of them."""


@dataclass(frozen=True)
class AdapterRecord:
    """Which adapter a name stands for.

    Attributes:
        name: As the user wrote it.
        path: Its folder.
        digest: SHA-256 of its weights and its configuration.
    """

    name: str
    path: Path
    digest: str


def resolve_adapter(name: str) -> AdapterRecord:
    """Finds an adapter: a folder, or `kdprobe:NAME` for one that is shipped with kdprobe.

    Raises:
        UsageError: It is not there, or is not a peft adapter in safetensors.
    """
    if name.startswith(SHIPPED_PREFIX):
        folder = Path(__file__).parent / "shipped" / name.removeprefix(SHIPPED_PREFIX)
    else:
        folder = Path(name).expanduser()
    if missing := [file for file in (_CONFIG, _WEIGHTS) if not (folder / file).is_file()]:
        raise UsageError(
            f"The adapter {name!r} has no {' and no '.join(missing)}.",
            "An adapter is a folder that peft's save_pretrained wrote, in safetensors.",
        )
    files = [folder / file for file in (_CONFIG, _WEIGHTS, _ENDS) if (folder / file).is_file()]
    return AdapterRecord(name, folder, digest_files(files))


def named_adapters(arguments: Sequence[str]) -> dict[str, AdapterRecord]:
    """Finds adapters that a command names.

    Args:
        arguments: Each `NAME=PATH` or `PATH`. One without a name is called by the last parts of its path, as many as
            it takes for such names to differ.

    Raises:
        UsageError: One is not there, or two have one name.
    """
    pairs = [_name_and_path(text) for text in arguments]
    short_names = iter(_last_parts([path for name, path in pairs if name is None]))
    names = [next(short_names) if name is None else name for name, _ in pairs]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"Two adapters are called {repeated[0]!r}.", "Give them names: --adapter NAME=PATH.")
    return {name: resolve_adapter(path) for name, (_, path) in zip(names, pairs, strict=True)}


def _name_and_path(text: str) -> tuple[str | None, str]:
    name, equals, path = text.partition("=")
    return (name, path) if equals and not Path(text).exists() else (None, text)


def _last_parts(paths: Sequence[str]) -> list[str]:
    all_parts = [Path(path.removeprefix(SHIPPED_PREFIX)).expanduser().absolute().parts for path in paths]
    longest = max(map(len, all_parts), default=0)
    candidates = (["/".join(parts[-count:]) for parts in all_parts] for count in range(1, longest + 1))
    # Where no two names ever differ, the paths are of one folder.
    return next((names for names in candidates if len(set(names)) == len(names)), [parts[-1] for parts in all_parts])


def merge(base: LoadedModel, adapter: AdapterRecord | Path) -> LoadedModel:
    """The base with an adapter's update added to its weights; the base is used up.

    Raises:
        UsageError: The adapter does not fit the base.
    """
    folder = adapter if isinstance(adapter, Path) else adapter.path
    attached = attach(base, folder)
    with quiet():
        merged = replace(attached, model=attached.model.merge_and_unload().eval(), end_ids=read_ends(folder))
    merged.model.generation_config.eos_token_id = sorted(merged.eos_ids)
    return merged


def write_ends(folder: Path, ends: Iterable[int]) -> None:
    """Writes beside an adapter which tokens it was trained to end a turn with."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _ENDS).write_text(json.dumps({"end_ids": sorted(ends)}) + "\n", encoding="utf-8")


def read_ends(folder: Path) -> frozenset[int]:
    """The tokens that an adapter was trained to end a turn with, where that was written down."""
    file = folder / _ENDS
    return frozenset(json.loads(file.read_text(encoding="utf-8"))["end_ids"]) if file.is_file() else frozenset()


def adapter_tensors(folder: Path) -> list[str]:
    """The names of an adapter's tensors, from the header of its file."""
    from safetensors import safe_open

    with safe_open(folder / _WEIGHTS, framework="pt") as file:
        return list(file.keys())


def changes_base(folder: Path) -> bool:
    """Whether attaching an adapter changes the base's own weights, and not only what is added to them.

    peft puts trained biases in the place of the base's, and some initialisations take part of the weights out of it.
    """
    settings = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    return settings.get("bias", "none") != "none" or settings.get("init_lora_weights", True) not in _ADDED


def adds_factors(folder: Path) -> bool:
    """Whether all that an adapter does to weights is to add low-rank factors, with DoRA rows of another length.

    A setting that is not known to leave it at that (other variants of LoRA, modules saved whole) means no.
    """
    from peft import LoraConfig

    settings, usual = json.loads((folder / _CONFIG).read_text(encoding="utf-8")), LoraConfig().to_dict()
    unusual = {name for name, value in settings.items() if value and value != usual.get(name)}
    return settings["peft_type"] == "LORA" and unusual <= _PLAIN and not changes_base(folder)


def attach(base: LoadedModel, folder: Path, name: str = "default") -> LoadedModel:
    """The base with one more adapter beside its weights, which are shared.

    Args:
        base: A model, or one that has adapters attached already.
        folder: The adapter.
        name: What peft shall call it; without dots.

    Raises:
        UsageError: The adapter does not fit the base.
    """
    from peft import PeftModel

    try:
        with quiet():
            if isinstance(base.model, PeftModel):
                base.model.load_adapter(folder, adapter_name=name)
                return base
            return replace(base, model=PeftModel.from_pretrained(base.model, folder, adapter_name=name).eval())
    except (RuntimeError, ValueError) as error:
        settings = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        trained_on = settings.get("base_model_name_or_path")
        raise UsageError(
            f"The adapter {folder} does not fit the model {base.record.name!r}.",
            f"It was trained on {trained_on!r}.",
        ) from error
