"""Parts of responses, from token ids of real tokenisations, and shares of the largest tokens."""

import numpy as np
import pytest

from kdprobe.probing.priming.measured import PrimingMap, ReadResponse, position_name
from kdprobe.probing.priming.parts import PARTS, POSITIONS, parts_of, pieces
from kdprobe.probing.priming.reading import TokenChanges
from kdprobe.probing.priming.report import _outcome


class Characters:
    """A tokenizer with a token per character; 0 ends the turn. Like many, it drops a leading space when it decodes."""

    def decode(self, ids, clean_up_tokenization_spaces=False):
        return "".join("<end>" if id_ == 0 else chr(id_) for id_ in ids).removeprefix(" ")


def read_parts(text):
    return parts_of(Characters(), [*map(ord, text), 0], {0})


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("2 + 40 = 42.\n#### 42", "#### 42"),
        ("2 + 40 = 42. The answer is 42.", "42"),
        ("So $\\boxed{42}$", "42"),
        ("2 + 40 = 42", "42"),
        ("I cannot say.", ""),
    ],
)
def test_the_final_answer_is_what_the_extractor_reads(text, answer):
    parts = read_parts(text)
    assert parts[-1] == "end_of_turn"
    assert (
        "".join(character for character, part in zip(text, parts[:-1], strict=True) if part == "final_answer") == answer
    )
    # The last one, not an equal number before it.
    if answer:
        assert parts[text.rindex(answer)] == "final_answer"


def test_other_tokens_are_words_numbers_or_symbols():
    parts = read_parts("So 2+3 = 5\n#### 5")
    assert "".join(part[0] for part in parts) == "wwsnsnsssns" + "ffffff" + "e"


def test_a_response_that_was_cut_off_has_no_end():
    assert parts_of(Characters(), list(map(ord, "is 1")), {0}) == ["words", "words", "symbols", "final_answer"]
    assert parts_of(Characters(), [], {0}) == []


def test_pieces_join_to_the_text():
    text = " a  b c"
    assert "".join(pieces(Characters(), list(map(ord, text)))) == text.removeprefix(" ")


@pytest.fixture(scope="module")
def bytewise():
    """A byte-level tokenizer without merges: a token per byte."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    base = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(letters)}, merges=[]))
    base.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    base.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=base)


def test_characters_of_several_bytes_are_not_lost(bytewise):
    text = "né 日本 👍👍: 2 €, a \ufffd b"
    ids = bytewise(text)["input_ids"]
    assert len(ids) == len(text.encode())
    found = pieces(bytewise, ids)
    assert "".join(found) == text
    assert found[:4] == ["n", "", "é", " "]
    # A response that was cut off within a character.
    assert "".join(pieces(bytewise, bytewise("né")["input_ids"][:-1])) == "n\ufffd"


def test_all_bytes_of_a_character_belong_to_its_part(bytewise):
    text = "é 👍 \u0663 é2"
    parts = parts_of(bytewise, bytewise(text)["input_ids"], set())
    expected = {"é": "w", " ": "s", "👍": "s", "\u0663": "n", "2": "f"}
    assert "".join(part[0] for part in parts) == "".join(expected[each] * len(each.encode()) for each in text)


def test_the_final_answer_is_found_after_characters_of_several_bytes(bytewise):
    text = "Café é é: 2\n#### 42 €"
    ids = bytewise(text)["input_ids"]
    parts = parts_of(bytewise, ids, set())
    final = [id_ for id_, part in zip(ids, parts, strict=True) if part == "final_answer"]
    assert bytewise.decode(final) == "#### 42"


def mapped(*rows):
    """A map of responses with these divergences."""
    responses = [
        ReadResponse(
            f"p{index}",
            tuple(range(len(kl))),
            np.array(["words"] * len(kl)),
            TokenChanges(np.array(kl, dtype=float), np.zeros((len(kl), 2)), np.zeros((len(kl), 2), dtype=int)),
        )
        for index, kl in enumerate(rows)
    ]
    return PrimingMap("teacher", False, responses)


def test_one_token_that_carries_everything():
    share, interval = mapped(*[[0, 0, 5, 0, 0, 0, 0, 0, 0, 0]] * 10).top_share
    assert share == pytest.approx(1)
    assert (interval.low, interval.high) == pytest.approx((1, 1))


def test_equal_tokens_share_equally():
    assert mapped([1] * 7, [1] * 6).top_share[0] == pytest.approx(0.1)


def test_a_fraction_of_a_token_counts_in_proportion():
    # A tenth of 15 tokens is one and a half.
    assert mapped([4, 2, *[1] * 13]).top_share[0] == pytest.approx((4 + 1) / 19)


def test_the_share_in_resamples_is_that_of_the_repeated_responses():
    from kdprobe.probing.priming.measured import _top_shares

    random = np.random.default_rng(0)
    kl, counts = random.exponential(size=12), np.array([0, 1, 2, 3] * 3)
    order = np.argsort(-kl)
    repeated = np.sort(np.repeat(kl, counts))[::-1]
    cumulative = np.interp(0.1 * len(repeated), np.arange(len(repeated) + 1), np.append(0, repeated.cumsum()))
    found = _top_shares(kl[order], counts[order][None].astype(float))
    assert found == pytest.approx([cumulative / repeated.sum()])


def test_every_token_is_in_one_range_of_positions():
    response = mapped(list(range(1, 301))).responses[0]
    counts = [int(response.within(position_name(*span)).sum()) for span in POSITIONS]
    assert counts == [1, 3, 12, 48, 192, 44]
    assert sum(int(response.within(part).sum()) for part in PARTS) == 300


def test_the_last_range_of_positions_has_no_end():
    assert [position_name(*span) for span in POSITIONS] == ["1", "2-4", "5-16", "17-64", "65-256", "257+"]


@pytest.mark.parametrize(
    ("responses", "few"), [(1, "One response is too few to tell"), (2, "These are too few responses to tell")]
)
def test_too_few_responses_are_said(responses, few):
    row = {"problems": responses, "low": 0.0, "high": 1.0}
    assert _outcome(row, 0.01) == f"{few} whether KL exceeds 0.01 nats."


def test_nothing_has_no_share():
    share, interval = mapped([0.0, 0.0]).top_share
    assert np.isnan(share)
    assert not interval.known
