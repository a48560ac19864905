"""An assistant's turn as the chat template writes it: what precedes the answer, and what ends it.

The end is not always the tokenizer's `eos_token`: Gemma's template writes `<end_of_turn>`, Llama 3's `<|eot_id|>`, and
a base model's `<|endoftext|>` is not what its instruct sibling ends with.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from kdprobe.models.conversation import prompt_text, rendered
from kdprobe.models.thinking import begins_thinking

_QUESTION = [{"role": "user", "content": "Hi"}]
_ANSWER, _THOUGHT = "XYZZY", "PLUGH"
"""Strings that no template writes itself."""


@dataclass(frozen=True)
class Turn:
    """How an answer is written after its prompt.

    Attributes:
        lead: Text between the prompt and the answer: the thinking, or an empty think block; a space in the plain form.
        end: The token that ends it.
        reconciled: Whether the template's turn continues its prompt; otherwise `end` is the tokenizer's.
    """

    lead: str
    end: int
    reconciled: bool = True


def assistant_turn(tokenizer: Any, thinking: str | None = None) -> Turn:
    """How the tokenizer's chat template, or the plain form without one, writes an assistant's turn.

    Args:
        tokenizer: The model's tokenizer.
        thinking: The thinking before the answer. If the template drops it, as most do with earlier turns, it is placed
            between `<think>` and `</think>`.

    Raises:
        KdprobeError: The chat template rejects an assistant turn.
    """
    if not tokenizer.chat_template:
        return Turn(" " if thinking is None else f" <think>\n{thinking}\n</think>\n\n", tokenizer.eos_token_id)
    prompt = prompt_text(tokenizer, _QUESTION)
    message = {"role": "assistant", "content": _ANSWER}
    if thinking is not None:
        # The names used by the templates of Qwen3 and gpt-oss.
        message |= {"reasoning_content": _THOUGHT, "thinking": _THOUGHT}
    whole = rendered(tokenizer, [*_QUESTION, message])
    before, answer, tail = whole.rpartition(_ANSWER)
    lead = before.removeprefix(prompt)
    continued = before.startswith(prompt) and bool(answer)
    if thinking is not None and not (continued and _THOUGHT in lead):
        begun = "" if begins_thinking(prompt) else "<think>\n"
        lead = f"{begun}{_THOUGHT}\n</think>\n\n"
    elif not continued and begins_thinking(prompt):
        # An answer without thinking immediately ends the thinking that its prompt begins.
        lead = "\n</think>\n\n"
    elif not continued:
        return Turn("", tokenizer.eos_token_id, reconciled=False)
    ids = tokenizer(tail, add_special_tokens=False)["input_ids"] if tail else []
    # If the template writes no end token, as with templates that only add a line break, use the tokenizer's.
    ended = bool(ids) and is_end(tokenizer, ids[0])
    return Turn(lead.replace(_THOUGHT, thinking or ""), ids[0] if ended else tokenizer.eos_token_id, reconciled=ended)


def is_end(tokenizer: Any, token: int) -> bool:
    """Whether a token can end a turn, that is, does not occur in text."""
    added = tokenizer.added_tokens_decoder.get(token)
    return token in tokenizer.all_special_ids or (added is not None and added.special)


def end_ids(tokenizer: Any, declared: int | Sequence[int] | None, further: Collection[int] = ()) -> frozenset[int]:
    """The token ids that end a response, according to a model, its tokenizer, its template and its training.

    Args:
        tokenizer: The model's tokenizer.
        declared: `eos_token_id` of the model's generation configuration.
        further: Tokens that an adapter was trained to end a turn with.
    """
    ids = declared if isinstance(declared, Sequence) else [declared]
    ends = (*ids, tokenizer.eos_token_id, assistant_turn(tokenizer).end, *further)
    return frozenset(id_ for id_ in ends if id_ is not None)


def up_to_end(written: Sequence[int], ends: Collection[int]) -> tuple[list[int], bool]:
    """What a model wrote up to the first end, including it, and whether there is one.

    Args:
        written: Token ids, which may go on after the end, with padding for example.
        ends: The tokens that end a response, such as `LoadedModel.eos_ids`.
    """
    for index, token in enumerate(written):
        if token in ends:
            return list(written[: index + 1]), True
    return list(written), False


def response_ids(tokenizer: Any, text: str, thinking: str | None = None, *, ended: bool = True) -> list[int]:
    """A written response as token ids, begun and ended the way the template does: what a student is taught to write.

    Args:
        tokenizer: The student's tokenizer.
        text: The answer. Without one, the thinking was cut off, and nothing ends it.
        thinking: The thinking before it, or `None`.
        ended: Whether to write the end of the turn; false if the answer was cut off.
    """
    turn = assistant_turn(tokenizer, thinking)
    cut = bool(thinking) and not text
    written = turn.lead.partition(thinking)[0] + thinking if thinking and cut else turn.lead + text
    ids: list[int] = tokenizer(written, add_special_tokens=False)["input_ids"]
    return [*ids, turn.end] if ended and not cut else ids
