"""Attaching adapters to a base and merging one into it: as a whole, or not at all.

What a base with an adapter of some configuration looks like is found out first on the base's modules without their
weights, so that an adapter that does not fit has changed nothing. A merged student is compared with base and adapter
side by side before anything is made of it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdprobe.console import note
from kdprobe.errors import UsageError, first_line
from kdprobe.models.adapter_files import adapter_config, adapter_tensors, read_ends
from kdprobe.models.adapters import AdapterRecord
from kdprobe.models.conversation import prompt_ids
from kdprobe.models.load import LoadedModel, count_of
from kdprobe.models.quiet import quiet
from kdprobe.models.reference import Dtype, short_name
from kdprobe.models.weights import own_weights, without_weights

_PREFIX = "base_model.model."
"""Before the names of modules in peft's files."""
_QUESTION = "Tom has 3 apples and buys 4 more. How many apples has he?"
_SPREAD = 32
"""So many token ids, from all over the vocabulary, are read besides the question."""
_ALLOWED: dict[Dtype, float] = {"float32": 1e-4, "float16": 0.02, "bfloat16": 0.15}
"""By how much merging may change logits, relative to them (root mean square): many times the rounding of each type."""


def attach(base: LoadedModel, adapters: Mapping[str, Path]) -> LoadedModel:
    """The base with adapters beside its weights, which are shared.

    Args:
        base: A model; its modules are used up.
        adapters: What peft shall call them, without dots, to their folders; of several each must lie beside weights.

    Raises:
        UsageError: An adapter does not fit the base as a whole.
    """
    for folder in adapters.values():
        _touched(base, folder)
    return _attached(base, adapters)


def merge(base: LoadedModel, adapter: AdapterRecord | Path) -> LoadedModel:
    """The base with an adapter merged into copies of the weights that it touches; the base's modules are used up.

    Layers that share a weight get one each where the adapter touches one of them.

    Raises:
        UsageError: The adapter does not fit the base as a whole, or cannot be merged.
    """
    folder = adapter if isinstance(adapter, Path) else adapter.path
    was_tied = _is_tied(base.model)
    adds_biases = getattr(adapter_config(folder), "lora_bias", False)
    for module in _touched(base, folder):
        own_weights(module)
        if adds_biases and getattr(module, "bias", True) is None:
            module.bias = nn.Parameter(module.weight.new_zeros(module.out_features), requires_grad=False)
    attached = _attached(base, {"default": folder})
    prompts = list(_prompts(attached, folder))
    expected = sample_logits(attached, prompts)
    try:
        with quiet():
            model = attached.model.merge_and_unload().eval()
    except Exception as error:
        # Kinds that cannot be merged raise whatever their authors chose.
        raise UsageError(
            f"The adapter {folder} cannot be merged into the model {base.record.name!r}: {first_line(error)}",
            "Students are merged models; use another kind of adapter.",
        ) from error
    if was_tied and not _is_tied(model):
        for config in (model.config, model.config.get_text_config()):
            config.tie_word_embeddings = False
    merged = replace(attached, model=model, end_ids=read_ends(folder))
    difference = _relative_error(sample_logits(merged, prompts), expected)
    # True of NaN, too.
    if not difference <= _ALLOWED[base.dtype]:
        raise UsageError(
            f"Merged into the model {base.record.name!r}, the adapter {folder} is not what it is beside it: "
            f"logits differ by {difference:.2g} of their size (at most {_ALLOWED[base.dtype]:g} is allowed).",
            "peft does not merge this kind of adapter exactly on this architecture; nothing is measured on it.",
        )
    model.generation_config.eos_token_id = sorted(merged.eos_ids)
    return merged


def sample_logits(loaded: LoadedModel, prompts: Iterable[list[int]] = ()) -> Tensor:
    """Logits of a short conversation and further prompts, `[tokens, V]`, float32."""
    question = prompt_ids(loaded.tokenizer, [{"role": "user", "content": _QUESTION}])
    with torch.inference_mode():
        return torch.cat(
            [
                loaded.model(input_ids=torch.tensor([ids], device=loaded.device), use_cache=False).logits[0].float()
                for ids in (question, *prompts)
            ]
        )


def _relative_error(found: Tensor, expected: Tensor) -> float:
    """Root mean square of a difference over that of what was expected."""
    return float(torch.linalg.vector_norm(found - expected) / torch.linalg.vector_norm(expected))


