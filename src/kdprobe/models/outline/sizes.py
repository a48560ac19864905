"""The sizes of a model's matrices, from its configuration alone: what its memory and its arithmetic follow from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from kdprobe.models.load import model_folder
from kdprobe.models.outline.blueprint import configuration_key, empty_model
from kdprobe.models.outline.helpers import Helpers
from kdprobe.models.outline.memory import Memory
from kdprobe.models.outline.module_names import is_named
from kdprobe.models.reference import ModelRecord, Quantization

_SIZES = "sizes"
_BITS = ("bits", "num_bits", "w_bit", "weight_bits")
"""Names that quantisation settings use for the bits of a weight."""
_METHODS = {"fp8": 8.0, "fbgemm_fp8": 8.0, "finegrained_fp8": 8.0, "mxfp4": 4.25}
"""Bits of a weight where the method says it; MXFP4 has a scale of 8 bits for 32 weights."""
ON_LOAD: dict[Quantization, float] = {"int8": 8.0, "nf4": 4.5}
"""Bits of a weight that is quantised on load; NF4 has a scale of 32 bits for 64 weights."""
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
_USED = ("num_experts_per_tok", "moe_topk", "num_experts_per_token")


@dataclass(frozen=True)
class Sizes:
    """The numbers of a model's parameters, and the shapes behind its caches and activations.

    Attributes:
        layers: Layers.
        hidden: Width of the residual stream.
        heads: Query heads of a layer.
        kv_heads: Key and value heads of a layer.
        head_dim: Width of a head.
        inner: Width of the MLP of a layer, all experts that a token uses together.
        vocabulary: Rows of the output matrix.
        parameters: All parameters, a matrix that is input and output counted once.
        embedding: Those of the input matrix and of learnt positions, which are looked up and not multiplied.
        head: Those of the output matrix, wherever it lies.
        tied: Whether the two are one matrix.
        routed: Those of all routed experts.
        experts: Routed experts of a layer; 0 for a dense model.
        used_experts: How many of them a token uses.
        linear: Inputs and outputs of every linear layer, by module name.
        bits: Bits of a weight in a layer if they are quantised, else `None`.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int
    vocabulary: int
    parameters: int
    embedding: int
    head: int
    tied: bool
    routed: int
    experts: int
    used_experts: int
    linear: Mapping[str, tuple[int, int]]
    bits: float | None = None

    @property
    def body(self) -> int:
        """Parameters between the input and the output matrix."""
        return self.parameters - self.embedding - (0 if self.tied else self.head)

    @property
    def active(self) -> int:
        """Parameters of the body that a token is multiplied with."""
        unused = self.routed * (1 - self.used_experts / self.experts) if self.experts else 0
        return round(self.body - unused)

    def touched(self, tokens: float) -> float:
        """Parameters of the body that at least one of these tokens needs, if experts are drawn evenly."""
        if not self.experts:
            return self.body
        idle: float = (1 - self.used_experts / self.experts) ** tokens
        return self.body - self.routed * idle

    def weights(self, bytes_each: float) -> float:
        """Bytes of the weights; input and output matrices are not quantised."""
        return self.body * self._stored(bytes_each) + (self.parameters - self.body) * bytes_each

    def moved(self, tokens: float, bytes_each: float) -> float:
        """Bytes of the weights that a pass over some tokens reads, output matrix included."""
        return self.touched(tokens) * self._stored(bytes_each) + self.head * bytes_each

    def _stored(self, bytes_each: float) -> float:
        """Bytes of a weight of the body."""
        return self.bits / 8 if self.bits else bytes_each

    def cached(self, bytes_each: float) -> float:
        """Bytes of the keys and values of a token in all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim * bytes_each

    def activations(self, bytes_each: float) -> float:
        """Bytes that the backward pass through a layer needs for a token.

        They are the inputs of both norms and of the adapters, in float32; queries, and keys and values repeated for the
        query heads; and three vectors of the MLP.
        """
        return 4 * self.hidden * 4 + 3 * (self.heads * self.head_dim + self.inner) * bytes_each

    def lora(self, rank: int, targets: list[str] | None) -> int:
        """Parameters of an adapter of this rank on the named modules; `None` stands for all layers' linear modules."""
        return sum(
            rank * (inputs + outputs)
            for name, (inputs, outputs) in self.linear.items()
            if (any(is_named(name, target) for target in targets) if targets is not None else "." in name)
        )


