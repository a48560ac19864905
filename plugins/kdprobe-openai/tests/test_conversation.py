"""What the server's chat template receives besides the messages, and what the server reports having read."""

import pytest
from served import REQUESTS, SAMPLING

from kdprobe import KdprobeError
from kdprobe.models import Conversation, load_tokenizer
from kdprobe_openai.answer import Answer, UnusableError
from kdprobe_openai.tokens import TokenMap

THINKING_OFF = {"enable_thinking": False}


def test_the_system_message_and_the_template_arguments_are_sent(make, server):
    teacher = make(extra={"top_k": 3})
    teacher.conversation = Conversation(system="Be brief.", template_arguments=THINKING_OFF)
    list(teacher.respond(REQUESTS[:1], SAMPLING))
    ((_, _, body),) = server.asked
    assert body["messages"] == [{"role": "system", "content": "Be brief."}, *REQUESTS[0].messages]
    assert body["chat_template_kwargs"] == THINKING_OFF
    assert body["top_k"] == 3


def test_nothing_is_sent_where_nothing_was_told(make, server):
    list(make().respond(REQUESTS[:1], SAMPLING))
    ((_, _, body),) = server.asked
    assert body["messages"] == REQUESTS[0].messages
    assert "chat_template_kwargs" not in body


def test_arguments_that_are_told_twice_are_refused(make):
    teacher = make(extra={"chat_template_kwargs": THINKING_OFF})
    teacher.conversation = Conversation(system="Be brief.")
    with pytest.raises(KdprobeError, match=r"Both \[conversation\] template_arguments and teacher\.options\.extra"):
        teacher.conversation = Conversation(template_arguments=THINKING_OFF)


@pytest.mark.parametrize("served", [[5, 6, 7], None, "5 6 7", [], [5, True]])
@pytest.mark.parametrize("log_probabilities", ["required", "never"])
def test_prompt_ids_are_kept_where_the_server_returns_them(make, server, served, log_probabilities):
    server.always = lambda data: data.update(prompt_token_ids=served)
    (answer,) = make(log_probabilities=log_probabilities).respond(REQUESTS[:1], SAMPLING)
    expected = served if served == [5, 6, 7] else None
    assert (None if answer.prompt_ids is None else answer.prompt_ids.tolist()) == expected


def test_an_end_of_turn_that_is_none_of_the_tokenizers_named_tokens_is_one(tiny_record):
    """Like Gemma's `<end_of_turn>`, while the tokenizer's end of sequence is `<eos>`."""
    from tokenizers import AddedToken

    tokenizer = load_tokenizer(tiny_record)
    tokenizer.add_tokens([AddedToken("<end_of_turn>", special=True)])
    end = tokenizer.convert_tokens_to_ids("<end_of_turn>")
    assert end not in tokenizer.all_special_ids

    def ids_of(*written):
        tokens = [{"id": id_, "token": tokenizer.decode([id_]), "logprob": -0.5} for id_ in written]
        entries = [{**token, "top_logprobs": [token]} for token in tokens]
        answer = Answer("Tom", "stop", tokens=len(written), entries=entries)
        return TokenMap(tokenizer).rows(answer, 1, with_thinking=False)[0]

    word = tokenizer("Tom", add_special_tokens=False)["input_ids"]
    assert ids_of(*word, end) == [*word, end]
    with pytest.raises(UnusableError, match="omits the end of turn"):
        ids_of(*word)
