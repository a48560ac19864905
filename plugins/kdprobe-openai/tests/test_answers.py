"""Answers without text, for many reasons, and answers with thinking."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from served import ANSWER, REQUESTS, SAMPLING

from kdprobe import KdprobeError, PromptPair
from kdprobe.models import tokenizer_digest
from kdprobe.testing import some_problems
from kdprobe.transfer import Setting, capture_transfer_set


def choice_with(finish_reason="stop", **message):
    def change(data):
        data["choices"][0].update(finish_reason=finish_reason, logprobs=None)
        data["choices"][0]["message"] = {"role": "assistant", "content": None, **message}

    return change


WITHOUT_TEXT = {
    "content filter": (choice_with("content_filter"), "content_filter"),
    "empty and filtered": (choice_with("content_filter", content=""), "content_filter"),
    "refusal": (choice_with(refusal="I cannot help with that."), "refusal"),
    "tool call": (choice_with("tool_calls", tool_calls=[{"type": "function"}]), "tool_calls"),
    "budget": (choice_with("length"), "length"),
    "ended at once": (choice_with("stop", content="  "), "stop"),
    "unknown reason": (choice_with("recitation"), "recitation"),
    "no reason": (choice_with(None), None),
    "no parts": (choice_with("stop", content=[]), "stop"),
}


@pytest.mark.parametrize("log_probabilities", ["required", "never"])
@pytest.mark.parametrize("kind", WITHOUT_TEXT)
def test_an_answer_without_text_is_an_answer(make, server, kind, log_probabilities):
    change, reason = WITHOUT_TEXT[kind]
    server.changes = [change]
    first, *others = make(concurrency=1, log_probabilities=log_probabilities).respond(REQUESTS, SAMPLING)
    assert len(server.asked) == len(REQUESTS)
    assert (first.text, first.token_ids.tolist(), first.rows, first.finish_reason) == ("", [], None, reason)
    assert first.finished == (reason == "stop")
    assert first.cut_off == (reason in {"length", None})
    assert all(answer.text == ANSWER and answer.finish_reason == "stop" for answer in others)


@pytest.mark.parametrize("reason", ["content_filter", "repetition", "length", None])
def test_an_unknown_finish_reason_is_kept_and_teaches_no_end(make, server, reason):
    server.changes = [lambda data: data["choices"][0].update(finish_reason=reason)]
    (answer,) = make(log_probabilities="never").respond(REQUESTS[:1], SAMPLING)
    assert (answer.text, answer.finish_reason, answer.finished) == (ANSWER, reason, False)
    assert answer.token_ids.tolist() == server.ids[:-1]


def test_content_may_be_a_list_of_parts(make, server):
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "12"}]}, {"type": "text", "text": ANSWER}]
    server.changes = [choice_with(content=parts)]
    (answer,) = make(log_probabilities="never").respond(REQUESTS[:1], SAMPLING)
    assert (answer.text, answer.thinking.text) == (ANSWER, "12")


def test_an_answer_without_a_choice_is_taken_in_the_end(make, server):
    empty = b'{"choices": []}'
    server.changes = [None, empty, empty]
    first, second = make(concurrency=1, attempts=2).respond(REQUESTS[:2], SAMPLING)
    assert (first.text, second.text, second.finish_reason) == (ANSWER, "", "no choice")
    assert len(server.asked) == 3


def test_a_server_that_never_gives_a_choice_ends_the_capture(make, server):
    server.always = b'{"choices": []}'
    many = [type(REQUESTS[0])(f"p{index}", REQUESTS[0].messages) for index in range(40)]
    with pytest.raises(KdprobeError, match="gave no usable answer in 1 attempt; last error: an answer without choices"):
        list(make(concurrency=1, attempts=1).respond(many, SAMPLING))
    assert len(server.asked) == 10


TOO_LONG = {
    "OpenAI": "This model's maximum context length is 4096 tokens. However, you requested 4130 tokens (3130 in the "
    "messages, 1000 in the completion). Please reduce the length of the messages or completion.",
    "vLLM": "'max_tokens' or 'max_completion_tokens' is too large: 512. This model's maximum context length is 2048 "
    "tokens and your request has 1800 input tokens (512 > 2048 - 1800).",
    "vLLM's engine": "The decoder prompt (length 5000) is longer than the maximum model length of 2048.",
    "llama.cpp": "request (4390 tokens) exceeds the available context size (4096 tokens), try increasing it",
    "TGI": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 `inputs` tokens "
    "and 512 `max_new_tokens`",
    "SGLang": "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
    "Gemini": "The input token count (81881) exceeds the maximum number of tokens allowed (65536).",
    "Anthropic": "prompt is too long: 208310 tokens > 200000 maximum",
    "Mistral": "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
}
FILTERED = {
    "Azure": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
    "Alibaba": "data_inspection_failed: Input data may contain inappropriate content.",
    "OpenRouter": "Your chosen model requires moderation and your input was flagged for violence.",
}
REFUSALS = [
    *((name, said, "prompt_too_long") for name, said in TOO_LONG.items()),
    *((name, said, "content_filter") for name, said in FILTERED.items()),
]


@pytest.mark.parametrize(("name", "said", "reason"), REFUSALS)
def test_a_prompt_that_is_not_taken_costs_itself_alone(make, server, capsys, name, said, reason):
    refused = REQUESTS[2].messages
    server.refuse = lambda body: {"error": {"message": said}} if body["messages"] == refused else None
    answers = {answer.id: answer for answer in make().respond(REQUESTS, SAMPLING)}
    assert (answers["p2"].text, answers["p2"].finish_reason) == ("", reason)
    assert sum(answer.text == ANSWER for answer in answers.values()) == len(REQUESTS) - 1
    assert len(server.asked) == len(REQUESTS)
    printed = capsys.readouterr().err
    assert "rejected the prompt of problem p2" in printed


@pytest.mark.parametrize("status", [413, 500])
def test_a_prompt_may_be_refused_with_other_statuses(make, server, status):
    body = b'{"error": {"code": 500, "message": "Context size has been exceeded.", "type": "server_error"}}'
    server.changes = [(status, {}, body)]
    (answer,) = make().respond(REQUESTS[:1], SAMPLING)
    assert (answer.finish_reason, len(server.asked)) == ("prompt_too_long", 1)


def test_a_refusal_may_come_as_a_success(make, server):
    server.changes = [b'{"error": {"message": "the request exceeds the available context size", "n_ctx": 256}}']
    (answer,) = make().respond(REQUESTS[:1], SAMPLING)
    assert (answer.finish_reason, len(server.asked)) == ("prompt_too_long", 1)


@pytest.mark.parametrize(
    "said", ["Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", "Unsupported value: 'seed'"]
)
def test_a_refused_field_ends_the_capture_and_says_what_helps(make, server, said):
    server.refuse = lambda _body: {"error": {"message": said}}
    with pytest.raises(KdprobeError, match="rejected the request") as error:
        list(make().respond(REQUESTS, SAMPLING))
    assert "leave_out" in error.value.hint
    assert "budget_field" in error.value.hint


THOUGHT = "It may be 12."
SERVED = {
    "reasoning_content": {"content": ANSWER, "reasoning_content": THOUGHT},
    "reasoning": {"content": ANSWER, "reasoning": THOUGHT},
    "tags": {"content": f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}"},
    "begun by the template": {"content": f"{THOUGHT}\n</think>\n\n{ANSWER}"},
}


@pytest.mark.parametrize("kind", SERVED)
def test_reasoning_is_told_from_the_answer_and_prepended_by_option(make, server, kind):
    server.always = choice_with(**SERVED[kind])
    decode = server.tokenizer.decode
    (dropped,) = make(log_probabilities="never").respond(REQUESTS[:1], SAMPLING)
    assert (dropped.text, dropped.thinking.text, dropped.thinking.taught) == (ANSWER, THOUGHT, False)
    assert decode(dropped.token_ids) == f"{ANSWER}<|im_end|>"
    (prepended,) = make(log_probabilities="never", reasoning="prepend").respond(REQUESTS[:1], SAMPLING)
    assert (prepended.text, prepended.thinking.text, prepended.thinking.taught) == (ANSWER, THOUGHT, True)
    assert decode(prepended.token_ids) == f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}<|im_end|>"


def test_thinking_that_the_budget_cuts_is_no_answer(make, server):
    server.always = choice_with("length", reasoning_content=THOUGHT)
    (dropped,) = make(log_probabilities="never").respond(REQUESTS[:1], SAMPLING)
    assert (dropped.text, dropped.token_ids.tolist(), dropped.thinking.closed) == ("", [], False)
    (prepended,) = make(log_probabilities="never", reasoning="prepend").respond(REQUESTS[:1], SAMPLING)
    assert server.tokenizer.decode(prepended.token_ids) == f"<think>\n{THOUGHT}"


def test_tokens_of_thinking_are_the_servers_count_or_ours(make, server):
    def counted(data):
        choice_with(content=ANSWER, reasoning_content=THOUGHT)(data)
        data["usage"]["completion_tokens_details"] = {"reasoning_tokens": 77}

    server.changes = [counted, choice_with(content=ANSWER, reasoning_content=THOUGHT)]
    answers = list(make(log_probabilities="never", concurrency=1).respond(REQUESTS[:2], SAMPLING))
    ours = len(server.tokenizer(THOUGHT, add_special_tokens=False)["input_ids"])
    assert [answer.thinking.tokens for answer in answers] == [77, ours]


def test_log_probabilities_of_thinking_are_cut_or_kept(make, server):
    """A server that describes every token, including the thinking's, and returns the thinking separately."""
    whole = f"<think>{THOUGHT}</think>{ANSWER}"
    server.write(whole)
    server.always = lambda data: data["choices"][0]["message"].update(content=ANSWER, reasoning_content=THOUGHT)
    asked = SAMPLING.__class__(max_new_tokens=200, top_logprobs=6)
    (kept,) = make(log_probabilities="required", reasoning="prepend").respond(REQUESTS[:1], asked)
    assert kept.token_ids.tolist() == server.ids
    (cut,) = make(log_probabilities="required").respond(REQUESTS[:1], asked)
    behind = len(cut.token_ids)
    assert server.tokenizer.decode(cut.token_ids) == f"{ANSWER}<|im_end|>"
    np.testing.assert_array_equal(cut.rows.ids, kept.rows.ids[-behind:])
    np.testing.assert_array_equal(cut.rows.logprobs, kept.rows.logprobs[-behind:])


