"""Models that vLLM can run, and the reason why its tests are skipped elsewhere."""

from importlib.util import find_spec

import pytest

pytest_plugins = ["kdprobe.testing"]


def pytest_collection_modifyitems(items):
    """Some tests need vLLM, which has an environment of its own."""
    if find_spec("vllm") is None:
        for item in items:
            if item.path.name.startswith("test_vllm"):
                item.add_marker(pytest.mark.skip(reason="vLLM is not installed here; `make vllm` runs these tests"))


@pytest.fixture(scope="session")
def model(tiny_model, tmp_path_factory):
    """The test kit's tokenizer with a random Llama whose heads are as wide as vLLM's kernels need."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

    folder = tmp_path_factory.mktemp("model")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=128,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        # Large weights, so that heads differ from uniform attention and tokens from a uniform guess.
        initializer_range=0.2,
        vocab_size=len(tokenizer),
        max_position_embeddings=1024,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
