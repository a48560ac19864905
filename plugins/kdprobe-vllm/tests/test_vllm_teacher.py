"""The teacher `vllm` at work on a small random model, against the teacher `transformers`."""

import json
import os
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

import kdprobe
from kdprobe import KdprobeError
from kdprobe.models import prompt_ids
from kdprobe.teachers import PROMPT_TOO_LONG, Passage, Request, Sampling, TransformersOptions, TransformersTeacher
from kdprobe.testing import check_teacher, host_with, problem_rows, write_random_adapter

# So little memory that requests are read in pieces, interrupted and read again.
OPTIONS = {"kv_cache_gib": 0.003, "max_model_len": 1024, "dtype": "float32"}
GREEDY = Sampling(24, top_logprobs=8, temperatures=(0.5, 1.0, 2.0))


@pytest.fixture(scope="module")
def padded(model, tmp_path_factory):
    """The model with more rows of logits than tokens, which are often the largest."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("padded")
    loaded = AutoModelForCausalLM.from_pretrained(model)
    tokenizer = AutoTokenizer.from_pretrained(model)
    loaded.resize_token_embeddings(len(tokenizer) + 64, mean_resizing=False)
    torch.manual_seed(1)
    loaded.lm_head.weight.data[len(tokenizer) :].normal_(std=0.25)
    loaded.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def vllm_teacher(model, **options):
    return host_with("kdprobe_vllm").create("teachers", "vllm", {"model": str(model), **OPTIONS, **options})


@pytest.fixture(scope="module")
def teacher(padded):
    """The teacher; starting it takes long, so that tests share it."""
    built = vllm_teacher(padded)
    yield built
    built.close()


@pytest.fixture(scope="module")
def reference(padded):
    return TransformersTeacher(TransformersOptions(model=str(padded), dtype="float32"))


@pytest.fixture(scope="module")
def requests():
    """Short and long conversations, so many that not all fit into memory at once."""
    rows = problem_rows(0, 16)
    examples = " ".join(row["question"] for row in rows)
    return [
        Request(f"p{index}", [{"role": "user", "content": f"{examples if index % 2 else ''}{row['question']}"[-2000:]}])
        for index, row in enumerate(rows)
    ]


def assert_same_rows(ours, theirs):
    """Rows agree, except for the order of tokens that are equally likely."""
    np.testing.assert_allclose(ours.logprobs, theirs.logprobs, atol=1e-3)
    assert (ours.ids == theirs.ids).mean() > 0.99
    np.testing.assert_allclose(ours.token_logprobs, theirs.token_logprobs, atol=1e-3)
    assert ours.tail_logmass.keys() == theirs.tail_logmass.keys()
    for temperature, tail in theirs.tail_logmass.items():
        np.testing.assert_allclose(ours.tail_logmass[temperature], tail, atol=1e-3)


def test_the_teacher_is_that_of_transformers(teacher, reference, requests, padded):
    ours = {answer.id: answer for answer in teacher.respond(requests, GREEDY)}
    theirs = {answer.id: answer for answer in reference.respond(requests, GREEDY)}
    same = [id_ for id_ in theirs if ours[id_].token_ids.tolist() == theirs[id_].token_ids.tolist()]
    assert len(same) >= 0.95 * len(requests)
    for id_ in same:
        assert_same_rows(ours[id_].rows, theirs[id_].rows)
        assert (ours[id_].text, ours[id_].finished) == (theirs[id_].text, theirs[id_].finished)
    # The test would pass without the ids beyond the vocabulary, so check that they matter.
    assert_padding_wins_somewhere(padded, reference, requests[0], theirs["p0"])
    prompts = {request.id: prompt_ids(reference.loaded().tokenizer, request.messages) for request in requests}
    passages = [Passage(id_, prompts[id_], theirs["p1"].token_ids.tolist()) for id_ in prompts]
    scored, expected = (dict(each.score(passages, GREEDY)) for each in (teacher, reference))
    assert scored.keys() == expected.keys()
    for id_ in expected:
        assert_same_rows(scored[id_], expected[id_])


def test_two_processes_that_share_each_layer_are_that_of_transformers(reference, requests, padded, monkeypatch):
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "0|1")  # A core for each.
    shared = vllm_teacher(padded, tensor_parallel_size=2)
    try:
        test_the_teacher_is_that_of_transformers(shared, reference, requests, padded)
    finally:
        shared.close()


def assert_padding_wins_somewhere(padded, reference, request, answer):
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = reference.loaded().tokenizer
    ids = [*prompt_ids(tokenizer, request.messages), *answer.token_ids.tolist()]
    with torch.inference_mode():
        best = AutoModelForCausalLM.from_pretrained(padded)(torch.tensor([ids])).logits[0].argmax(-1)
    assert (best >= len(tokenizer)).any()


def test_the_contract(teacher):
    check_teacher(SimpleNamespace(create=lambda *_: teacher), "vllm", {})


def test_a_sampled_answer_does_not_depend_on_the_others(teacher, requests):
    sampling = Sampling(12, temperature=1.0, top_p=0.9, seed=3, top_logprobs=4)
    together = {answer.id: answer.token_ids.tolist() for answer in teacher.respond(requests[:6], sampling)}
    (alone,) = teacher.respond(requests[2:3], sampling)
    assert together["p2"] == alone.token_ids.tolist()
    again = Request("other", requests[2].messages)
    (other,) = teacher.respond([again], sampling)
    assert other.token_ids.tolist() != alone.token_ids.tolist()


def test_a_prompt_without_room_for_an_answer_gets_none(teacher, requests, capsys):
    long = Request("long", [{"role": "user", "content": "apples and pears " * 1000}])
    answers = {answer.id: answer for answer in teacher.respond([long, requests[0]], GREEDY)}
    assert answers["long"].finish_reason == PROMPT_TOO_LONG
    assert len(answers["p0"].token_ids)
    assert "The prompt of problem long is too long" in capsys.readouterr().err
    with pytest.raises(KdprobeError, match=r"passage 'x' has 1025 tokens .* context window of 1024"):
        [*teacher.score([Passage("x", [5] * 1000, [6] * 25)], GREEDY)]


def test_more_log_probabilities_than_it_keeps_are_refused(teacher, requests):
    with pytest.raises(KdprobeError, match=r"at most 2048 .* or use the teacher 'transformers'"):
        teacher.respond(requests, Sampling(1, top_logprobs=2049))


def test_an_adapter_is_used(model, requests, tmp_path):
    adapter = write_random_adapter(model, tmp_path / "adapter", size=0.3)
    adapted = vllm_teacher(model, adapter=str(adapter))
    expected = TransformersTeacher(TransformersOptions(model=str(model), adapter=str(adapter), dtype="float32"))
    tokenizer = expected.loaded().tokenizer
    passage = Passage("x", prompt_ids(tokenizer, requests[0].messages), [*range(20, 40)])
    try:
        ((_, ours),) = adapted.score([passage], GREEDY)
    finally:
        adapted.close()
    ((_, theirs),) = expected.score([passage], GREEDY)
    assert_same_rows(ours, theirs)
    assert adapted.provenance["adapter"] != vllm_teacher(model).provenance["adapter"]


def test_an_experiment_is_taught_by_it(model, tmp_path):
    config = {
        "name": "mine",
        "strategies": ["none"],
        "resources": {"threads": 1},
        "problems": {"source": "gsm-symbolic", "options": {"templates": [6, 16]}, "transfer": 4, "test": 4},
        "student": {"model": str(model)},
        "teacher": {"name": "vllm", "options": {"model": str(model), **OPTIONS, "check": False}},
        "transfer": {"max_new_tokens": 16, "top_logprobs": 8},
        "distill": {"options": {"epochs": 1, "batch_size": 2, "learning_rate": 0.05, "temperature": 2.0}},
        "controls": {"untrained": False, "fine_tuned": False},
        "evaluation": {"max_new_tokens": 8, "batch_size": 4},
        "probe": {"problems": 2, "batch_size": 2, "analyses": ["confidence"]},
    }
    run = kdprobe.run(config, store=tmp_path / "store", progress=False)
    assert len(run.scores) == 1
    (manifest,) = (tmp_path / "store" / "stages" / "transfer").glob("*/stage.json")
    told = json.loads(manifest.read_text(encoding="utf-8"))["settings"]["teacher"]
    assert told["teacher"] == "vllm"
    assert told["check"] is False
    assert told["vllm"].startswith("0.")
    # A process that has ended stays a zombie until this one asks about it.
    _, left = psutil.wait_procs(psutil.Process(os.getpid()).children(recursive=True), timeout=10)
    alive = [each for each in left if each.status() != psutil.STATUS_ZOMBIE]
    assert not [each for each in alive if each.name().startswith("VLLM")], [each.status() for each in left]
