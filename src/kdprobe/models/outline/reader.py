"""How conversations read to a model; its tokenizer is consulted only if the answer is not remembered."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from kdprobe.models.conversation import Messages, texts_digest
from kdprobe.models.outline.batches import prompt_texts
from kdprobe.models.outline.helpers import Helpers
from kdprobe.models.outline.memory import Memory
from kdprobe.models.outline.room import Lengths, in_doubt, mean_and_longest, too_long
from kdprobe.models.reference import ModelRecord
from kdprobe.models.turn import assistant_turn

Render = Callable[[Sequence[Messages]], list[str]]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Vocabulary:
    """What plans ask about a tokenizer.

    Attributes:
        end: The token that ends an answer, or `None`.
        end_text: The same as text.
        pads: Whether there is a token to pad with.
    """

    end: int | None
    end_text: str
    pads: bool


class Reader:
    """A tokenizer with its chat template and conversation settings.

    Args:
        record: The model that the tokenizer belongs to.
        memory: Remembers what it said.
        render: Turns conversations into texts if a plugin does that; then nothing about texts is remembered, because
            what determines them is unknown.
        helpers: Where the tokenizer is asked; by default in this process.
    """

    def __init__(
        self,
        record: ModelRecord,
        memory: Memory,
        render: Render | None = None,
        helpers: Helpers | None = None,
    ) -> None:
        self.record = record
        self._memory = memory
        self._prompt_memory = memory if render is None else Memory()
        self._render = render
        self._helpers = helpers
        self._texts: dict[tuple[str, ...], str] = {}

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer, loaded when first used."""
        from kdprobe.models.load import load_tokenizer

        return load_tokenizer(self.record)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """How it ends an answer, and whether it can pad.

        Raises:
            KdprobeError: The chat template refuses an assistant turn.
        """
        return Vocabulary(**self._memory.general.recall("vocabulary", self.inputs, lambda: self._asked(_vocabulary)))

    @cached_property
    def size(self) -> int:
        """Number of token ids, added ones included."""
        return int(self._memory.general.recall("size", self.inputs, lambda: self._asked(len)))

    @property
    def inputs(self) -> dict[str, Any]:
        """What determines everything that it says, besides what it is asked."""
        return {"model": self.record.as_key(), "conversation": self.record.conversation.as_key()}

    def render(self, conversations: Sequence[Messages]) -> list[str]:
        """The texts of conversations, rendered now.

        Raises:
            KdprobeError: The chat template refuses one of them.
        """
        return self._render(conversations) if self._render else self._asked(prompt_texts, conversations)

    def texts(self, conversations: Sequence[Messages]) -> list[str]:
        """The texts of conversations, each rendered once; raises like `render`."""
        keys = list(map(_key, conversations))
        new = {key: messages for key, messages in zip(keys, conversations, strict=True) if key not in self._texts}
        self._texts.update(zip(new, self.render(list(new.values())), strict=True))
        return [self._texts[key] for key in keys]

    def prompts(self, conversations: Sequence[Messages]) -> str:
        """Digest of the texts of conversations; raises like `render`."""
        asked = {**self.inputs, "conversations": _digest(_fields(conversations))}
        return str(self._prompt_memory.recall("prompts", asked, lambda: texts_digest(self.texts(conversations))))

    def too_long(
        self, conversations: Mapping[str, Messages], room: int, endings: Mapping[str, str] | None = None
    ) -> dict[str, int]:
        """The conversations that take more tokens than there is room for, with their lengths; raises like `render`.

        Args:
            conversations: Conversations by name.
            room: The number of tokens available.
            endings: Texts by name that follow the conversations.
        """
        following = endings or {}

        def measure() -> dict[str, int]:
            texts = zip(conversations, self.texts([*conversations.values()]), strict=True)
            followed = {name: text + following.get(name, "") for name, text in texts}
            doubtful = in_doubt(followed, room)
            return self._asked(too_long, doubtful, room) if doubtful else {}

        content = _digest(conversations, _fields(conversations.values()), following, following.values())
        asked = {**self.inputs, "conversations": content, "room": room}
        found: dict[str, int] = self._prompt_memory.recall("too long", asked, measure)
        return found

    def lengths(self, conversations: Sequence[Messages], endings: Sequence[str] = ()) -> Lengths:
        """How many tokens conversations take, each followed by its ending if there are any; raises like `render`."""

        def measure() -> list[float]:
            texts = self.texts(conversations)
            followed = [text + ending for text, ending in zip(texts, endings, strict=True)] if endings else texts
            return self._asked(mean_and_longest, followed)

        asked = {**self.inputs, "conversations": _digest(_fields(conversations), endings)}
        return Lengths(*self._prompt_memory.recall("lengths", asked, measure))

    def without_rows(self, rows: int, conversations: Sequence[Messages]) -> list[str]:
        """The tokens in conversations that a matrix of this many rows lacks, as text; raises like `render`."""
        asked = {**self.inputs, "rows": rows}
        missing: list[str] = self._memory.general.recall(
            "tokens without rows", asked, lambda: self._asked(_beyond, rows)
        )
        prompts = self.texts(conversations) if missing else []
        return sorted(token for token in missing if any(token in prompt for prompt in prompts))

    def _asked(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """What a function returns for the tokenizer and further arguments."""
        if self._helpers:
            return self._helpers.ask(function, [self], *arguments)
        return function(self.tokenizer, *arguments)


def _vocabulary(tokenizer: Any) -> dict[str, Any]:
    end = assistant_turn(tokenizer).end
    text = "" if end is None else tokenizer.decode([end])
    return {"end": end, "end_text": text, "pads": tokenizer.pad_token_id is not None}


def _beyond(tokenizer: Any, rows: int) -> list[str]:
    return [text for text, token in tokenizer.get_vocab().items() if token >= rows]


def _key(messages: Messages) -> tuple[str, ...]:
    return tuple(part for message in messages for item in message.items() for part in item)


def _digest(*parts: Iterable[object]) -> str:
    """Digest of sequences, no two of which have the same: of texts, or of conversations as `_fields` gives them."""
    return hashlib.sha256(repr([list(part) for part in parts]).encode()).hexdigest()


def _fields(conversations: Iterable[Messages]) -> Iterator[list[tuple[tuple[str, str], ...]]]:
    """The fields of every message of conversations."""
    return ([tuple(message.items()) for message in messages] for messages in conversations)
