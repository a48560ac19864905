"""The teacher on a server that behaves: answers, log-probabilities, the tail, seeds, rates and resuming."""

import json
import threading
import time

import numpy as np
import pytest
from pydantic import ValidationError
from served import ANSWER, REQUESTS, SAMPLING, ServedModel, serving

from kdprobe import KdprobeError
from kdprobe.teachers import Sampling
from kdprobe.testing import check_teacher, host_with


def test_contract(options):
    answers = check_teacher(host_with("kdprobe_openai"), "openai", options, sampling=SAMPLING)
    assert all(answer.rows is not None for answer in answers)


def test_rows_are_what_the_model_said_and_the_tail_is_the_rest(make, server):
    answer = next(make().respond(REQUESTS[:1], SAMPLING))
    assert answer.text == ANSWER
    assert answer.token_ids.tolist() == server.ids
    assert answer.finished
    by_mass = np.argsort(-server.logprobs)
    assert (answer.rows.ids == by_mass[:, :6]).all()
    dense = np.exp(np.take_along_axis(server.logprobs, by_mass, axis=-1))
    np.testing.assert_allclose(np.exp(answer.rows.logprobs), dense[:, :6], rtol=1e-5)
    np.testing.assert_allclose(np.exp(answer.rows.tail_logmass[1.0]), dense[:, 6:].sum(axis=-1), rtol=1e-4)
    np.testing.assert_allclose(
        answer.rows.token_logprobs, server.logprobs[np.arange(len(server.ids)), server.ids], rtol=1e-5
    )


def test_a_tail_below_what_a_server_can_know_is_not_claimed(make, server):
    def certain(data):
        for entry in data["choices"][0]["logprobs"]["content"]:
            for rank, token in enumerate(entry["top_logprobs"]):
                token["logprob"] = 0.0 if rank == 0 else -50.0

    server.changes = [certain]
    answer = next(make().respond(REQUESTS[:1], SAMPLING))
    np.testing.assert_allclose(answer.rows.tail_logmass[1.0], np.log(6 * 2.0**-24), rtol=1e-6)


def test_a_cut_off_answer_is_marked_and_has_no_end_of_turn(make, server):
    (answer,) = make().respond(REQUESTS[:1], Sampling(max_new_tokens=3, top_logprobs=6))
    assert not answer.finished
    assert answer.token_ids.tolist() == server.ids[:3]
    (answer,) = make(log_probabilities="never").respond(REQUESTS[:1], Sampling(max_new_tokens=3))
    assert not answer.finished
    assert server.tokenizer.eos_token_id not in answer.token_ids


def test_a_character_that_the_budget_cuts_off_may_be_missing_from_the_text(make, server):
    server.write("One 🍎")
    cut = Sampling(max_new_tokens=len(server.ids) - 2, top_logprobs=6)
    for held_back in (True, False):

        def change(data, held_back=held_back):
            message = data["choices"][0]["message"]
            assert message["content"].endswith("\ufffd")
            if held_back:
                message["content"] = message["content"].rstrip("\ufffd")

        server.changes = [change]
        (answer,) = make(log_probabilities="required").respond(REQUESTS[:1], cut)
        assert answer.token_ids.tolist() == server.ids[:-2]
    # Of a finished answer, nothing may be missing.
    server.changes = [lambda data: data["choices"][0]["message"].update(content="One")]
    with pytest.raises(KdprobeError, match="the tokens decode to"):
        list(make(log_probabilities="required").respond(REQUESTS[:1], SAMPLING))


def test_texts_only_are_tokenised_for_the_student(make, server):
    answers = list(make(log_probabilities="never").respond(REQUESTS, SAMPLING))
    assert all(answer.rows is None and answer.token_ids.tolist() == server.ids for answer in answers)
    assert all("logprobs" not in body for _, _, body in server.asked)


def test_tokens_by_their_text_and_by_vllms_ids(make, server):
    def change(name_of):
        def apply(data):
            for entry in data["choices"][0]["logprobs"]["content"]:
                for token in (entry, *entry["top_logprobs"]):
                    token["token"] = name_of(token.pop("id"))

        return apply

    # Parts of characters have no text of their own, so only ids can name them.
    server.changes = [change("token_id:{}".format)]
    (answer,) = make(log_probabilities="required").respond(REQUESTS[:1], SAMPLING)
    assert answer.token_ids.tolist() == server.ids
    server.changes = [change(lambda id_: server.tokenizer.decode([id_]))]
    with pytest.raises(KdprobeError, match="matches none of the student's tokens"):
        list(make(log_probabilities="required").respond(REQUESTS[:1], SAMPLING))


def test_other_temperatures_are_refused_before_anything_is_asked(make, server):
    with pytest.raises(KdprobeError, match="cannot be used at temperature 2"):
        make().respond(REQUESTS, Sampling(max_new_tokens=8, temperatures=(1.0, 2.0)))
    assert not server.asked