@pytest.fixture
def capture(make, tokenizer):
    """Captures answers to some problems, requested one after the other."""

    def run(count=6, scratch=None, **options):
        problems = some_problems(count)
        conversations = {problem.id: PromptPair([{"role": "user", "content": problem.id}], []) for problem in problems}
        manifest = {"tokenizer": tokenizer_digest(tokenizer), "vocabulary": len(tokenizer)}
        setting = Setting(SAMPLING, manifest, scratch=scratch)
        return capture_transfer_set(make(concurrency=1, **options), problems, conversations, setting).responses

    return run


def asked(server):
    return [body["messages"][0]["content"] for _, _, body in server.asked]


def test_every_answer_is_on_disk_when_it_arrives(capture, server, tmp_path):
    server.changes = [None, None, None, 400]
    with pytest.raises(KdprobeError, match="status 400"):
        capture(scratch=tmp_path)
    first = asked(server)
    assert len(list(tmp_path.glob("answer-*.parquet"))) == 3
    del server.asked[:]
    responses = capture(scratch=tmp_path)
    assert [response.id for response in responses] == [problem.id for problem in some_problems(6)]
    assert len(server.asked) == 3
    assert set(asked(server)).isdisjoint(first[:3])
    assert all(response.text == ANSWER for response in responses)