def sizes(record: ModelRecord, memory: Memory, helpers: Helpers | None = None) -> Sizes:
    """The sizes of a model; raises like `empty_model`.

    Args:
        record: The model.
        memory: Remembers what follows from a configuration.
        helpers: Where the model is laid out; by default in this process.

    Raises:
        KdprobeError: transformers cannot lay out the model.
        ValueError: The configuration lacks a number, or says nothing about the bits of quantised weights.
    """

    def count() -> dict[str, Any]:
        if helpers is None:
            return _counted(record)
        model_folder(record)
        return helpers.with_torch.call(_counted, record)

    found = memory.general.recall(_SIZES, configuration_key(record), count)
    linear = {name: (inputs, outputs) for name, inputs, outputs in found["linear"]}
    bits = ON_LOAD[record.quantised_on_load] if record.quantised_on_load else found["bits"]
    return Sizes(**{**found, "linear": linear, "bits": bits})


def are_counted(record: ModelRecord, memory: Memory) -> bool:
    """Whether a model's sizes are remembered."""
    return memory.general.knows(_SIZES, configuration_key(record))


def _counted(record: ModelRecord) -> dict[str, Any]:
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    from kdprobe.models.load import load_config

    model, config = empty_model(record), load_config(record)
    text = config.get_text_config()
    inputs, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    tables = {id(module.weight): module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
    heads = int(text.num_attention_heads)
    experts = int(_stated(text, _EXPERTS) or 0)
    used = int(_stated(text, _USED) or 1) if experts else 0
    linear = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and module is not model.get_output_embeddings():
            linear.append([name, module.in_features, module.out_features])
        elif isinstance(module, Conv1D):
            linear.append([name, int(module.weight.shape[0]), int(module.weight.shape[1])])
    inner = int(_stated(text, ("intermediate_size", "n_inner", "ffn_dim")) or 4 * text.hidden_size)
    return {
        "layers": int(text.num_hidden_layers),
        "hidden": int(text.hidden_size),
        "heads": heads,
        "kv_heads": int(_stated(text, ("num_key_value_heads",)) or heads),
        "head_dim": int(_stated(text, ("head_dim",)) or text.hidden_size // heads),
        "inner": int(_stated(text, ("moe_intermediate_size",)) or inner) * used if experts else inner,
        "vocabulary": int(text.vocab_size),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "embedding": sum(table.numel() for table in tables.values()),
        "head": head.numel(),
        "tied": head is inputs,
        "routed": sum(weight.numel() for name, weight in model.named_parameters() if ".experts." in f"{name}."),
        "experts": experts,
        "used_experts": used,
        "linear": linear,
        "bits": None if record.quantised_on_load or not record.is_packed else _bits(config),
    }


def _stated(config: Any, names: tuple[str, ...]) -> Any:
    return next((value for name in names if (value := getattr(config, name, None))), None)


def _bits(config: Any) -> float:
    """Bits of a weight that is stored quantised.

    Raises:
        ValueError: The settings do not say.
    """
    stated: Any = getattr(config, "quantization_config", None)
    settings = stated if isinstance(stated, dict) else stated.to_dict()
    if method := _METHODS.get(str(settings.get("quant_method"))):
        return method
    for name, bits in (("load_in_4bit", 4.0), ("load_in_8bit", 8.0), ("_load_in_4bit", 4.0), ("_load_in_8bit", 8.0)):
        if settings.get(name):
            return bits
    if bits_named := next(_named_bits(settings), None):
        return bits_named
    raise ValueError("the quantisation settings do not state the number of bits per weight")


def _named_bits(settings: Any) -> Iterator[float]:
    if isinstance(settings, dict):
        yield from (float(settings[name]) for name in _BITS if isinstance(settings.get(name), int))
        yield from chain.from_iterable(map(_named_bits, settings.values()))
