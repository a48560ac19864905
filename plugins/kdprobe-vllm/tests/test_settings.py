"""What does not need vLLM itself: how settings are translated, and what adapters need."""

import pytest

from kdprobe import KdprobeError
from kdprobe.testing import host_with, write_random_adapter


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"temperature": 0.0}),
        ({"do_sample": False, "temperature": 0.7, "top_p": 0.9}, {"temperature": 0.0}),
        ({"do_sample": True, "temperature": 0.0}, {"temperature": 0.0}),
        # As in transformers: 50 tokens unless the model or the task says otherwise.
        ({"do_sample": True, "temperature": 0.7, "top_p": 0.9}, {"temperature": 0.7, "top_p": 0.9, "top_k": 50}),
        ({"do_sample": True, "top_k": 0}, {"temperature": 1.0, "top_k": 0}),
        (
            {"repetition_penalty": 1.1, "min_new_tokens": 3},
            {"temperature": 0.0, "repetition_penalty": 1.1, "min_tokens": 3},
        ),
        ({"num_beams": 1, "no_repeat_ngram_size": 0, "output_attentions": True}, {"temperature": 0.0}),
    ],
)
def test_settings_mean_what_they_mean_to_transformers(settings, expected):
    from kdprobe_vllm.student import _settings

    assert _settings(settings) == expected


@pytest.mark.parametrize("setting", [{"num_beams": 4}, {"no_repeat_ngram_size": 3}, {"typical_p": 0.9}])
def test_a_setting_that_vllm_lacks_is_refused(setting):
    from kdprobe_vllm.student import _settings

    with pytest.raises(KdprobeError, match=f"does not support the generation setting {next(iter(setting))}"):
        _settings(setting)


def test_settings_of_the_model_are_known_and_what_transformers_ignores_is_left_out():
    from transformers import GenerationConfig

    from kdprobe_vllm.student import _defaults

    config = GenerationConfig(repetition_penalty=1.05, top_k=20, eos_token_id=[1, 2], chat_format="chatml")
    assert _defaults(config) == {"repetition_penalty": 1.05, "top_k": 20}


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
def test_what_adapters_need(tiny_model, tmp_path):
    from kdprobe_vllm.lora import NO_LORA, LoraNeeds, lora_needs

    small = lora_needs(write_random_adapter(tiny_model, tmp_path / "a", r=2, target_modules=["q_proj", "o_proj"]))
    pattern = {"rank_pattern": {"q_proj": 20}, "target_modules": ["q_proj"]}
    large = lora_needs(write_random_adapter(tiny_model, tmp_path / "b", **pattern))
    assert small == LoraNeeds(8, frozenset({"q_proj", "o_proj"}))
    assert large == LoraNeeds(32, frozenset({"q_proj"}))
    assert large.covers(NO_LORA)
    assert not large.covers(small)
    assert not small.covers(large)
    assert lora_needs(write_random_adapter(tiny_model, tmp_path / "c", r=600)) == "its rank is 600, above 512"
    changed = write_random_adapter(tiny_model, tmp_path / "d", target_modules=["q_proj", "lm_head"])
    assert lora_needs(changed) == "it changes lm_head"


def test_the_listing_needs_no_vllm():
    (entry,) = [host_with("kdprobe_vllm").get("engines", "vllm")]
    assert entry.spec.options.model_fields["adapters"].default == "auto"


def test_without_vllm_the_engine_says_how_to_install_it(monkeypatch):
    from importlib.metadata import PackageNotFoundError

    from kdprobe_vllm import version

    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(version, "version", missing)
    with pytest.raises(KdprobeError, match=r"engine 'vllm' needs vLLM, which is not installed\. .*pip install vllm"):
        host_with("kdprobe_vllm").create("engines", "vllm")
