"""Conversations as text: the same on any day, complete, or rejected with a one-sentence error."""

import datetime as dt

import pytest

from kdprobe.errors import KdprobeError
from kdprobe.models.conversation import Conversation, bind, prompt_form, prompt_ids, prompt_text, refuse_unread

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
DATED = "Today: {{ strftime_now('%d %b %Y') }}\n" + CHATML
NO_SYSTEM = (
    "{% for message in messages %}{% if message['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{{ message['content'] }}{% endfor %}"
)
FORGETFUL = "{% for message in messages if message['role'] == 'user' %}{{ message['content'] | trim }}{% endfor %}"
ALTERNATING = (
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}{{ message['content'] }}{% endfor %}"
)
HI = [{"role": "user", "content": "Hi there"}]


@pytest.fixture
def tokenizer(torch, tiny_model):
    """Makes the tiny model's tokenizer with another chat template."""
    from transformers import AutoTokenizer

    def make(template, **conversation):
        loaded = AutoTokenizer.from_pretrained(tiny_model)
        loaded.chat_template = template
        return bind(loaded, Conversation(**conversation))

    return make


@pytest.fixture
def another_day(monkeypatch):
    """Sets the clock of chat templates to the year 2031."""
    from transformers.utils import chat_template_utils

    class Later(dt.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2031, 12, 24)

    monkeypatch.setattr(chat_template_utils, "datetime", Later)


def test_a_template_that_asks_for_today_is_told_the_constant_date(tokenizer, another_day):
    assert prompt_text(tokenizer(DATED), HI).startswith("Today: 26 Jul 2024\n")
    assert prompt_text(tokenizer(DATED, date=dt.date(2025, 2, 3)), HI).startswith("Today: 03 Feb 2025\n")


def test_the_clock_is_left_as_it_was(tokenizer, another_day):
    from transformers.utils import chat_template_utils

    prompt_text(tokenizer(DATED), HI)
    with pytest.raises(KdprobeError):
        prompt_text(tokenizer(ALTERNATING), HI + HI)
    assert chat_template_utils.datetime.now().year == 2031


def test_lm_evals_own_rendering_is_the_same(tokenizer, another_day):
    """As called by lm-eval: the tokenizer's method, with lm-eval's own arguments."""
    bound = tokenizer(DATED, system="Be brief.", template_arguments={"enable_thinking": False})
    rendered = bound.apply_chat_template(HI, tokenize=False, add_generation_prompt=True, continue_final_message=False)
    assert rendered == prompt_text(bound, HI)
    assert rendered.count("Be brief.") == 1
    assert rendered.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")


def test_a_batch_of_conversations_is_rendered_as_each_alone(tokenizer, another_day):
    """As called by trainers: several conversations at once, by transformers' name for the argument."""
    bound = tokenizer(DATED, system="Be brief.")
    bye = [{"role": "user", "content": "Bye"}]
    rendered = bound.apply_chat_template(conversation=[HI, bye], tokenize=False, add_generation_prompt=True)
    assert rendered == [prompt_text(bound, HI), prompt_text(bound, bye)]


def test_template_arguments_reach_the_template(tokenizer):
    assert prompt_text(tokenizer(CHATML), HI).endswith("assistant\n")
    thinking_off = tokenizer(CHATML, template_arguments={"enable_thinking": False})
    assert prompt_text(thinking_off, HI).endswith("assistant\n<think>\n\n</think>\n\n")


def test_a_system_message_opens_conversations_that_have_none(tokenizer):
    bound = tokenizer(CHATML, system="Be brief.")
    assert prompt_text(bound, HI).startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi there")
    taught = [{"role": "system", "content": "Teach."}, *HI]
    assert "Be brief." not in prompt_text(bound, taught)
    ids = prompt_ids(bound, HI)
    assert bound.decode(ids) == prompt_text(bound, HI)


@pytest.mark.parametrize(
    ("template", "messages", "sentence"),
    [
        (NO_SYSTEM, [{"role": "system", "content": "Be brief."}, *HI], "a conversation with the roles system, user"),
        (ALTERNATING, HI + HI, "rejects a conversation with the roles user, user: Conversation roles must alternate"),
        (FORGETFUL, [{"role": "system", "content": "Be brief."}, *HI], "drops or changes the system message"),
        ("{{ messages[0]['content'][:4] }}", HI, "drops or changes the user message 'Hi there'"),
        ("{{ messages[0]['content'].nothing() }}", HI, "rejects a conversation with the role user"),
    ],
)
def test_what_a_template_does_not_render_whole_is_refused(tokenizer, template, messages, sentence):
    with pytest.raises(KdprobeError, match=sentence):
        prompt_text(tokenizer(template), messages)


@pytest.mark.parametrize("conversation", [{"system": "Be brief."}, {"template_arguments": {"enable_thinking": False}}])
def test_a_model_without_a_template_takes_neither_system_message_nor_arguments(tokenizer, conversation):
    assert prompt_text(tokenizer(None), HI) == "Question: Hi there\nAnswer:"
    with pytest.raises(KdprobeError, match="has no chat template"):
        tokenizer(None, **conversation)


def test_a_form_has_the_question_left_out_plain_or_in_json():
    assert prompt_form('<user>Say "hi"</user>', 'Say "hi"') == "<user>{question}</user>"
    assert prompt_form('[{"content": "Say \\"hi\\""}]', 'Say "hi"') == '[{"content": "{question}"}]'


def test_arguments_of_callers_that_say_nothing_do_not_hide_those_of_the_conversation(tokenizer):
    """lm-eval's vLLM passes `enable_thinking=None`."""
    bound = tokenizer(CHATML, template_arguments={"enable_thinking": False})
    for said in ({}, {"enable_thinking": None}, {"enable_thinking": True}):
        rendered = bound.apply_chat_template(HI, tokenize=False, add_generation_prompt=True, **said)
        assert rendered.endswith("<think>\n\n</think>\n\n"), said
    defined = "{{ 'defined' if enable_thinking is defined else 'not defined' }}"
    assert tokenizer(defined).apply_chat_template(HI, tokenize=False, enable_thinking=None) == "not defined"


def test_a_system_message_that_the_template_leaves_out_is_refused_when_it_is_told(tokenizer):
    with pytest.raises(KdprobeError, match="drops or changes the system message"):
        tokenizer(FORGETFUL, system="Be brief.")
    with pytest.raises(KdprobeError, match="rejects a conversation with the roles system, user"):
        tokenizer(NO_SYSTEM, system="Be brief.")


def test_arguments_that_no_template_reads_are_refused(tokenizer):
    asked = Conversation(template_arguments={"enable_thinking": False})
    refuse_unread(asked, [tokenizer(CHATML)])
    # Of a teacher and a student, one that reads it is enough.
    refuse_unread(asked, [tokenizer(DATED), tokenizer(FORGETFUL)])
    with pytest.raises(KdprobeError, match="does not use the argument 'thinking'"):
        refuse_unread(Conversation(template_arguments={"thinking": False}), [tokenizer(CHATML)])
