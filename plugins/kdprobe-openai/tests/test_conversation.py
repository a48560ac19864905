"""What the server's chat template is told besides the messages, and what the server says it read."""

import pytest
from served import REQUESTS, SAMPLING

from kdprobe import KdprobeError
from kdprobe.models import Conversation

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
