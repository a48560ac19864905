"""An assistant's turn as the chat template writes it: what comes before the answer, and what ends it.

The end is not always the tokenizer's `eos_token`: Gemma's template writes `<end_of_turn>`, Llama 3's `<|eot_id|>`, and
a base model's `<|endoftext|>` is not what its instruct sibling ends with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kdprobe.models.conversation import prompt_text, rendered

_QUESTION = [{"role": "user", "content": "Hi"}]
_ANSWER = "XYZZY"
"""No template writes this itself."""


@dataclass(frozen=True)
class Turn:
    """How an answer is written after its prompt.

    Attributes:
        lead: Text between the prompt and the answer, such as an empty think block; a space in the plain form.
        end: The token that ends it.
        reconciled: Whether the template's turn goes on where its prompt ends; otherwise `end` is the tokenizer's.
    """

    lead: str
    end: int
    reconciled: bool = True


def assistant_turn(tokenizer: Any) -> Turn:
    """How the tokenizer's chat template writes an assistant's turn, or the plain form where it has none.

    Raises:
        KdprobeError: The chat template refuses an assistant's turn.
    """
    if not tokenizer.chat_template:
        return Turn(" ", tokenizer.eos_token_id)
    prompt = prompt_text(tokenizer, _QUESTION)
    whole = rendered(tokenizer, [*_QUESTION, {"role": "assistant", "content": _ANSWER}])
    lead, answer, tail = whole.removeprefix(prompt).partition(_ANSWER)
    if not whole.startswith(prompt) or not answer:
        return Turn("", tokenizer.eos_token_id, reconciled=False)
    ids = tokenizer(tail, add_special_tokens=False)["input_ids"] if tail else []
    # Without a token of its own at the end, as in templates that write a line break only, there is the tokenizer's.
    ends = ids[:1] if ids and is_end(tokenizer, ids[0]) else [tokenizer.eos_token_id]
    return Turn(lead, ends[0], reconciled=bool(ids) and is_end(tokenizer, ids[0]))


def is_end(tokenizer: Any, token: int) -> bool:
    """Whether a token can end a turn: one that no text is made of."""
    added = tokenizer.added_tokens_decoder.get(token)
    return token in tokenizer.all_special_ids or (added is not None and added.special)


def response_ids(tokenizer: Any, text: str) -> list[int]:
    """A written response as token ids, as the template begins and ends it: what a student is taught to write."""
    turn = assistant_turn(tokenizer)
    ids: list[int] = tokenizer(turn.lead + text, add_special_tokens=False)["input_ids"]
    return [*ids, turn.end]
