"""The contract between an evaluation and the engine that runs the model.

lm-eval writes the prompts, kdprobe records, checks and judges; an engine only turns token ids into token ids and
log-probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from kdprobe.models.reference import Dtype, ModelRecord
from kdprobe.teachers.teacher import Passage

if TYPE_CHECKING:
    from kdprobe.models.shared_bases import SharedBases
    from kdprobe.students.student import Student

BUILT_IN = "transformers"
"""The engine that evaluations use unless another is named; it alone is not part of keys."""


@dataclass(frozen=True)
class Decoding:
    """How prompts are answered.

    Attributes:
        max_new_tokens: Token budget of an answer.
        end_ids: Tokens that end an answer; no others do, whatever the model's own files declare.
        stop_texts: An answer also ends once it contains one of these.
        settings: Further settings, named and meant as for `generate` of transformers: `do_sample`, `temperature`,
            `top_p`, ... Without `do_sample`, decoding is greedy.
        seed: Seed for sampling; the same prompts get the same answers, whatever was answered before them.
        draws_by_row: Whether each prompt must also draw its own tokens, so that an answer does not depend on the other
            prompts that it is passed with.
    """

    max_new_tokens: int
    end_ids: frozenset[int]
    stop_texts: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    draws_by_row: bool = False


@dataclass(frozen=True)
class Decoded:
    """An answer.

    Attributes:
        token_ids: Its tokens, including the one that ended it, if any.
        finished: Whether it ended by itself; otherwise the budget cut it off.
    """

    token_ids: list[int]
    finished: bool


@dataclass(frozen=True)
class Scored:
    """The log-probabilities of given tokens.

    Attributes:
        log_p: Of each token, given all before it, in nats at temperature 1, `[tokens]`.
        greedy: Whether each token is the most likely one; `None` if the engine gives lm-eval its torch model instead.
    """

    log_p: list[float]
    greedy: bool | None = None


class EngineStudent(Protocol):
    """A student that an engine has loaded.

    Attributes:
        tokenizer: Its tokenizer, as from `Student.load_tokenizer`.
        record: The base model.
        config: The model's configuration, as transformers reads it.
        context_length: The largest number of tokens it can read, or `None` if unknown.
        model: The torch model, if it is in this process: lm-eval's other tasks then read its logits exactly as in
            `lm_eval run`. Else `None`, and they use `score`.
    """

    tokenizer: Any
    record: ModelRecord
    config: Any
    context_length: int | None
    model: Any

    @property
    def end_ids(self) -> frozenset[int]:
        """The tokens that end a response."""

    def answers_at_once(self, prompts: Sequence[Sequence[int]], new_tokens: int) -> int:
        """How many prompts to pass to `decode` at once, and so how many answers are saved together.

        Args:
            prompts: Token ids of all prompts.
            new_tokens: The token budget of an answer.

        Raises:
            KdprobeError: Not even one answer fits into memory.
        """

    def passages_at_once(self, longest: int) -> int:
        """How many passages to pass to `score` at once.

        Args:
            longest: Tokens of the longest passage.

        Raises:
            KdprobeError: Not even one passage fits into memory.
        """

    def decode(
        self, prompts: Sequence[list[int]], decoding: Decoding, on_tokens: Callable[[int], None]
    ) -> list[Decoded]:
        """Answers prompts, in order.

        Args:
            prompts: Token ids, read exactly as they are.
            decoding: How to answer.
            on_tokens: Called now and then with the number of new tokens, for the progress bar.

        Raises:
            NonFiniteError: The model's logits are NaN or infinite.
            KdprobeError: The engine does not support a setting, or ran out of memory.
        """

    def score(self, passages: Sequence[Passage]) -> list[Scored]:
        """Log-probabilities of given tokens, in order, under teacher forcing.

        Raises:
            NonFiniteError: One is NaN or infinite.
        """


class Engine(Protocol):
    """What `EngineSpec.build` returns. Building loads nothing, because plans build engines too.

    Attributes:
        versions: Versions of the libraries that affect its numbers besides torch, transformers, peft and lm-eval.
    """

    versions: Mapping[str, str]

    def load(self, student: Student, *, dtype: Dtype, bases: SharedBases) -> EngineStudent:
        """Loads a student; the one before it may then no longer be used.

        Args:
            student: The base model, and the folder of its adapter, if any.
            dtype: Data type of the weights, never `auto`.
            bases: Models that this process has loaded with transformers, for engines that use them.

        Raises:
            UsageError: The engine cannot run this model or adapter.
            KdprobeError: It cannot be loaded.
        """

    def close(self) -> None:
        """Releases memory and processes; `load` may be called again afterwards."""
