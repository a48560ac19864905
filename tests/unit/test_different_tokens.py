"""Where two tokenizers differ, in words."""

from types import SimpleNamespace

import pytest

from kdprobe.probing.shared_sequences import _difference, _Text

END = 9


class Digits:
    """One token per digit; it may lack the one that ends a turn."""

    chat_template = None

    def __init__(self, end=END):
        self.end = end

    def __call__(self, text, *, add_special_tokens):
        return {"input_ids": [int(digit) for digit in text]}

    def convert_tokens_to_ids(self, token):
        return self.end

    def decode(self, ids):
        return "".join(map(str, ids))


@pytest.mark.parametrize(
    ("ids", "end", "said"),
    [
        ((1, 2, 3, END), END, ""),
        ((1, 2, 4, END), END, "token 2 is '3' (3), not '4' (4)"),
        ((1, 2, 3, END), None, "'b' has no token 3, where 'a' has '9' (9)"),
        ((1, 2, 3), END, "'a' has no token 3, where 'b' has '9' (9)"),
    ],
)
def test_a_token_that_only_one_of_two_has_is_said_to_be_missing(ids, end, said):
    sequence = SimpleNamespace(ids=ids)
    assert _difference(("a", "b"), (Digits(), Digits(end)), _Text("12", "3", "<end>"), sequence) == said
