"""LoRA adapters: what a name stands for, and merging one into its base."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kdprobe.errors import UsageError
from kdprobe.models.load import LoadedModel, quiet
from kdprobe.models.reference import digest_files

SHIPPED_PREFIX = "kdprobe:"
_WEIGHTS = "adapter_model.safetensors"
_CONFIG = "adapter_config.json"


@dataclass(frozen=True)
class AdapterRecord:
    """Which adapter a name stands for; the digest covers weights and configuration."""

    name: str
    path: Path
    digest: str

    def as_provenance(self) -> dict[str, Any]:
        """All but the local path."""
        return {"name": self.name, "digest": self.digest}


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
    return AdapterRecord(name, folder, digest_files([folder / _CONFIG, folder / _WEIGHTS]))


def merge(base: LoadedModel, adapter: AdapterRecord | Path) -> LoadedModel:
    """The base with an adapter's update added to its weights; the base is used up.

    Raises:
        UsageError: The adapter does not fit the base.
    """
    folder = adapter if isinstance(adapter, Path) else adapter.path
    attached = attach(base, folder)
    with quiet():
        return replace(attached, model=attached.model.merge_and_unload().eval())


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
