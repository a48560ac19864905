"""Attaches adapters to a base, or merges one into it: completely or not at all.

An adapter that does not fit changes nothing, because fit is checked first. A merged student is compared with the base
plus its attached adapter before it is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from kdprobe.errors import NonFiniteError, UsageError, first_line
from kdprobe.models.adapters import AdapterRecord
from kdprobe.models.chatter import quiet
from kdprobe.models.conversation import prompt_ids
from kdprobe.models.devices.spread import refuse_offloaded
from kdprobe.models.load import LoadedModel
from kdprobe.models.merging.files import adapter_config, lies_beside, read_ends
from kdprobe.models.merging.fit import fitting, misfit
from kdprobe.models.merging.vocabulary import is_tied, with_its_vocabulary
from kdprobe.models.reference import Dtype
from kdprobe.models.weights import own_weights

_QUESTION = "Tom has 3 apples and buys 4 more. How many apples does he have?"
_SPREAD = 32
"""The number of token ids from across the vocabulary that are read besides the question."""
_ALLOWED: dict[Dtype, float] = {"float32": 1e-4, "float16": 0.02, "bfloat16": 0.15}
"""How much merging may change the logits, relative to their root mean square: many times each type's rounding error."""


def attach(base: LoadedModel, adapters: Mapping[str, Path]) -> LoadedModel:
    """The base with adapters attached, unmerged; its weights are shared.

    Args:
        base: A model; its modules are consumed.
        adapters: PEFT names, without dots, mapped to folders; if there are several, each must leave the weights
            unchanged.

    Raises:
        UsageError: An adapter does not fit the base completely.
    """
    refuse_offloaded(base, "Using an adapter")
    for folder in adapters.values():
        fitting(base, folder)
    return _attached(base, adapters)


def with_adapter(base: LoadedModel, adapter: AdapterRecord | Path) -> LoadedModel:
    """The base with an adapter: merged into it, or beside it if the base's weights stay quantised.

    The base's modules are consumed.

    Raises:
        UsageError: The adapter does not fit the base completely; or it cannot be merged, or cannot lie beside the base.
        NonFiniteError: The student's logits are NaN or infinite.
    """
    return (beside if base.record.is_packed else merge)(base, adapter)


def beside(base: LoadedModel, adapter: AdapterRecord | Path) -> LoadedModel:
    """The base with an adapter beside its weights, in layers that add the adapter's output to their own.

    It is a model of the base's class, without a wrapper around it; its weights are shared.

    Raises:
        UsageError: The adapter does not fit the base completely, or does more than add to the outputs of layers.
        NonFiniteError: The student's logits are NaN or infinite.
    """
    folder = adapter if isinstance(adapter, Path) else adapter.path
    if not lies_beside(folder):
        raise UsageError(
            f"The adapter {folder} changes or replaces weights of its base, but those of {base.record.name!r} are "
            f"quantised ({base.record.quantisation}).",
            "Use weights that are not quantised, or an adapter that only adds to the outputs of layers, such as a "
            "plain LoRA.",
        )
    attached = attach(base, {"default": folder})
    student = replace(attached, model=attached.model.get_base_model(), end_ids=read_ends(folder))
    sample_logits(student)
    student.model.generation_config.eos_token_id = sorted(student.eos_ids)
    return student


def merge(base: LoadedModel, adapter: AdapterRecord | Path) -> LoadedModel:
    """The base with an adapter merged into copies of the weights it changes; the base's modules are consumed.

    Layers that share a weight get separate copies if the adapter changes one of them.

    Raises:
        UsageError: The adapter does not fit the base completely, or cannot be merged.
        NonFiniteError: The student's logits are NaN or infinite.
    """
    folder = adapter if isinstance(adapter, Path) else adapter.path
    if base.record.is_packed:
        raise UsageError(
            f"The adapter {folder} cannot be merged into the model {base.record.name!r}: the model's weights are "
            f"quantised ({base.record.quantisation}), and quantising the sum of weights and update would lose part of "
            "the update to rounding.",
            "Use weights that are not quantised.",
        )
    refuse_offloaded(base, "Using an adapter")
    base = with_its_vocabulary(base, folder)
    was_tied = is_tied(base.model)
    adds_biases = getattr(adapter_config(folder), "lora_bias", False)
    for module in fitting(base, folder):
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
        # Kinds that cannot be merged raise exceptions of any class.
        raise UsageError(
            f"The adapter {folder} cannot be merged into the model {base.record.name!r}: {first_line(error)}",
            "kdprobe merges adapters into the base model; use one that can be merged, such as a plain LoRA.",
        ) from error
    if was_tied and not is_tied(model):
        for config in (model.config, model.config.get_text_config()):
            config.tie_word_embeddings = False
    merged = replace(attached, model=model, end_ids=read_ends(folder))
    difference = _relative_error(sample_logits(merged, prompts), expected)
    # Also true of NaN, which results from tokens that a model rules out.
    if not difference <= _ALLOWED[base.dtype]:
        raise UsageError(
            f"Merging the adapter {folder} into the model {base.record.name!r} does not give the same student as "
            f"attaching it: the relative difference in logits is {difference:.2g} (at most {_ALLOWED[base.dtype]:g} is "
            "allowed).",
            "PEFT does not merge this kind of adapter exactly on this architecture, so kdprobe refuses to measure it.",
        )
    model.generation_config.eos_token_id = sorted(merged.eos_ids)
    return merged


def sample_logits(loaded: LoadedModel, prompts: Iterable[list[int]] = ()) -> Tensor:
    """Logits of a short conversation and further prompts, `[tokens, V]`, float32.

    Raises:
        NonFiniteError: A logit is NaN or +inf, or all logits of a token are -inf.
    """
    question = prompt_ids(loaded.tokenizer, [{"role": "user", "content": _QUESTION}])
    with torch.inference_mode():
        logits = torch.cat(
            [
                loaded.model(input_ids=torch.tensor([ids], device=loaded.device), use_cache=False).logits[0].float()
                for ids in (question, *prompts)
            ]
        )
    if not logits.amax(dim=-1).isfinite().all():
        raise NonFiniteError(f"The model's logits for a sample conversation are NaN or infinite in {loaded.dtype}.")
    return logits


def _relative_error(found: Tensor, expected: Tensor) -> float:
    """Root mean square of the difference, relative to that of the expected values."""
    return float(torch.linalg.vector_norm(found - expected) / torch.linalg.vector_norm(expected))


def _prompts(loaded: LoadedModel, folder: Path) -> Iterator[list[int]]:
    """Token ids from across the vocabulary, and those whose embeddings the adapter trains individually."""
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
            raise misfit(base, folder, config, f"PEFT reports: {first_line(error)}") from error
    return replace(base, model=model.eval())
