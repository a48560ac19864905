"""The rehearsal of the full-size example differs from it in models and sizes only."""

import tomllib
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
MODELS_AND_SIZES = {
    "name",
    "student.model",
    "teacher.options.model",
    "teacher.options.tokenizer",
    "transfer.max_new_tokens",
    "evaluation.max_new_tokens",
    "resources.threads",
    "resources.device",
    "resources.devices.all",
    "resources.devices.transfer",
    "resources.served_model",
    "resources.answer_tokens",
}


def leaves(table, before=""):
    for name, value in table.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def test_it_differs_in_models_and_sizes_only():
    full, rehearsal = (
        dict(leaves(tomllib.loads((EXAMPLES / f"{name}.toml").read_text(encoding="utf-8"))))
        for name in ("llama-405b", "rehearsal")
    )
    differing = {name for name in full.keys() | rehearsal.keys() if full.get(name) != rehearsal.get(name)}
    assert differing == MODELS_AND_SIZES
    assert full["transfer.top_logprobs"] == rehearsal["transfer.top_logprobs"] == 64
