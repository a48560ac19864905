"""Batches of conversations give the same results, and the same errors, as conversations one by one."""

import pytest

from kdprobe.errors import KdprobeError
from kdprobe.models.conversation import Conversation, bind, prompt_text, text_ids
from kdprobe.models.outline import batches
from kdprobe.models.outline.batches import prompt_texts, texts_ids

CHATML = (
    "{% for message in messages %}{% if message['content'] == 'Never.' %}{{ raise_exception('no nevers') }}{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
COUNTING = (
    "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{{ m.content }}{% endfor %}{{ ns.n }}"
)


@pytest.fixture
def tokenizer(torch, tiny_model):
    from transformers import AutoTokenizer

    def make(template, **conversation):
        loaded = AutoTokenizer.from_pretrained(tiny_model)
        loaded.chat_template = template
        return bind(loaded, Conversation(**conversation))

    return make


def asked(*texts):
    return [[{"role": "user", "content": text}] for text in texts]


CONVERSATIONS = [
    *asked("Hi there", "Ünïcödé ½ 😀", "{{ braces }} {% raw %}", "<|im_end|>", "  white space\n"),
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi there"}],
    [
        {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "And 2 + 2?"},
    ],
]


@pytest.mark.parametrize("template", [CHATML, "Today: {{ strftime_now('%d %b %Y') }}\n" + CHATML, COUNTING, None])
@pytest.mark.parametrize("size", [1, 3, 256])
def test_a_batch_is_rendered_and_tokenised_as_each_alone(tokenizer, monkeypatch, template, size):
    monkeypatch.setattr(batches, "_SIZE", size)
    bound = tokenizer(template, **({"system": "Be kind."} if template == CHATML else {}))
    texts = prompt_texts(bound, CONVERSATIONS)
    assert texts == [prompt_text(bound, messages) for messages in CONVERSATIONS]
    assert texts_ids(bound, texts) == [text_ids(bound, text) for text in texts]


def test_no_conversations_are_no_texts(tokenizer):
    assert prompt_texts(tokenizer(CHATML), []) == texts_ids(tokenizer(CHATML), []) == []


@pytest.mark.parametrize(
    ("template", "conversations", "sentence"),
    [
        (CHATML, asked("Hi", "Never.", "Bye"), "rejects a conversation with the role user: no nevers"),
        ("{{ messages[0]['content'][:4] }}", asked("Hi", "Hi there"), "drops or changes the user message 'Hi there'"),
        (CHATML, [*asked("Hi"), []], "rejects a conversation"),
    ],
)
def test_one_that_is_refused_is_refused_in_its_own_words(tokenizer, template, conversations, sentence):
    with pytest.raises(KdprobeError, match=sentence):
        prompt_texts(tokenizer(template), conversations)


def test_a_batch_may_take_longer_than_a_single_rendering_may(tokenizer, monkeypatch):
    """Limits apply to a single rendering, so the conversations of a batch that exceeds them are rendered one by one."""
    slow = "{% for i in range(20000) %}{% for j in range(10) %}{% endfor %}{% endfor %}{{ messages[0]['content'] }}"
    monkeypatch.setenv("KDPROBE_TEMPLATE_SECONDS", "inf")
    bound = tokenizer(slow)
    expected = prompt_texts(bound, asked(*"abc"))

    rendered, many = [], bound.apply_chat_template

    def refuse_many(conversation, *arguments, **named):
        rendered.append(len(conversation))
        if len(conversation) > 1:
            raise KdprobeError("The chat template takes longer than 20 seconds.")
        return many(conversation, *arguments, **named)

    monkeypatch.setattr(bound, "apply_chat_template", refuse_many)
    assert prompt_texts(bound, asked(*"abc")) == expected == ["a", "b", "c"]
    assert rendered == [3, 1, 1, 1]
