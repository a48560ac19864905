"""Which modules get an adapter if a config names none: the projections of attention, whatever they are called."""

import json

import pytest

from architectures import ARCHITECTURES

PLAIN = {"q_proj", "k_proj", "v_proj", "o_proj"}
OTHERS = {
    "phi3": {"qkv_proj", "o_proj"},
    "gpt2": {"c_attn", "attn.c_proj"},
    "gpt_neox": {"query_key_value", "dense"},
    "falcon": {"query_key_value", "dense"},
    "opt": {"q_proj", "k_proj", "v_proj", "out_proj"},
    "deepseek_v3": {"q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"},
}


def distance(before, after):
    """How much all weights together changed."""
    return sum(float((after[name] - before[name]).double().square().sum()) for name in before) ** 0.5


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_training_moves_the_projections_of_attention_in_every_layer_and_nothing_else(architecture, distil, model_of):
    from safetensors.numpy import load_file

    from kdprobe.models.load import load
    from kdprobe.students.student import Student

    record = model_of(architecture)
    trained = distil("fine-tune", student=record, max_steps=2)
    written = json.loads((trained.adapter / "adapter_config.json").read_text())
    expected = OTHERS.get(architecture, PLAIN)
    assert set(written["target_modules"]) == expected

    tensors = load_file(trained.adapter / "adapter_model.safetensors")
    changed = {name.partition(".lora_B")[0] for name, tensor in tensors.items() if "lora_B" in name and tensor.any()}
    layers = {next(part for part in name.split(".") if part.isdigit()) for name in changed}
    assert layers == {"0", "1"}
    assert len(changed) == 2 * len(expected)

    base = load(record).model.state_dict()
    merged = Student("s", record, trained.adapter).load(dtype="float32").model.state_dict()
    moved = {name.removesuffix(".weight") for name in base if not base[name].equal(merged[name])}
    assert {f"base_model.model.{name}" for name in moved} == changed
    # What is reported is how far the merged weights moved, also where they lie across as GPT-2's do.
    assert trained.adapter_norm == pytest.approx(distance(base, merged), rel=1e-3)


@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
@pytest.mark.parametrize(
    ("architecture", "tied", "targets"),
    [
        ("gpt2", False, "attention"),
        ("llama", False, ["q_proj", "embed_tokens"]),
        ("llama", False, ["q_proj", "lm_head"]),
        ("llama", True, ["q_proj", "embed_tokens"]),
        ("llama", True, ["q_proj", "lm_head"]),
    ],
    ids=["weights that lie across", "embeddings", "output layer", "tied embeddings", "tied output layer"],
)
def test_the_reported_change_is_that_of_the_merged_weights(distil, model_of, architecture, tied, targets, dora):
    from kdprobe.models.load import load
    from kdprobe.students.student import Student

    record = model_of(architecture, tie_word_embeddings=tied)
    trained = distil("fine-tune", student=record, max_steps=2, lora={"dora": dora, "target_modules": targets})
    base = load(record).model.state_dict()
    merged = Student("s", record, trained.adapter).load(dtype="float32").model.state_dict()
    assert trained.adapter_norm == pytest.approx(distance(base, merged), rel=1e-3)


@pytest.mark.parametrize("depth", [1, 2], ids=["of another depth", "of the same depth"])
def test_a_tower_for_images_gets_no_adapter(depth, torch):
    from transformers import AutoConfig, AutoModelForCausalLM

    from kdprobe.distill.targets import targets_text
    from kdprobe.models.anatomy import anatomy
    from kdprobe.models.outline.attention_projections import attention_projections
    from kdprobe.models.outline.module_names import is_named

    text = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "head_dim": 8, "intermediate_size": 48}
    seen = {"num_hidden_layers": depth, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model("gemma3", text_config=text, vision_config=seen))
    targets = attention_projections(model)
    named = {name for name, _ in model.named_modules() if any(is_named(name, target) for target in targets)}
    assert len(named) == 8
    assert all("language_model" in name and "vision" not in name for name in named)
    assert anatomy(model).layers == list(model.model.language_model.layers)
    layers = "model.language_model.layers.*.self_attn"
    assert set(targets_text(targets).split(", ")) == {"o_proj", *(f"{layers}.{name}_proj" for name in "qkv")}


def test_what_chooses_tokens_is_no_projection(torch):
    from transformers import AutoConfig, AutoModelForCausalLM

    from kdprobe.models.outline.attention_projections import attention_projections

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model("deepseek_v32", num_hidden_layers=2))
    assert any("indexer" in name for name, _ in model.named_modules())
    assert set(attention_projections(model)) == OTHERS["deepseek_v3"]


def test_names_that_a_config_gives_are_left_as_they_are(torch, model_of):
    from kdprobe.distill.options import LogitsOptions
    from kdprobe.distill.targets import with_target_names
    from kdprobe.models.load import load
    from kdprobe.models.outline.attention_projections import attention_projections

    projections = attention_projections(load(model_of("phi3")).model)
    for targets in (["o_proj"], "all-linear"):
        options = LogitsOptions(lora={"target_modules": targets})
        assert with_target_names(options, projections, "phi3") == options
    assert with_target_names(LogitsOptions(), projections, "phi3").lora.target_modules == ["o_proj", "qkv_proj"]
    assert with_target_names(None, projections, "phi3") is None