def test_a_resumed_capture_is_the_whole_one(capture, server, tmp_path):
    server.changes = [None, None, 400]
    with pytest.raises(KdprobeError, match="status 400"):
        capture(scratch=tmp_path)
    resumed, whole = capture(scratch=tmp_path), capture()
    for one, other in zip(resumed, whole, strict=True):
        assert (one.id, one.text, one.token_ids.tolist()) == (other.id, other.text, other.token_ids.tolist())
    seeds = {body["messages"][0]["content"]: body["seed"] for _, _, body in server.asked}
    assert all(seeds[body["messages"][0]["content"]] == body["seed"] for _, _, body in server.asked)


def test_a_prompt_that_was_too_long_is_asked_again_by_a_capture_that_goes_on(capture, server, tmp_path):
    said = {"error": {"message": TOO_LONG["vLLM"]}}
    server.refuse = lambda body: said if body["messages"][0]["content"] == some_problems(6)[0].id else None
    server.changes = [None] * 5 + [429]
    with pytest.raises(KdprobeError, match="gave no usable answer"):
        capture(scratch=tmp_path, attempts=1)
    server.refuse = lambda body: None
    responses = capture(scratch=tmp_path)
    assert all(response.text == ANSWER for response in responses)


def test_answers_without_usable_log_probabilities_cost_themselves(capture, server, capsys):
    server.changes = [None, lambda data: data["choices"][0].update(logprobs=None)]
    responses = capture(log_probabilities="auto")
    lost = [response for response in responses if response.rows is None]
    assert [(response.text, response.token_ids.tolist()) for response in lost] == [(ANSWER, [])]
    assert "1 answer has no usable log-probabilities, so students learn nothing from it" in capsys.readouterr().err


