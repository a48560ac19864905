"""Tokens of prompts by class, neutral texts, and the tests of heads: without an effect, and with a planted one."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from kdprobe.probing.priming.heads.attending import MEASURES
from kdprobe.probing.priming.heads.layout import Layout, layouts, replaced
from kdprobe.probing.priming.heads.measured import PrimedHeads
from kdprobe.probing.priming.heads.neutral import SENTENCES, neutral_tokens
from kdprobe.probing.priming.heads.report import _sentences
from kdprobe.problems.problem import Problem
from kdprobe.stats.permutations.one_among import one_among

SPECIAL = {"<s>": 1, "<end>": 2, "<system>": 3}
QUESTION = "How many are left?"


class Words:
    """A tokenizer whose tokens are words with the space before them, line breaks, and a few special tokens."""

    all_special_ids = (SPECIAL["<s>"],)
    # As in Llama 3.1, some special tokens are declared only here.
    added_tokens_decoder = {id_: SimpleNamespace(special=True) for id_ in SPECIAL.values()}  # noqa: RUF012
    chat_template = "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}<end>\n{% endfor %}<s>assistant\n"

    def __init__(self):
        self.words = dict(SPECIAL)

    def apply_chat_template(self, messages, **_known):
        said = "".join(f"<s>{each['role']}\n{each['content']}<end>\n" for each in messages)
        return f"{said}<s>assistant\n"

    def __call__(self, text, add_special_tokens=False, return_offsets_mapping=False):
        import re

        found = list(re.finditer(r"<\w+>|\n+| ?[\w']+| ?[^\w\s]", text))
        ids = [self.words.setdefault(each[0], len(self.words) + 1) for each in found]
        # Special tokens have no characters.
        spans = [(0, 0) if each[0] in SPECIAL else each.span() for each in found]
        return {"input_ids": ids, "offset_mapping": spans}

    def decode(self, ids, **_known):
        names = {id_: word for word, id_ in self.words.items()}
        return "".join(names[id_] for id_ in ids)


@pytest.fixture
def words():
    return Words()


def classes(words, teacher, question=QUESTION):
    """The primed prompt, and its question and priming as text."""
    problem = Problem("p", question, "#### 1", "1")
    bare = words(words.apply_chat_template([{"role": "user", "content": question}]))["input_ids"]
    primed = words(words.apply_chat_template(teacher))["input_ids"]
    full, plain = layouts(words, problem, primed, bare)
    assert words.decode([plain.ids[position] for position in plain.question]) == words.decode(
        [full.ids[position] for position in full.question]
    )
    assert not plain.priming
    return (
        full,
        words.decode([full.ids[position] for position in full.question]),
        words.decode([full.ids[position] for position in full.priming]),
    )


@pytest.mark.parametrize(
    ("teacher", "question", "priming"),
    [
        ([("user", f"Explain it.\n\n{QUESTION}")], QUESTION, "Explain it.\n\n"),
        ([("user", f"{QUESTION}\nExplain it.")], QUESTION, "\nExplain it."),
        ([("system", "Explain it."), ("user", QUESTION)], QUESTION, "Explain it."),
        ([("system", "Be kind."), ("user", f"Go.\n\n{QUESTION}\nNow.")], QUESTION, "Be kind.Go.\n\n\nNow."),
        # The question's first word is written together with the space before it.
        ([("user", f"Explain: {QUESTION}")], " many are left?", "Explain:"),
        ([("user", QUESTION)], QUESTION, ""),
    ],
)
def test_tokens_are_the_questions_or_the_primings_or_frame_both(words, teacher, question, priming):
    messages = [{"role": role, "content": content} for role, content in teacher]
    _, of_question, of_priming = classes(words, messages)
    assert (of_question, of_priming) == (question, priming)


@pytest.mark.parametrize("content", [f"{QUESTION}\n{QUESTION}", "Something else."])
def test_a_question_that_is_not_found_once_is_not_guessed(words, content):
    assert classes(words, [{"role": "user", "content": content}])[1:] == ("", "")


def test_neutral_text_takes_the_primings_place_and_leaves_the_question_set_off(words):
    full, _, _ = classes(words, [{"role": "user", "content": f"Explain all of it, please.\n\n{QUESTION}"}])
    tokens = neutral_tokens(words, 0, len(full.priming))
    made = replaced(full, tokens, lambda id_: words.decode([id_]))
    assert len(made.ids) == len(full.ids)
    text = words.decode(made.ids)
    begin = words.decode(tokens[: len(full.priming) - 2])
    assert text == f"<s>user\n{begin}.\n\n{QUESTION}<end>\n<s>assistant\n"


def test_neutral_texts_differ_from_their_first_words_on_and_are_as_long_as_needed(words):
    begins = {tuple(neutral_tokens(words, text, 2)) for text in range(len(SENTENCES))}
    assert len(begins) == len(SENTENCES) == 40
    long = words.decode(neutral_tokens(words, 3, 2_000))
    assert not any(character.isdigit() or character == "?" for character in long)
    assert neutral_tokens(words, 3, 50) == neutral_tokens(words, 3, 2_000)[:50]
    # All sentences before one is repeated.
    assert all(sentence in long[: sum(map(len, SENTENCES)) + len(SENTENCES)] for sentence in SENTENCES)


@pytest.mark.parametrize("smallest", [0.0, 0.5, np.array([0.1, 3.0, 0.0])])
def test_one_among_others_has_the_ranks_of_its_standardised_values(smallest):
    values = np.array([[5.0, 0.0, 1.0], [1.0, 2.0, 1.0], [0.0, 4.0, 1.0], [2.0, 6.0, 1.0]])
    sizes = values[:, :2].std(axis=0) + np.broadcast_to(smallest, 3)[:2]
    scaled = np.column_stack([(values[:, :2] - values[:, :2].mean(axis=0)) / sizes, np.zeros(4)])
    expected = [(scaled.max(axis=1) >= scaled[0, head] - 1e-12).mean() for head in range(3)]
    np.testing.assert_allclose(one_among(values, smallest), expected)
    assert one_among(values, smallest)[0] == 1 / 4


def test_a_trifle_in_another_head_does_not_hide_a_large_effect():
    values = np.random.default_rng(0).normal(size=(20, 2)) * [0.05, 0]
    values[0, 0], values[1, 1] = 0.8, 1e-4
    assert one_among(values)[0] == 2 / 20
    assert one_among(values, 0.01)[0] == 1 / 20


def heads(values, smallest=0.0):
    """A strategy whose tested measures are `[problem, prompt, measure, layer, head]`, beginning with the primed one."""
    problems, prompts, _, *shape = values.shape
    every = np.zeros((problems, 1 + prompts, len(MEASURES), *shape))
    every[:, 1:, :2] = values
    names = [f"p{index}" for index in range(problems)]
    return PrimedHeads(
        "primed",
        names,
        names,
        [9] * problems,
        [5] * problems,
        every,
        {"divergence": smallest, "priming": smallest},
        False,
        seed=0,
    )


def drawn(random, problems=8, texts=20, layers=4, per_layer=5, spread=0.5):
    """Texts that are alike, each with effects of its own on every head, the same in all problems."""
    shape = (2, layers, per_layer)
    of_text = np.exp(spread * (random.normal(size=(1, texts, 1, 1, 1)) + random.standard_t(4, (1, texts, *shape))))
    of_problem = np.exp(0.3 * random.normal(size=(problems, 1, *shape)))
    rest = np.exp(0.2 * random.standard_t(4, (problems, texts, *shape)))
    return 0.05 * of_text * of_problem * rest * random.uniform(0.1, 2, shape)


@pytest.mark.parametrize("smallest", [0.0, 0.05])
def test_a_neutral_text_moves_a_head_in_at_most_one_case_in_twenty(smallest):
    random, repetitions = np.random.default_rng(4), 2_000
    wrong = alone = 0
    for _ in range(repetitions):
        found = heads(drawn(random), smallest)
        wrong += any(found.moved_heads(measure) for measure in ("divergence", "priming"))
        alone += any((found.p_over_problems[name] <= 0.05).any() for name in ("divergence", "priming"))
    # At most 5%, plus two standard errors of this simulation.
    assert wrong / repetitions < 0.05 + 2 * np.sqrt(0.05 * 0.95 / repetitions)
    # Over problems alone, each text differs from the others: it says nothing about texts.
    assert alone / repetitions > 0.9


@pytest.mark.parametrize("measure", ["divergence", "priming"])
def test_a_planted_head_is_found_and_named(measure):
    random, place = np.random.default_rng(1), ("divergence", "priming").index(measure)
    values = drawn(random)
    values[:, 0] = np.median(values[:, 1:], axis=1)
    values[:, 0, place, 2, 3] += 10 * values[:, 1:, place, 2, 3].max()
    found = heads(values)
    assert found.moved_heads(measure)[0] == (2, 3)
    assert heads(values, 100).moved_heads(measure) == []
    sentence = next(_sentences(found))
    what = {
        "divergence": "how it distributes attention over the tokens of the question and the response",
        "priming": "its attention",
    }
    assert "the priming has 9 tokens. 1 of 20 heads moved. " in sentence
    assert f". 1 changed {what[measure]}" in sentence
    assert ": layer 2, head 3 (+" in sentence
    assert sentence.count(" None is shown to have changed") == 1


def test_a_priming_that_depends_on_the_problem_has_its_mean_length():
    found = replace(heads(drawn(np.random.default_rng(1))), priming=[9] * 6 + [10] * 2)
    assert "the priming has 9.2 tokens on average. " in next(_sentences(found))


def test_a_head_that_is_moved_less_than_by_neutral_text_is_not_moved():
    values = drawn(np.random.default_rng(2))
    values[:, 0] = 0
    found = heads(values)
    assert found.p_over_problems["divergence"].min() < 0.05
    assert not any(found.moved_heads(measure) for measure in ("divergence", "priming"))
    assert "None of the 20 heads is shown to have moved." in next(_sentences(found))


@pytest.mark.parametrize(
    ("problems", "texts", "said"),
    [
        (5, 20, "5 problems: too few to tell"),
        (8, 19, "18 neutral texts: too few to tell"),
        (5, 2, "5 problems and 1 neutral text: too few to tell"),
    ],
)
def test_too_little_to_tell(problems, texts, said):
    values = drawn(np.random.default_rng(3), problems, texts)
    values[:, 0, 0, 1, 1] += 10
    found = heads(values)
    assert not found.decidable
    assert set(found.moved("divergence").ravel()) == {None}
    sentence = next(_sentences(found))
    assert said in sentence
    assert "at least 6 problems and 19 neutral texts are needed" in sentence
    assert "The divergence after priming exceeds that after neutral text most in layer 1, head 1 (+" in sentence


def test_a_layout_without_priming_stays_as_it_is():
    layout = Layout((1, 2, 3), (1,))
    assert replaced(layout, [], str) == layout
