"""Texts that a server scores: rows, what it cannot do, and an experiment on gold solutions."""

import numpy as np
import pytest
from served import SAMPLING

from kdprobe import KdprobeError
from kdprobe.teachers import Passage, Sampling

PROMPT = [5, 6, 7]


@pytest.fixture
def passages(server):
    return [Passage(name, [*PROMPT, *range(10, 10 + extra)], server.ids) for extra, name in enumerate("abc")]


def test_rows_are_those_of_the_text_and_the_tail_is_the_rest(make, server, passages):
    scored = dict(make(concurrency=2).score(passages, SAMPLING))
    assert scored.keys() == {"a", "b", "c"}
    by_mass = np.argsort(-server.logprobs)
    dense = np.exp(np.take_along_axis(server.logprobs, by_mass, axis=-1))
    for rows in scored.values():
        assert (rows.ids == by_mass[:, :6]).all()
        np.testing.assert_allclose(np.exp(rows.logprobs), dense[:, :6], rtol=1e-5)
        np.testing.assert_allclose(np.exp(rows.tail_logmass[1.0]), dense[:, 6:].sum(axis=-1), rtol=1e-4)
        at_text = server.logprobs[np.arange(len(server.ids)), server.ids]
        np.testing.assert_allclose(rows.token_logprobs, at_text, rtol=1e-5)
    ((_, _, body), *_) = [asked for asked in server.asked if len(asked[2]["prompt"]) == len(PROMPT) + len(server.ids)]
    assert body["prompt"] == [*PROMPT, *server.ids]
    assert (body["echo"], body["max_tokens"], body["logprobs"]) == (True, 0, 6)
    # A server that scales log-probabilities by the temperature must not change them.
    assert body["temperature"] == 1


def test_other_temperatures_are_refused_before_anything_is_asked(make, server, passages):
    with pytest.raises(KdprobeError, match="cannot be used at temperature 2"):
        make().score(passages, Sampling(max_new_tokens=8, temperatures=(1.0, 2.0)))
    assert not server.asked


def _one_more(choice):
    for column in choice["logprobs"].values():
        column.append(column[-1])


def _other_token(choice):
    choice["logprobs"]["tokens"][-2] = "token_id:9"


def _one_column_short(choice):
    choice["logprobs"]["top_logprobs"].pop()


def _few_alternatives(choice):
    for top in choice["logprobs"]["top_logprobs"][1:]:
        while len(top) > 2:
            top.popitem()


def _too_much_mass(choice):
    for top in choice["logprobs"]["top_logprobs"][1:]:
        top.update(dict.fromkeys(top, -0.1))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda choice: choice.update(logprobs=None), "returns no log-probabilities of the prompt"),
        (_one_more, "log-probabilities of 16 tokens, but the prompt and the text together have 15"),
        (_other_token, "read token 9 where token"),
        (_one_column_short, "columns of different lengths"),
        (_few_alternatives, "only 2 of 6 requested alternatives"),
        (_too_much_mass, "more than 1"),
        (lambda choice: choice["logprobs"]["token_logprobs"].__setitem__(-2, None), "is not a number"),
    ],
)
def test_what_cannot_be_used_ends_the_capture_with_the_reason(make, server, change, said):
    server.write("Tom has 7.")
    passage = Passage("a", [1] * (15 - len(server.ids)), server.ids)
    server.always = lambda data: change(data["choices"][0])
    with pytest.raises(KdprobeError, match=rf"cannot score texts: for problem a, .*{said}") as raised:
        list(make(attempts=1).score([passage], SAMPLING))
    assert "return_tokens_as_token_ids" in raised.value.hint


@pytest.mark.parametrize(
    ("urls", "subject"),
    [
        ("http://a/v1", "The server http://a/v1"),
        (["http://a/v1", "http://b/v1"], "One of the servers http://a/v1, http://b/v1"),
    ],
)
def test_of_several_servers_none_is_blamed(make, urls, subject):
    assert make(base_url=urls).options.one_server == subject


def test_a_server_without_echo_is_refused_with_its_own_words(make, server, passages):
    server.refuse = lambda body: {"error": "echo is not supported"} if body.get("echo") else None
    with pytest.raises(KdprobeError, match=r"cannot score texts: it rejected problem . .*echo is not supported"):
        list(make().score(passages, SAMPLING))