def test_where_most_have_none_all_are_texts(capture, server, capsys):
    missing = lambda data: data["choices"][0].update(logprobs=None)  # noqa: E731
    server.changes = [missing, missing, None, missing, missing, missing]
    responses = capture()
    assert all(response.rows is None and response.token_ids.tolist() == server.ids for response in responses)
    assert "so those of 1 other answer are ignored" in capsys.readouterr().err


def test_a_capture_without_anything_to_learn_is_refused_and_begins_anew(capture, server, tmp_path):
    server.always = choice_with("content_filter")
    with pytest.raises(KdprobeError, match="answers are empty: 6 ended with finish_reason 'content_filter'"):
        capture(scratch=tmp_path)
    server.always = None
    assert all(response.text == ANSWER for response in capture(scratch=tmp_path))


CAPTURE = """
import sys
from pathlib import Path
from kdprobe import PromptPair
from kdprobe.models import load_tokenizer, tokenizer_digest
from kdprobe.teachers import Sampling
from kdprobe.testing import host_with, some_problems
from kdprobe.transfer import Setting, capture_transfer_set

options = {"base_url": sys.argv[1], "model": "small", "tokenizer": sys.argv[2], "concurrency": 1}
teacher = host_with("kdprobe_openai").create("teachers", "openai", options)
tokenizer = load_tokenizer(teacher.record)
manifest = {"tokenizer": tokenizer_digest(tokenizer), "vocabulary": len(tokenizer)}
problems = some_problems(6)
conversations = {problem.id: PromptPair([{"role": "user", "content": problem.id}], []) for problem in problems}
setting = Setting(Sampling(max_new_tokens=64, top_logprobs=6), manifest, scratch=Path(sys.argv[3]))
capture_transfer_set(teacher, problems, conversations, setting)
"""


def test_a_capture_that_is_killed_outright_has_what_arrived(capture, server, tiny_model, tmp_path):
    there = lambda: len(list(tmp_path.glob("answer-*.parquet")))  # noqa: E731
    arrived, released = threading.Event(), threading.Event()

    def hold(_data):
        if len(server.asked) > 3:
            arrived.set()
            released.wait()

    server.always = hold
    command = [sys.executable, "-c", CAPTURE, server.url, str(tiny_model), str(tmp_path)]
    with subprocess.Popen(command) as killed:
        while not arrived.wait(0.05):
            assert killed.poll() is None
        # The fourth answer never comes; the third was saved before it was read.
        while there() < 3:
            time.sleep(0.01)
        killed.kill()
    released.set()
    first = asked(server)[:3]
    server.always = None
    del server.asked[:]
    assert all(response.text == ANSWER for response in capture(scratch=tmp_path))
    assert len(server.asked) == 3
    assert set(asked(server)).isdisjoint(first)
