"""LoRA adapters: what a name stands for, and merging one into its base."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
    """Which adapter a name stands for.

    Attributes:
        name: As the user wrote it.
        path: Its folder.
        digest: SHA-256 of its weights and its configuration.
    """

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


def named_adapters(given: Sequence[str]) -> dict[str, AdapterRecord]:
    """Finds adapters that a command names.

    Args:
        given: Each `NAME=PATH` or `PATH`. One without a name is called by the last parts of its path, as many as tell
            such adapters apart.

    Raises:
        UsageError: One is not there, or two have one name.
    """
    pairs = [_name_and_place(text) for text in given]
    short = iter(_last_parts([place for name, place in pairs if name is None]))
    names = [next(short) if name is None else name for name, _ in pairs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"Two adapters are called {twice[0]!r}.", "Give them names: --adapter NAME=PATH.")
    return {name: resolve_adapter(place) for name, (_, place) in zip(names, pairs, strict=True)}


def _name_and_place(text: str) -> tuple[str | None, str]:
    name, given, place = text.partition("=")
    return (name, place) if given and not Path(text).exists() else (None, text)


def _last_parts(places: Sequence[str]) -> list[str]:
    parts = [Path(place.removeprefix(SHIPPED_PREFIX)).expanduser().absolute().parts for place in places]
    longest = max(map(len, parts), default=0)
    shortened = (["/".join(some[-count:]) for some in parts] for count in range(1, longest + 1))
    # Where nothing tells two apart, they are one folder.
    return next((names for names in shortened if len(set(names)) == len(names)), [some[-1] for some in parts])


def merge(base: LoadedModel, adapter: AdapterRecord | Path) -> LoadedModel:
    """The base with an adapter's update added to its weights; the base is used up.

    Raises:
        UsageError: The adapter does not fit the base.
    """
    attached = attach(base, adapter if isinstance(adapter, Path) else adapter.path)
    with quiet():
        return replace(attached, model=attached.model.merge_and_unload().eval())


@contextmanager
def applied(base: LoadedModel, adapter: AdapterRecord) -> Iterator[LoadedModel]:
    """The base with an adapter's update in its weights while the block runs; then the base is what it was, bit by bit.

    Subtracting the update again would leave its rounding behind, so the weights that it changes are kept aside.

    Raises:
        UsageError: The adapter does not fit the base.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    # Before anything is attached: trained biases take the place of the base's own at once.
    named = base.model.named_parameters() if changes_biases(adapter.path) else ()
    biases = [(weight, weight.detach().clone()) for name, weight in named if name.endswith("bias")]
    wrapped = attach(base, adapter.path).model
    modules = dict(wrapped.base_model.model.named_modules())
    # What was trained whole, beside the low-rank updates; peft leaves it in place when it goes.
    whole = {
        name: module.original_module for name, module in modules.items() if isinstance(module, AuxiliaryTrainingWrapper)
    }
    layers = [module.get_base_layer() for module in modules.values() if isinstance(module, BaseTunerLayer)]
    before = [(weight, weight.detach().clone()) for layer in layers for weight in layer.parameters()]
    with quiet():
        wrapped.merge_adapter()
    try:
        yield replace(base, model=wrapped.base_model.model.eval())
    finally:
        for weight, kept in [*before, *biases]:
            weight.data = kept
        with quiet():
            wrapped.unload()
        for name, module in whole.items():
            base.model.set_submodule(name, module)


def changes_biases(folder: Path) -> bool:
    """Whether an adapter was trained with biases, which peft puts into the base's own."""
    settings = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    return bool(settings.get("bias", "none") != "none")


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
