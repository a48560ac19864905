"""The results of every analysis for a base and a student with an adapter, against independent computations."""

from __future__ import annotations

import copy
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from direct_logits import head_logits
from spied_attention import relative_changes

BASE, TUNED = "base", "tuned"
ANALYSES = ("heads", "divergence", "geometry", "ablation", "patching", "attribution")
RECORDED = Path(__file__).parent / "data" / "architectures.json"
"""The outcome of every analysis for every architecture; the documentation page is generated from it."""
OPTIONS = {
    "ablation": {"exact": "all", "replacement": "zero", "random_sets": 0, "together": 1},
    "patching": {"exact": "all", "into": ["first"], "random_sets": 0, "together": 1},
}
"""Those that differ from the defaults."""
_OUTPUTS = ("self_attn.o_proj", "self_attn.out_proj", "attn.c_proj", "attention.dense")


def write_adapter(record: Any, targets: list[str], folder: Path) -> Path:
    """A random LoRA adapter on these modules."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(3)
    model = _load(record)
    lora = LoraConfig(r=2, target_modules=targets, task_type="CAUSAL_LM", fan_in_fan_out="c_attn" in targets)
    tuned = get_peft_model(model, lora)
    with torch.no_grad():
        for weight in tuned.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight), alpha=0.2)
    tuned.save_pretrained(folder)
    return folder


class Reference:
    """The two models, run by transformers and peft.

    Args:
        record: The base.
        adapter: The folder of the student's adapter.
        sequences: What both read.
    """

    def __init__(self, record: Any, adapter: Path, sequences: Any) -> None:
        from peft import PeftModel

        self.sequences = sequences
        tuned = PeftModel.from_pretrained(_load(record), adapter).eval()
        self.attached, self.models = tuned, {BASE: _load(record), TUNED: copy.deepcopy(tuned).merge_and_unload()}

    def check(self, analysis: str, tables: Any) -> None:
        """Compares an analysis's tables."""
        getattr(self, f"_{analysis}")(tables)

    def _heads(self, tables: Any) -> None:
        table = tables["heads_by_problem"]
        for name in self.models:
            for sequence in self.sequences:
                pattern = self._pattern(name, sequence)
                expected = {
                    "entropy": _entropy(pattern).mean(axis=-1),
                    "self_attention": pattern.diagonal(axis1=-2, axis2=-1).mean(axis=-1),
                    "sink": pattern[..., 1:, 0].mean(axis=-1),
                }
                rows = table[(table["student"] == name) & (table["problem"] == sequence.id)]
                for metric, values in expected.items():
                    _close(rows[rows["metric"] == metric], values, 2e-5)

    def _divergence(self, tables: Any) -> None:
        found = []
        for sequence in self.sequences:
            p, q = (self._pattern(name, sequence) for name in self.models)
            found.append((_entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2).mean(axis=-1))
        _close(tables["jensen_shannon"], np.mean(found, axis=0), 1e-5)

    def _geometry(self, tables: Any) -> None:
        for circuit, values in relative_changes(self.models[BASE], self.attached).items():
            table = tables["geometry"]
            _close(table[table["circuit"] == circuit], np.array(values), 1e-6)

    def _ablation(self, tables: Any) -> None:
        def nothing(z: Any, head: int, _layer: int) -> Any:
            z = z.clone()
            z[:, :, head] = 0
            return z

        for name in self.models:
            self._exact(tables["ablation"], name, nothing, None)

    def _patching(self, tables: Any) -> None:
        donor = self.models[TUNED]
        written = [_heads_write(donor, sequence) for sequence in self.sequences]
        own = [_heads_write(self.models[BASE], sequence) for sequence in self.sequences]
        self._exact(tables["patching"], BASE, None, [w - o for w, o in zip(written, own, strict=True)])

    def _attribution(self, tables: Any) -> None:
        table = tables["attribution"]
        for name, model in self.models.items():
            for sequence in self.sequences:
                rows = list(range(sequence.begin - 1, len(sequence.ids_without_end) - 1))
                heads, _ = head_logits(copy.deepcopy(model), list(sequence.ids), rows)
                found = table[(table["student"] == name) & (table["problem"] == sequence.id)]
                _close(found[found["metric"] == "logit_gold_solution"], heads.mean(axis=1), 5e-5)

    def _pattern(self, name: str, sequence: Any) -> Any:
        model = copy.deepcopy(self.models[name])
        model.config._attn_implementation = "eager"
        with torch.no_grad():
            layers = model(torch.tensor([sequence.ids]), output_attentions=True).attentions
        pattern = np.stack([layer[0].double().numpy() for layer in layers])
        return pattern / pattern.sum(axis=-1, keepdims=True)

    def _exact(self, table: Any, name: str, replace: Any, add: Any) -> None:
        """Full passes with one head changed: its z is replaced, or something is added to attention's output."""
        model = self.models[name]
        outputs = _output_projections(model)
        heads = model.config.num_attention_heads
        for index, sequence in enumerate(self.sequences):
            clean = _log_p(model, sequence)
            expected = np.zeros((len(outputs), heads))
            for layer, output in enumerate(outputs):
                for head in range(heads):
                    with ExitStack() as stack:
                        if replace is not None:
                            hook = output.register_forward_pre_hook(
                                lambda _m, given, head=head, layer=layer: (
                                    replace(given[0].unflatten(-1, (heads, -1)), head, layer).flatten(2),
                                )
                            )
                        else:
                            more = add[index][layer, head]
                            hook = output.register_forward_hook(lambda _m, _g, written, more=more: written + more)
                        stack.callback(hook.remove)
                        expected[layer, head] = _log_p(model, sequence) - clean
            rows = table[(table["problem"] == sequence.id) & (table["method"] == "exact")]
            rows = rows[(rows["metric"] == "log_p_gold_solution") & (rows["student"] == name)]
            _close(rows, expected, 2e-3)


