"""A real server of vLLM, with a small random model: what it says is what transformers says."""

import importlib.util
import os
import sys

import numpy as np
import pytest
from real_server import started

from kdprobe.models import load_tokenizer, prompt_ids
from kdprobe.teachers import Passage, Request, Sampling, TransformersOptions, TransformersTeacher
from kdprobe.testing import host_with

STARTS_WITHIN_SECONDS = 300
SAMPLING = Sampling(max_new_tokens=12, top_logprobs=32)
REQUESTS = [
    Request(f"p{apples}", [{"role": "user", "content": f"Tom has {apples} apples and buys 4 more. How many?"}])
    for apples in range(6)
]

pytestmark = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="needs vLLM: run make vllm")


@pytest.fixture(scope="module")
def folder(tiny_record, tmp_path_factory):
    """A Llama with heads as wide as vLLM needs them."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("served") / "model"
    tokenizer = AutoTokenizer.from_pretrained(tiny_record.path)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, initializer_range=0.1, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def teacher(folder, tmp_path_factory):
    def command(port):
        served = [f"--model={folder}", "--served-model-name=small", f"--port={port}"]
        limits = ["--dtype=float32", "--max-logprobs=32", "--enforce-eager"]
        return [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *served, *limits]

    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    log = tmp_path_factory.mktemp("vllm") / "log"
    with started(command, log, within_seconds=STARTS_WITHIN_SECONDS, env=environment) as url:
        options = {"base_url": url, "model": "small", "tokenizer": str(folder)}
        options |= {"extra": {"return_tokens_as_token_ids": True}}
        yield host_with("kdprobe_openai").create("teachers", "openai", options)


@pytest.fixture(scope="module")
def reference(folder):
    return TransformersTeacher(TransformersOptions(model=str(folder), dtype="float32", batch_size=3))


def _close(found, expected):
    np.testing.assert_allclose(found.token_logprobs, expected.token_logprobs, atol=1e-4)
    np.testing.assert_allclose(found.logprobs, expected.logprobs, atol=1e-4)
    np.testing.assert_allclose(found.tail_logmass[1.0], expected.tail_logmass[1.0], atol=1e-4)


def test_answers_and_their_log_probabilities_are_those_of_transformers(teacher, reference):
    served, expected = ({each.id: each for each in one.respond(REQUESTS, SAMPLING)} for one in (teacher, reference))
    # Of bytes that are no text, which a random model writes, the server's text says less than its tokens.
    described = {id_: answer for id_, answer in served.items() if answer.rows is not None}
    assert len(described) >= len(REQUESTS) / 2
    for id_, answer in described.items():
        assert answer.token_ids.tolist() == expected[id_].token_ids.tolist()
        assert answer.finished == expected[id_].finished
        _close(answer.rows, expected[id_].rows)


def test_given_texts_have_the_log_probabilities_of_transformers(teacher, reference):
    tokenizer = load_tokenizer(reference.record)
    text = tokenizer("Tom has 7 apples.", add_special_tokens=False)["input_ids"]
    passages = [Passage(each.id, prompt_ids(tokenizer, each.messages), text) for each in REQUESTS]
    found, expected = (dict(one.score(passages, SAMPLING)) for one in (teacher, reference))
    assert found.keys() == expected.keys()
    for id_, rows in expected.items():
        _close(found[id_], rows)
