"""Adapters with their own vocabulary: embeddings of a different size from the base's, and a tokenizer next to them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from kdprobe.errors import UsageError
from kdprobe.models.chatter import quiet
from kdprobe.models.load import LoadedModel, load_tokenizer
from kdprobe.models.merging.files import PREFIX, adapter_tensors, brings_tokenizer
from kdprobe.models.outline.blueprint import empty_model
from kdprobe.models.reference import ModelRecord
from kdprobe.models.weights import own_weights


def with_its_vocabulary(base: LoadedModel, folder: Path) -> LoadedModel:
    """A base resized to the number of tokens in the adapter's embeddings, with the tokenizer from the adapter's folder.

    A base whose embeddings already have that size, or are not replaced, is returned unchanged.

    Raises:
        UsageError: Embeddings are missing, or the tokens do not extend those of the base.
    """
    sizes = _sizes(base.model, folder)
    layers = _layers(base.model)
    if not {*sizes.values()} - {layer.weight.shape[0] for layer in layers.values()}:
        return base
    if len({*sizes.values()}) > 1 or (len(sizes) < len(layers) and not is_tied(base.model)):
        raise UsageError(
            f"The adapter {folder} does not resize the input and output embeddings of the model {base.record.name!r} "
            "to the same size.",
            "Save it with save_pretrained(..., save_embedding_layers=True).",
        )
    (size,) = {*sizes.values()}
    for layer in layers.values():
        own_weights(layer)
    with quiet():
        # The new rows are the adapter's.
        base.model.resize_token_embeddings(size, mean_resizing=False)
    return replace(base, tokenizer=_tokenizer(base, folder, size))


def own_tokenizer(record: ModelRecord, folder: Path) -> Any | None:
    """The tokenizer of an adapter whose embeddings differ in size from the base's; `None` if it uses the base's.

    Raises:
        KdprobeError: It cannot be loaded, or the base's configuration or the adapter's tensors cannot be read.
    """
    if not brings_tokenizer(folder):
        return None
    model = empty_model(record)
    rows = {layer.weight.shape[0] for layer in _layers(model).values()}
    return _beside(record, folder) if {*_sizes(model, folder).values()} - rows else None


def is_tied(model: Any) -> bool:
    """Whether the output layer shares the weight of the embeddings."""
    first, last = (getattr(layer, "weight", None) for layer in _layers(model).values())
    return first is not None and first is last


def _layers(model: Any) -> dict[str, Any]:
    """The input and output embeddings of a model, by name."""
    layers = {id(layer) for layer in (model.get_input_embeddings(), model.get_output_embeddings())}
    return {name: module for name, module in model.named_modules() if id(module) in layers}


def _sizes(model: Any, folder: Path) -> dict[str, int]:
    """The number of tokens in each of the embeddings that an adapter replaces completely."""
    tensors = adapter_tensors(folder)
    names = {layer: (f"{PREFIX}{layer}.weight", f"{PREFIX}{layer}.base_layer.weight") for layer in _layers(model)}
    return {
        layer: tensors[name].shape[0]
        for layer in names
        for name in names[layer]
        if name in tensors and tensors[name].dim()
    }


def _beside(record: ModelRecord, folder: Path) -> Any:
    return load_tokenizer(replace(record, name=str(folder), path=folder))


def _tokenizer(base: LoadedModel, folder: Path, size: int) -> Any:
    tokenizer = _beside(base.record, folder) if brings_tokenizer(folder) else base.tokenizer
    theirs = tokenizer.get_vocab()
    if len(tokenizer) > size or any(theirs.get(token) != id_ for token, id_ in base.tokenizer.get_vocab().items()):
        raise UsageError(
            f"The adapter {folder} has embeddings for {size} tokens, but its folder has no tokenizer of that size "
            f"that extends the tokenizer of the model {base.record.name!r}.",
            "Put the tokenizer that the adapter was trained with into its folder; it must have all of the model's "
            "tokens under the same ids, and may have others.",
        )
    return tokenizer
