"""What a teacher is asked and what it answers: the contract between teachers and the transfer set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from kdprobe.errors import KdprobeError, NonFiniteError
from kdprobe.models.conversation import Conversation, Messages
from kdprobe.text import safe_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Request:
    """A conversation to answer.

    Attributes:
        id: Unique among the requests; every response carries its request's.
        messages: The conversation, each message with `role` and `content`; the last one is the user's.
    """

    id: str
    messages: list[dict[str, str]]


@dataclass(frozen=True)
class Passage:
    """Token ids to score: how probable the teacher finds each of them after those before it.

    Attributes:
        id: Of the problem.
        prompt: Token ids of what the teacher reads first; at least one.
        token_ids: Token ids of what is scored; at least one.
    """

    id: str
    prompt: list[int]
    token_ids: list[int]


@dataclass(frozen=True)
class Sampling:
    """How to decode, and what to keep of the distributions.

    Attributes:
        max_new_tokens: Token budget of a response; one that reaches it is cut off.
        temperature: Of the sampling; 0 decodes greedily.
        top_p: Nucleus of the sampling.
        seed: Of the sampling.
        top_logprobs: How many of the largest log-probabilities to keep at every position (k).
        temperatures: The distillation temperatures at which the tail's mass is kept; always holds 1.
    """

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    top_logprobs: int = 64
    temperatures: tuple[float, ...] = (1.0,)


@dataclass(frozen=True)
class SparseRows:
    """A teacher's distribution at every position of one response, cut to its top k.

    Attributes:
        ids: Token ids of the k largest, `[tokens, k]`, largest first.
        logprobs: Their natural log-probabilities at temperature 1, `[tokens, k]`.
        tail_logmass: Temperature to the log of the mass outside the top k at that temperature, `[tokens]`;
            exact, by logsumexp over the other logits. -inf where k is the whole vocabulary.
        token_logprobs: Log-probability of the token that was written, at temperature 1, `[tokens]`.
    """

    ids: NDArray[np.integer[Any]]
    logprobs: NDArray[np.floating[Any]]
    tail_logmass: Mapping[float, NDArray[np.float32]]
    token_logprobs: NDArray[np.float32]


PROMPT_TOO_LONG = "prompt_too_long"
"""The finish reason of a prompt that the teacher does not take; a capture that goes on asks it again."""
_CUT_OFF = frozenset({"length", "max_tokens", "model_length", "max_output_tokens"})
"""What servers call an answer that reached the token budget."""


@dataclass(frozen=True)
class Thinking:
    """What a teacher thought before its answer.

    Attributes:
        text: Without the marks around it.
        closed: Whether it ended; otherwise there is no answer.
        tokens: How many tokens it took, or `None`.
        taught: Whether the response's `token_ids` hold it, so that students learn it.
    """

    text: str
    closed: bool
    tokens: int | None
    taught: bool = True


@dataclass(frozen=True)
class Response:
    """What a teacher answered.

    Attributes:
        id: Of the request; in a transfer set, of the problem.
        text: The answer without special tokens and without thinking; empty where there is none.
        token_ids: What students learn to write, as token ids, with the end of turn if it was written, `[tokens]`. Empty
            where there is nothing to learn, as in an answer that a server filtered.
        finished: Whether the teacher ended the answer itself.
        rows: The teacher's distribution at every position, or `None` from a teacher without log-probabilities.
        sample: Which of several answers to one problem, from 0; set by the transfer set.
        prompt_ids: Token ids of what the teacher read, from a server that says it, `[tokens]`; else `None`.
        thinking: What it thought before, or `None`.
        finish_reason: Why the answer ended, as a server calls it, or `None`.
    """

    id: str
    text: str
    token_ids: NDArray[np.int64]
    finished: bool
    rows: SparseRows | None = None
    sample: int = 0
    prompt_ids: NDArray[np.int64] | None = None
    thinking: Thinking | None = None
    finish_reason: str | None = None

    @property
    def cut_off(self) -> bool:
        """Whether the answer reached the token budget: it did not end, and no other reason is known."""
        return not self.finished and (self.finish_reason is None or self.finish_reason.lower() in _CUT_OFF)


class Teacher(Protocol):
    """A model that answers.

    Attributes:
        provenance: Everything that decides what it answers (weights, quantisation, adapter, data type, batch size),
            ready for JSON; part of the key of every stage that asks it. Must be known without loading weights.
        part_size: After how many answers a capture is saved. Every part is asked by a call of its own, so a batch
            should not be larger. `None` where no answer depends on what is asked beside it: then all are asked by one
            call, and each is saved when it arrives.
    """

    @property
    def provenance(self) -> dict[str, Any]:
        """What decides its answers."""
        ...

    @property
    def part_size(self) -> int | None:
        """How many requests make a part; `None` where each is one."""
        ...

    def respond(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Response]:
        """Answers every request, in any order. Weights are loaded by the call, so that the iterator can be timed."""
        ...


@runtime_checkable
class ScoringTeacher(Teacher, Protocol):
    """A teacher that can also read what it did not write."""

    def score(self, passages: Sequence[Passage], sampling: Sampling) -> Iterator[tuple[str, SparseRows]]:
        """Its distribution at every scored token of every passage, by id, in any order; nothing is sampled."""
        ...


@runtime_checkable
class RenderingTeacher(Teacher, Protocol):
    """A teacher that reads what its own chat template makes of messages, so that its prompts are known beforehand.

    Attributes:
        conversation: How messages become text, besides the template; set before anything is asked.
    """

    conversation: Conversation

    def rendered(self, messages: Messages) -> str:
        """The text that it continues.

        Raises:
            KdprobeError: The template refuses the messages, or leaves one of them out.
        """
        ...


def checked(requests: Sequence[Request | Passage], responses: Iterable[Response]) -> Iterator[Response]:
    """Passes responses on, texts made safe; refuses unknown, doubled and missing ids, and what is no distribution.

    Raises:
        KdprobeError: The teacher answered something it was not asked, twice, or not at all, or without a text.
        KdprobeError: The teacher answered something it was not asked, twice, or not at all.
        NonFiniteError: A log-probability is NaN or +inf, or all of a row are -inf.
    """
    expected = {request.id for request in requests}
    seen: set[str] = set()
    for response in responses:
        if response.id not in expected or response.id in seen:
            fault = "twice" if response.id in seen else "without being asked"
            raise KdprobeError(
                f"The teacher answered problem {response.id!r} {fault}.",
                "This is a fault of the teacher's plugin.",
            )
        seen.add(response.id)
        if not isinstance(response.text, str):
            raise KdprobeError(
                f"The teacher's answer to problem {response.id!r} has no text.",
                "This is a fault of the teacher's plugin.",
            )
        _refuse_non_finite(response)
        thinking = response.thinking and replace(response.thinking, text=safe_text(response.thinking.text))
        yield replace(response, text=safe_text(response.text), thinking=thinking)
    if missing := expected - seen:
        raise KdprobeError(
            f"The teacher left {len(missing)} problems unanswered, {min(missing)!r} among them.",
            "This is a fault of the teacher's plugin.",
        )


def _refuse_non_finite(response: Response) -> None:
    """A log-probability of -inf is a token that the teacher rules out, which some of the top k may be."""
    import numpy as np

    rows = response.rows
    if rows is None or not len(rows.logprobs):
        return
    broken = (rows.logprobs == -np.inf).all(axis=1)
    for column in (rows.logprobs, rows.token_logprobs, *rows.tail_logmass.values()):
        # A plugin's columns may have other lengths, which is found out later.
        wrong = np.isnan(column) | (column == np.inf)
        wrong = wrong.any(axis=1) if wrong.ndim > 1 else wrong
        broken[: len(wrong)] |= wrong[: len(broken)]
    if broken.any():
        raise NonFiniteError(
            f"The teacher's log-probabilities for {response.id!r} are NaN or infinite at token "
            f"{int(broken.argmax()) + 1} of the answer."
        )