def test_every_request_has_a_seed_of_its_own_and_keeps_it(make, server):
    asked = Sampling(max_new_tokens=64, temperature=0.7, top_p=0.9, seed=5, top_logprobs=6)
    list(make(extra={"top_k": 3}, unscaled=True).respond(REQUESTS, asked))
    list(make(concurrency=1, log_probabilities="never").respond(REQUESTS, asked))
    bodies = [body for _, _, body in server.asked]
    seeds = {body["messages"][0]["content"]: body["seed"] for body in bodies}
    assert len(set(seeds.values())) == len(REQUESTS)
    assert all(seeds[body["messages"][0]["content"]] == body["seed"] for body in bodies)
    assert bodies[0]["temperature"] == 0.7
    assert bodies[0]["top_p"] == 0.9
    assert bodies[0]["top_k"] == 3
    assert "top_k" not in bodies[-1]


@pytest.mark.parametrize(("temperature", "allowed"), [(0.0, True), (1.0, True), (0.7, False)])
def test_log_probabilities_of_an_unknown_temperature_are_refused(make, server, temperature, allowed):
    asked = Sampling(max_new_tokens=64, temperature=temperature, top_logprobs=6)
    if not allowed:
        with pytest.raises(KdprobeError, match=r"At a sampling temperature of 0\.7, some servers return"):
            make().respond(REQUESTS, asked)
        assert not server.asked
    assert len(list(make(unscaled=not allowed).respond(REQUESTS, asked))) == len(REQUESTS)


def test_fields_that_a_server_refuses_are_left_out_or_called_otherwise(make, server):
    options = {
        "leave_out": ["seed", "temperature"],
        "budget_field": "max_completion_tokens",
        "extra": {"effort": "low"},
    }
    (answer,) = make(log_probabilities="never", **options).respond(REQUESTS[:1], SAMPLING)
    assert answer.token_ids.tolist() == server.ids
    ((_, _, body),) = server.asked
    assert sorted(body) == ["effort", "max_completion_tokens", "messages", "model", "top_p"]
    # The server's own temperature is not known, and so is not that of its log-probabilities.
    with pytest.raises(KdprobeError, match="At the server's own sampling temperature, some servers return"):
        make(**options).respond(REQUESTS[:1], SAMPLING)


def test_concurrency_is_a_bound(make, server):
    server.always = lambda _data: time.sleep(0.05)
    list(make(concurrency=2).respond(REQUESTS, SAMPLING))
    assert server.most_at_once == 2


def test_several_servers_share_the_requests(make, server, tokenizer):
    with serving(ServedModel(tokenizer)) as other:
        # Each waits until the other has been asked, so neither can answer everything.
        both = threading.Barrier(2, timeout=30)
        server.changes, other.changes = ([lambda _data: both.wait()] for _ in range(2))
        answers = list(make(base_url=[server.url, other.url], concurrency=1, timeout=60).respond(REQUESTS, SAMPLING))
    assert {answer.id for answer in answers} == {request.id for request in REQUESTS}
    asked = [body["messages"][0]["content"] for each in (server, other) for *_, body in each.asked]
    assert sorted(asked) == sorted(request.messages[0]["content"] for request in REQUESTS)
    assert server.asked
    assert other.asked


def test_a_server_that_fails_is_named_and_stops_the_others(make, server, tokenizer):
    with serving(ServedModel(tokenizer)) as other:
        other.always = 401
        with pytest.raises(KdprobeError, match=rf"The server {other.url} requires a key"):
            list(make(base_url=[server.url, other.url], concurrency=1, timeout=60).respond(REQUESTS, SAMPLING))


def test_requests_per_minute_are_spaced(make, server):
    list(make(requests_per_minute=1200).respond(REQUESTS, SAMPLING))
    times = sorted(when for when, _, _ in server.asked)
    # Spaced when sent; what arrives may be some milliseconds closer.
    assert times[-1] - times[0] >= 0.9 * 4 * 60 / 1200


def test_provenance_changes_with_what_decides_answers_and_with_nothing_else(make):
    def provenance_of(**more):
        return json.dumps(make(**more).provenance, sort_keys=True)

    assert provenance_of() == provenance_of(concurrency=1, attempts=9, timeout=7, longest_wait=1, requests_per_minute=3)
    changed = [{"revision": "b"}, {"model": "other"}, {"extra": {"a": 1}}, {"log_probabilities": "never"}]
    assert len({provenance_of(), *(provenance_of(**more) for more in changed)}) == 1 + len(changed)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"base_url": "localhost:8000"}, "must start with http"),
        ({"base_url": "https://me:secret@host/v1"}, "must not contain a user"),
        ({"base_url": "https://host/v1?key=secret"}, "must not contain a user"),
        ({"base_url": ["http://host/v1", "http://host/v1/"]}, "must not name a server twice"),
        ({"base_url": []}, "at least 1 item"),
        ({"extra": {"logprobs": False, "n": 2}}, "must not contain logprobs, n"),
        ({"leave_out": ["messages"]}, "Input should be 'temperature', 'top_p' or 'seed'"),
        ({"key_variable": "sk-123"}, "String should match pattern"),
        ({"api_key": "sk-123"}, "Extra inputs"),
    ],
)
def test_options_that_would_mislead_are_refused(make, wrong, said):
    with pytest.raises(ValidationError, match=said):
        make(**wrong)
