"""The teacher `openai`: every answer is a chat completion, and every scored text a completion that repeats it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from kdprobe import KdprobeError
from kdprobe.console import note
from kdprobe.models import Conversation, ModelRecord, resolve, response_ids
from kdprobe.teachers import PROMPT_TOO_LONG, Passage, Request, Response, Sampling, SparseRows, Thinking
from kdprobe_openai.answer import Answer, UnusableError
from kdprobe_openai.asking import in_order_of_arrival
from kdprobe_openai.options import ServerOptions
from kdprobe_openai.refusals import refuse_temperatures, refuses_log_probabilities
from kdprobe_openai.scoring import scored
from kdprobe_openai.server import RefusedError, Server
from kdprobe_openai.tokens import TokenMap

_NOT_DECIDING = {"key_variable", "concurrency", "requests_per_minute", "attempts", "timeout", "longest_wait"}
_NOT_DECIDING |= {"deadline", "largest_answer", "over_budget"}
"""Options that affect how a server is queried but not what it answers."""
_TEMPLATE_ARGUMENTS = "chat_template_kwargs"
"""The servers' field for named arguments of the chat template."""


class ServerTeacher:
    """A model behind a server.

    Attributes:
        record: The model whose tokenizer turns answers into token ids.
        conversation: What the server's chat template gets besides the messages; it uses its own clock.
    """

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self.record: ModelRecord = resolve(options.tokenizer, options.tokenizer_revision)
        self._conversation = Conversation()
        self._texts_only = options.log_probabilities == "never"
        self._said = False

    @property
    def conversation(self) -> Conversation:
        """How messages become text, insofar as the request determines it."""
        return self._conversation

    @conversation.setter
    def conversation(self, conversation: Conversation) -> None:
        if conversation.template_arguments and _TEMPLATE_ARGUMENTS in self.options.extra:
            raise KdprobeError(
                f"Both [conversation] template_arguments and teacher.options.extra set {_TEMPLATE_ARGUMENTS}.",
                "Remove those in teacher.options.extra; the ones in [conversation] also apply to students.",
            )
        self._conversation = conversation

    @property
    def provenance(self) -> dict[str, Any]:
        """Server, model and tokenizer; nothing about the key, not even its variable."""
        deciding = self.options.model_dump(mode="json", exclude={*_NOT_DECIDING, "tokenizer", "tokenizer_revision"})
        return {"teacher": "openai", **deciding, "tokenizer": self.record.as_key()}

    @property
    def part_size(self) -> None:
        """None: answers do not depend on one another, so each is saved when it arrives."""
        return None

    @cached_property
    def _tokens(self) -> TokenMap:
        from kdprobe.models import load_tokenizer

        return TokenMap(load_tokenizer(self.record))

    def respond(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Response]:
        """Answers every request, several at a time.

        Raises:
            KdprobeError: A temperature other than 1 is planned, the temperature of the server's log-probabilities is
                unknown, the server refuses or does not answer, or its log-probabilities are required and cannot be
                used.
        """
        refuse_temperatures(sampling)
        known = sampling.temperature in {0, 1} and "temperature" not in self.options.leave_out
        if not (self._texts_only or self.options.unscaled or known):
            left_out = "temperature" in self.options.leave_out
            at = "the server's own sampling temperature"
            at = at if left_out else f"a sampling temperature of {sampling.temperature:g}"
            raise KdprobeError(
                f"At {at}, some servers return log-probabilities at that temperature, and others at temperature 1.",
                "If yours returns them at temperature 1, set teacher.options.unscaled = true; otherwise set "
                'log_probabilities = "never".',
            )
        _ = self._tokens  # loaded by the call, so that the iterator can be timed
        asked = in_order_of_arrival(
            self.options, requests, lambda server, request: self._ask(server, request, sampling)
        )
        return (self._read(request, answer, sampling) for request, answer in asked)

    def score(self, passages: Sequence[Passage], sampling: Sampling) -> Iterator[tuple[str, SparseRows]]:
        """Scores every passage, several at a time, on a server that repeats prompts with their log-probabilities.

        The prompts are token ids rendered by kdprobe, so the server's chat template plays no part.

        Raises:
            KdprobeError: A temperature other than 1 is planned, the server does not return the log-probabilities of a
                prompt, or they cannot be used.
        """
        refuse_temperatures(sampling)
        return scored(self.options, self._tokens, passages, sampling.top_logprobs)

    async def _ask(self, server: Server, request: Request, sampling: Sampling) -> Answer:
        """Returns one answer; without text if the server rejects the prompt."""
        try:
            return await server.ask("chat/completions", self._body(request, sampling), Answer.of)
        except RefusedError as refused:
            if refused.reason is not None:
                too_long = refused.reason == PROMPT_TOO_LONG
                subject, why = ("server", " because it is too long") if too_long else ("server's content filter", "")
                note(
                    f"The {subject} rejected the prompt of problem {request.id}{why}{refused.said}; "
                    "this request has no answer."
                )
                return Answer("", refused.reason)
            if self.options.log_probabilities != "auto" or not refuses_log_probabilities(refused.said):
                raise
            self._texts_only = True
            self._say_texts_only(f"the server refuses to return them{refused.said}")
        return await server.ask("chat/completions", self._body(request, sampling), Answer.of)

    def _body(self, request: Request, sampling: Sampling) -> dict[str, Any]:
        asked = {} if self._texts_only else {"logprobs": True, "top_logprobs": sampling.top_logprobs}
        arguments = dict(self.conversation.template_arguments)
        decoding = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": _seed(sampling.seed, request.id),
        }
        return {
            **self.options.extra,
            **({_TEMPLATE_ARGUMENTS: arguments} if arguments else {}),
            "model": self.options.model,
            "messages": self.conversation.opened(request.messages),
            self.options.budget_field: sampling.max_new_tokens,
            **{name: value for name, value in decoding.items() if name not in self.options.leave_out},
            **asked,
        }

    def _read(self, request: Request, answer: Answer, sampling: Sampling) -> Response:
        """Returns an answer with its log-probabilities, or as text if they cannot be used.

        Raises:
            KdprobeError: They are required but cannot be used, or the answer is too long.
        """
        self._refuse_over_budget(request, answer, sampling.max_new_tokens)
        prepended = self.options.reasoning == "prepend"
        nothing = not answer.text and not (prepended and answer.thinking)
        if self._texts_only or nothing:
            return self._response(request, answer, [] if nothing else self._ids(answer))
        try:
            ids, rows = self._tokens.rows(answer, sampling.top_logprobs, with_thinking=prepended)
        except UnusableError as reason:
            if self.options.log_probabilities == "required":
                raise KdprobeError(
                    f"The log-probabilities from {self.options.servers} cannot be used for problem {request.id}, "
                    f"because {reason}.",
                    'Set teacher.options.log_probabilities = "auto" to ignore the log-probabilities of such answers '
                    'and continue. To learn from plain text instead, set it to "never" and set distill.name = '
                    '"sequence".',
                ) from None
            self._say_texts_only(str(reason))
            return self._response(request, answer, self._ids(answer))
        return self._response(request, answer, ids, rows)

    def _refuse_over_budget(self, request: Request, answer: Answer, budget: int) -> None:
        tokens = answer.tokens
        if tokens is None:
            tokens = len(self._tokens.tokenizer(answer.text, add_special_tokens=False)["input_ids"])
        elif answer.thinking is not None:
            # Some servers count thinking towards the budget, others do not.
            tokens -= self._thinking_tokens(answer)
        if tokens > budget + self.options.over_budget:
            raise KdprobeError(
                f"{self.options.one_server} wrote {tokens} tokens for problem {request.id}; {budget} were allowed.",
                "Set teacher.options.budget_field to the request field in which this server expects the token budget, "
                "or raise over_budget to allow more.",
            )

    def _ids(self, answer: Answer) -> list[int]:
        """Returns the text as the student's token ids, with the thinking before it if that is taught."""
        thinking = answer.thinking if self.options.reasoning == "prepend" else None
        return response_ids(self._tokens.tokenizer, answer.text, thinking, ended=answer.finished)

    def _response(self, request: Request, answer: Answer, ids: list[int], rows: SparseRows | None = None) -> Response:
        return Response(
            id=request.id,
            text=answer.text,
            token_ids=np.array(ids, dtype=np.int64),
            finished=answer.finished,
            rows=rows,
            prompt_ids=None if answer.prompt_ids is None else np.array(answer.prompt_ids, dtype=np.int64),
            thinking=self._thinking(answer),
            finish_reason=answer.finish_reason,
        )

    def _thinking(self, answer: Answer) -> Thinking | None:
        if answer.thinking is None:
            return None
        tokens = self._thinking_tokens(answer)
        return Thinking(answer.thinking, bool(answer.text), tokens, taught=self.options.reasoning == "prepend")

    def _thinking_tokens(self, answer: Answer) -> int:
        if answer.thinking_tokens is not None:
            return answer.thinking_tokens
        return len(self._tokens.tokenizer(answer.thinking or "", add_special_tokens=False)["input_ids"])

    def _say_texts_only(self, reason: str) -> None:
        """Prints once why answers are kept as plain text."""
        if not self._said:
            note(
                f"Log-probabilities from {self.options.servers} cannot be used, because {reason}. Answers without "
                "them are kept as plain text, from which the distiller 'sequence' can learn, but 'logits' cannot."
            )
        self._said = True


def _seed(seed: int, request: str) -> int:
    """A separate seed for each request; otherwise several answers to one problem would be identical."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{request}".encode()).digest()[:4]) >> 1