def _prompts(loaded: LoadedModel, folder: Path) -> Iterator[list[int]]:
    """Token ids from all over the vocabulary, and those that the adapter trains one by one."""
    rows = loaded.model.get_input_embeddings().weight.shape[0]
    spread = torch.linspace(0, min(len(loaded.tokenizer), rows) - 1, _SPREAD).long().tolist()
    special = set(loaded.tokenizer.all_special_ids)
    yield [id_ for id_ in spread if id_ not in special] or spread
    config = adapter_config(folder)
    trained = getattr(config, "trainable_token_indices", None) or getattr(config, "token_indices", None) or []
    for ids in trained.values() if isinstance(trained, dict) else [trained]:
        if ids:
            yield list(ids)[:_SPREAD]


def _attached(base: LoadedModel, adapters: Mapping[str, Path]) -> LoadedModel:
    from peft import PeftModel

    model = base.model
    for name, folder in adapters.items():
        config = adapter_config(folder)
        try:
            with quiet():
                if isinstance(model, PeftModel):
                    model.load_adapter(folder, adapter_name=name)
                else:
                    model = PeftModel.from_pretrained(model, folder, adapter_name=name, config=config)
        except Exception as error:
            raise _misfit(base, folder, config, f"peft says: {first_line(error)}") from error
    return replace(base, model=model.eval())


def _touched(base: LoadedModel, folder: Path) -> list[Any]:
    """The modules of a base that an adapter changes, if it fits.

    Raises:
        UsageError: Its tensors are not those that the base needs for its configuration, or peft refuses it.
    """
    from peft import get_peft_model
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import AuxiliaryTrainingWrapper
    from peft.utils.save_and_load import get_peft_model_state_dict

    config, tensors = adapter_config(folder), adapter_tensors(folder)
    _note_other_base(folder, config.base_model_name_or_path or "", base)
    if hasattr(config, "init_lora_weights"):
        # No tensor depends on it, and some initialisations compute with weights.
        config.init_lora_weights = True
    try:
        with quiet():
            shell = get_peft_model(without_weights(base.model), copy.deepcopy(config))
            needed, allowed = (
                {
                    key: tensor.shape
                    for key, tensor in get_peft_model_state_dict(shell, save_embedding_layers=whole).items()
                }
                for whole in (False, True)
            )
    except Exception as error:
        # What does not fit is found at many places of peft, each with an error of its own.
        raise _misfit(base, folder, config, f"peft says: {first_line(error)}") from error
    if missing := sorted(needed.keys() - tensors.keys()):
        raise _misfit(base, folder, config, f"it lacks {count_of(missing)}")
    if left_over := sorted(tensors.keys() - allowed.keys()):
        raise _misfit(base, folder, config, f"the model has no place for {count_of(left_over)}")
    for key, tensor in tensors.items():
        if tensor.shape != allowed[key]:
            shapes = f"{list(tensor.shape)}, where {list(allowed[key])} is expected"
            raise _misfit(base, folder, config, f"it has {key} in the shape {shapes}")
    changed = (BaseTunerLayer, AuxiliaryTrainingWrapper)
    names = {name.removeprefix(_PREFIX) for name, module in shell.named_modules() if isinstance(module, changed)}
    modules = dict(base.model.named_modules())
    for key in tensors:
        path = key.removeprefix(_PREFIX)
        while path and path not in modules:
            path = path.rpartition(".")[0]
        names.add(path)
    return [modules[name] for name in sorted(names & modules.keys() - {""})]


def _misfit(base: LoadedModel, folder: Path, config: Any, reason: str) -> UsageError:
    trained_on = config.base_model_name_or_path
    hint = "Its files are incomplete, damaged, or do not belong together."
    if trained_on and not _is_called(base, trained_on):
        hint = f"It was trained on {trained_on!r}."
    return UsageError(f"The adapter {folder} does not fit the model {base.record.name!r}: {reason}.", hint)


def _is_called(base: LoadedModel, name: str) -> bool:
    """Whether a name may well be the base's: folders move, and the Hub knows models by other names than aliases."""
    names = {base.record.name, short_name(base.record.name), base.record.path.name}
    return Path(name).name.lower() in {Path(known).name.lower() for known in names}


def _note_other_base(folder: Path, trained_on: str, base: LoadedModel) -> None:
    if trained_on and not _is_called(base, trained_on):
        _note_once(f"The adapter {folder} was trained on {trained_on!r}; here it is used on {base.record.name!r}.")


@cache
def _note_once(text: str) -> None:
    note(text)


def _is_tied(model: Any) -> bool:
    """Whether the output layer has the embeddings' weight."""
    layers = model.get_input_embeddings(), model.get_output_embeddings()
    first, last = (getattr(layer, "weight", None) for layer in layers)
    return first is not None and first is last