def _load(record: Any) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(record.path).eval()


def _output_projections(model: Any) -> list[Any]:
    return [module for name, module in model.named_modules() if name.endswith(_OUTPUTS)]


def _heads_write(model: Any, sequence: Any) -> Any:
    """What every head writes, `[layer, head, position, d_model]`."""
    heads, written = model.config.num_attention_heads, []

    def keep(output: Any, given: Any) -> None:
        weight = output.weight.T if isinstance(output, torch.nn.Linear) else output.weight
        z = given[0][0].unflatten(-1, (heads, -1))
        written.append(torch.einsum("shi,hid->hsd", z, weight.unflatten(0, (heads, -1))))

    with ExitStack() as stack, torch.no_grad():
        for output in _output_projections(model):
            stack.callback(output.register_forward_pre_hook(keep).remove)
        model(torch.tensor([sequence.ids_without_end]), use_cache=False)
    return torch.stack(written)


def _log_p(model: Any, sequence: Any) -> float:
    """Log-probability of the gold solution."""
    ids = torch.tensor([sequence.ids_without_end])
    with torch.no_grad():
        logits = model(ids, use_cache=False).logits[0].double().log_softmax(dim=-1)
    tokens = range(sequence.begin, ids.shape[1])
    return float(sum(logits[token - 1, ids[0, token]] for token in tokens))


def _entropy(pattern: Any) -> Any:
    return -np.where(pattern > 0, pattern * np.log(np.maximum(pattern, 1e-300)), 0).sum(axis=-1)


def _close(rows: Any, expected: Any, tolerance: float) -> None:
    values = rows.sort_values(["layer", "head"])["value" if "value" in rows else "relative"]
    np.testing.assert_allclose(values, expected.ravel(), atol=tolerance, rtol=1e-4)
    assert np.abs(expected).max() > 10 * tolerance, "nothing was compared"
