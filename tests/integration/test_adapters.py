"""Adapters that come and go on one base."""

import pytest


@pytest.fixture(scope="module")
def adapters(tiny_model, torch, tmp_path_factory):
    """Folders of adapters of several kinds with random weights."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    kinds = {
        "lora": {"target_modules": ["q_proj", "o_proj"]},
        "whole": {"target_modules": ["v_proj"], "modules_to_save": ["lm_head"]},
        "dora": {"target_modules": ["k_proj", "down_proj"], "use_dora": True},
        "tokens": {"target_modules": ["q_proj"], "trainable_token_indices": [1, 2, 3]},
    }
    folders = {}
    for number, (name, known) in enumerate(kinds.items()):
        torch.manual_seed(number)
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), LoraConfig(r=4, **known))
        for parameter in model.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.3)
        folders[name] = tmp_path_factory.mktemp("adapters") / name
        model.save_pretrained(folders[name])
    return folders


def logits(torch, loaded):
    ids = torch.arange(30)[None] + 5
    with torch.inference_mode():
        return loaded.model(input_ids=ids, use_cache=False).logits


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings")
def test_an_applied_adapter_is_the_merged_one_and_leaves_no_trace(torch, tiny_record, adapters):
    from kdprobe.models.adapters import applied, merge, resolve_adapter
    from kdprobe.models.load import load

    base = load(tiny_record)
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    untouched = logits(torch, base)
    for name, folder in adapters.items():
        expected = logits(torch, merge(load(tiny_record), folder))
        assert not torch.allclose(expected, untouched, atol=0.1), name
        with applied(base, resolve_adapter(str(folder))) as student:
            assert torch.allclose(logits(torch, student), expected, atol=1e-5), name
        after = base.model.state_dict()
        assert list(after) == list(before), name
        assert all(torch.equal(after[key], value) for key, value in before.items()), name
        assert torch.equal(logits(torch, base), untouched), name
        assert not any("peft" in type(module).__module__ for module in base.model.modules()), name


def test_the_base_is_what_it_was_also_after_an_error(torch, tiny_record, adapters):
    from kdprobe.models.adapters import applied, resolve_adapter
    from kdprobe.models.load import load

    base = load(tiny_record)
    untouched = logits(torch, base)
    with pytest.raises(ZeroDivisionError), applied(base, resolve_adapter(str(adapters["lora"]))):
        raise ZeroDivisionError
    assert torch.equal(logits(torch, base), untouched)
