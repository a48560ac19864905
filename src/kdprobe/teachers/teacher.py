"""Requests to a teacher and its responses: the contract between teachers and the transfer set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from kdprobe.errors import UsageError
from kdprobe.models.conversation import Conversation, Messages

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Request:
    """A conversation to answer.

    Attributes:
        id: Unique among the requests; every response has the id of its request.
        messages: The conversation, each message with `role` and `content`; the last one is from the user.
    """

    id: str
    messages: list[dict[str, str]]


@dataclass(frozen=True)
class Passage:
    """Token ids to score: the teacher's probability of each token, given those before it.

    Attributes:
        id: The problem's id.
        prompt: Token ids of the prompt; at least one.
        token_ids: Token ids to score; at least one.
    """

    id: str
    prompt: list[int]
    token_ids: list[int]


@dataclass(frozen=True)
class Sampling:
    """How to decode, and what to keep of the distributions.

    Attributes:
        max_new_tokens: Token budget of a response; a response that reaches it is cut off.
        temperature: Sampling temperature; 0 decodes greedily.
        top_p: Nucleus sampling threshold.
        seed: Sampling seed.
        top_logprobs: Number of largest log-probabilities to keep at every position (k).
        temperatures: Distillation temperatures at which the tail's mass is kept; always includes 1.
        tail: If not `None`, a capture cuts the teacher's rows to the fewest tokens that leave at most this mass outside
            at every one of the temperatures; teachers ignore it.
    """

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    top_logprobs: int = 64
    temperatures: tuple[float, ...] = (1.0,)
    tail: float | None = None


NO_TOKEN = -1
"""The id that fills up rows in which positions keep different numbers of tokens."""


@dataclass(frozen=True)
class SparseRows:
    """A teacher's distribution at every position of one response, cut to its top k.

    Attributes:
        ids: Token ids of the k largest probabilities, `[tokens, k]`, largest first. If a capture kept fewer at some
            position, `NO_TOKEN` follows them; each position has at least one id.
        logprobs: Their natural log-probabilities at temperature 1, `[tokens, k]`; -inf for `NO_TOKEN`.
        tail_logmass: For each temperature, the log of the mass outside the top k, `[tokens]`; exact, by logsumexp over
            the other logits. -inf if k is the whole vocabulary.
        token_logprobs: Log-probability of the actual token at temperature 1, `[tokens]`.
    """

    ids: NDArray[np.integer[Any]]
    logprobs: NDArray[np.floating[Any]]
    tail_logmass: Mapping[float, NDArray[np.float32]]
    token_logprobs: NDArray[np.float32]


PROMPT_TOO_LONG = "prompt_too_long"
"""The finish reason for a prompt that the teacher rejects as too long; a resumed capture requests it again."""
_CUT_OFF = frozenset({"length", "max_tokens", "model_length", "max_output_tokens"})
"""Servers' finish reasons for answers that reached the token budget."""


@dataclass(frozen=True)
class Thinking:
    """The teacher's thinking before its answer.

    Attributes:
        text: The thinking, without the marks around it.
        closed: Whether the thinking ended; otherwise there is no answer.
        tokens: Number of tokens, or `None`.
        taught: Whether the response's `token_ids` include it, so that students learn it.
    """

    text: str
    closed: bool
    tokens: int | None
    taught: bool = True


@dataclass(frozen=True)
class Response:
    """A teacher's answer.

    Attributes:
        id: The id of the request; in a transfer set, of the problem.
        text: The answer without special tokens and without thinking; empty if there is none.
        token_ids: The token ids that students learn to write, `[tokens]`, including the end of turn if it was written.
            Empty if there is nothing to learn from, for example if a server filtered the answer.
        finished: Whether the teacher ended the answer itself.
        rows: The teacher's distribution at every position, or `None` if it provides no log-probabilities.
        sample: Index among several answers to one problem, from 0; set by the transfer set.
        prompt_ids: Token ids of the prompt, `[tokens]`, if the server reports them; else `None`.
        thinking: The thinking before the answer, or `None`.
        finish_reason: Why the answer ended, as reported by a server, or `None`.
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
        """Whether the answer reached the token budget: it did not end, and no other finish reason is known."""
        return not self.finished and (self.finish_reason is None or self.finish_reason.lower() in _CUT_OFF)


class Teacher(Protocol):
    """A model that answers.

    Attributes:
        provenance: Everything that determines its answers (weights, quantisation, adapter, data type, batch size), as
            JSON data; part of the key of every stage that uses it. Must be known without loading weights.
        part_size: Number of answers after which a capture is saved. Every part is a separate call of `respond`, so a
            batch should not be larger. `None` if no answer depends on other requests: then all come in one call,
            and each answer is saved as it arrives.
    """

    @property
    def provenance(self) -> dict[str, Any]:
        """Everything that determines its answers."""

    @property
    def part_size(self) -> int | None:
        """Number of requests in a part; `None` if each answer is saved on its own."""

    def respond(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Response]:
        """Answers every request, in any order. The call itself loads the weights, so that the iterator can be timed."""


@runtime_checkable
class ScoringTeacher(Teacher, Protocol):
    """A teacher that can also score texts that it did not write."""

    def score(self, passages: Sequence[Passage], sampling: Sampling) -> Iterator[tuple[str, SparseRows]]:
        """Its distribution at every scored token of every passage, by id, in any order; nothing is sampled."""


def scoring_teacher(teacher: Teacher) -> ScoringTeacher:
    """The teacher, as one that can score.

    Raises:
        UsageError: It cannot.
    """
    if not isinstance(teacher, ScoringTeacher):
        raise UsageError(
            "This teacher can generate answers but cannot score existing texts.",
            'Set transfer.texts = "own" in the config, or use another teacher.',
        )
    return teacher


@runtime_checkable
class LimitedTeacher(Teacher, Protocol):
    """A teacher that keeps only so many log-probabilities at each position; others keep as many as they are asked for.

    Attributes:
        max_logprobs: The largest number.
    """

    @property
    def max_logprobs(self) -> int:
        """The largest number of log-probabilities at each position."""


@runtime_checkable
class RenderingTeacher(Teacher, Protocol):
    """A teacher that renders messages with its own chat template, so that its prompts are known in advance.

    Attributes:
        conversation: How messages become text, besides the template; set before the first request.
    """

    conversation: Conversation

    def rendered(self, messages: Messages) -> str:
        """The text that the teacher continues.

        Raises:
            KdprobeError: The template rejects the messages, or leaves one of them out.
        """


@runtime_checkable
class ClosableTeacher(Teacher, Protocol):
    """A teacher whose model needs not stay loaded between the stages of a run."""

    def close(self) -> None:
        """Releases what it has loaded, as training and evaluation need the memory; the next call loads it again."""


@runtime_checkable
class CautionedTeacher(Teacher, Protocol):
    """A teacher with a caution for everyone who sees its students' results."""

    @property
    def caution(self) -> str:
        """One or two sentences; empty if there is nothing to say."""
