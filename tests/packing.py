"""Models that bitsandbytes quantised, and plain ones with the weights that these bits stand for, decoded by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from transformers.pytorch_utils import Conv1D

NF4 = torch.tensor(
    [
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
        *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725),
        *(0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
    ]
)
"""The 16 values of NF4 (Dettmers et al., 2023, arXiv 2305.14314, appendix E)."""
_BLOCK = 64


def write_packed(given: Path, folder: Path, kind: str, dtype: torch.dtype = torch.float32) -> Path:
    """Quantises a model and writes it, as publishers do: `nf4` to compute in bfloat16, `nf4-double`, or `int8`."""
    settings = {
        "nf4": BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16),
        "nf4-double": BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True),
        "int8": BitsAndBytesConfig(load_in_8bit=True),
    }[kind]
    model = AutoModelForCausalLM.from_pretrained(given, quantization_config=settings, dtype=dtype)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(given).save_pretrained(folder)
    return folder


def write_plain(given: Path, packed: Path, folder: Path) -> Path:
    """Writes a model with the weights that the bits in a packed file stand for."""
    stored = load_file(packed / "model.safetensors")
    model = AutoModelForCausalLM.from_pretrained(given, dtype=torch.float32)
    decoded = 0
    with torch.no_grad():
        for name, module in model.named_modules():
            weight = decode(stored, f"{name}.weight")
            if weight is not None:
                weight = weight.view(module.weight.T.shape if isinstance(module, Conv1D) else module.weight.shape)
                assert 0 < (weight.std() / module.weight.std() - 1).abs() < 0.1
                module.weight.copy_(weight.T if isinstance(module, Conv1D) else weight)
                decoded += 1
    assert decoded
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(given).save_pretrained(folder)
    return folder


def decode(stored: dict[str, Any], name: str) -> Any:
    """The values that a weight's bits stand for, flat in 4 bits; `None` if it is not quantised."""
    if f"{name}.absmax" in stored:
        scales = _scales(stored, name)
        codes = stored[name].flatten()
        values = NF4[torch.stack([codes >> 4, codes & 15], dim=1).flatten().long()]
        return values * scales.repeat_interleave(_BLOCK)[: len(values)]
    if (scales := stored.get(name.removesuffix("weight") + "SCB")) is not None:
        return stored[name].float() * scales[:, None] / 127
    return None


def _scales(stored: dict[str, Any], name: str) -> Any:
    """The scale of each block, which double quantisation stores in 8 bits."""
    absmax = stored[f"{name}.absmax"]
    if (steps := stored.get(f"{name}.nested_absmax")) is None:
        return absmax
    state = json.loads(bytes(stored[f"{name}.quant_state.bitsandbytes__nf4"].tolist()))
    steps = steps.repeat_interleave(state["nested_blocksize"])[: len(absmax)]
    return stored[f"{name}.nested_quant_map"][absmax.long()] * steps + state["nested_offset"]


def merged_by_hand(plain: Path, adapter: Path) -> Any:
    """A plain model whose weights have a LoRA's scaled BA added to them."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    tensors, model = load_file(adapter / "adapter_model.safetensors"), AutoModelForCausalLM.from_pretrained(plain)
    with torch.no_grad():
        for key in [key for key in tensors if ".lora_A." in key]:
            module = model.get_submodule(key.removeprefix("base_model.model.").partition(".lora_A")[0])
            update = tensors[key.replace("lora_A", "lora_B")] @ tensors[key] * config["lora_alpha"] / config["r"]
            module.weight += update.T if isinstance(module, Conv1D) else update
    return model.eval()
