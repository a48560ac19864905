"""The teacher `openai`: every request a chat completion, several at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import anyio
import numpy as np
from anyio.from_thread import start_blocking_portal

from kdprobe import KdprobeError
from kdprobe.console import note
from kdprobe.models import Conversation, ModelRecord, resolve, response_ids
from kdprobe.teachers import Request, Response, Sampling, SparseRows
from kdprobe_openai.answer import Answer, UnusableError
from kdprobe_openai.options import ServerOptions
from kdprobe_openai.server import Server
from kdprobe_openai.tokens import TokenMap

_NOT_DECIDING = {"key_variable", "concurrency", "requests_per_minute", "attempts", "timeout", "longest_wait"}
"""Options that decide how a server is asked, and not what it answers."""
_TEMPLATE_ARGUMENTS = "chat_template_kwargs"
"""How servers call what their chat template takes by name."""


class ServerTeacher:
    """A model behind a server.

    Attributes:
        record: The model whose tokenizer gives the answers their token ids.
        conversation: What the server's chat template is told besides the messages; it has a clock of its own.
    """

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self.record: ModelRecord = resolve(options.tokenizer, options.tokenizer_revision)
        self._conversation = Conversation()
        self._texts_only = options.log_probabilities == "never"
        self._decided = options.log_probabilities != "auto"

    @property
    def conversation(self) -> Conversation:
        """How messages become text, as far as a request can say it."""
        return self._conversation

    @conversation.setter
    def conversation(self, conversation: Conversation) -> None:
        if conversation.template_arguments and _TEMPLATE_ARGUMENTS in self.options.extra:
            raise KdprobeError(
                f"Both [conversation] template_arguments and teacher.options.extra give {_TEMPLATE_ARGUMENTS}.",
                "Keep those of [conversation], which students are told too.",
            )
        self._conversation = conversation

    @property
    def provenance(self) -> dict[str, Any]:
        """Server, model and tokenizer; nothing of the key, not even its variable."""
        deciding = self.options.model_dump(mode="json", exclude={*_NOT_DECIDING, "tokenizer", "tokenizer_revision"})
        return {"teacher": "openai", **deciding, "tokenizer": self.record.as_key()}

    @property
    def part_size(self) -> int:
        """As the options say."""
        return self.options.part_size

    @cached_property
    def _tokens(self) -> TokenMap:
        from kdprobe.models import load_tokenizer

        return TokenMap(load_tokenizer(self.record))

    def respond(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Response]:
        """Answers every request, several at a time.

        Raises:
            KdprobeError: A temperature other than 1 is planned, it cannot be known of which temperature the server's
                log-probabilities are, the server refuses or does not answer, or its log-probabilities are required and
                cannot be used.
        """
        if other := [temperature for temperature in sampling.temperatures if temperature != 1]:
            raise KdprobeError(
                f"The teacher 'openai' knows nothing at temperature {other[0]:g}: a server gives its top "
                "log-probabilities at temperature 1, and the mass of all other tokens at another temperature "
                "cannot be told from those.",
                "Set distill.options.temperature = 1, or use the distiller 'sequence'.",
            )
        if not (self._texts_only or self.options.unscaled or sampling.temperature in {0, 1}):
            raise KdprobeError(
                f"At a sampling temperature of {sampling.temperature:g} some servers give log-probabilities of that "
                "temperature, and others those of temperature 1.",
                'Set teacher.options.unscaled = true if yours does the latter, or log_probabilities = "never".',
            )
        _ = self._tokens  # loaded by the call, so that the iterator can be timed
        return self._responses(requests, sampling)

    def _responses(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Response]:
        with start_blocking_portal() as portal:
            answers = portal.call(self._ask_all, requests, sampling)
        yield from self._read_all(requests, answers, sampling)

    def _read_all(
        self, requests: Sequence[Request], answers: Mapping[str, Answer], sampling: Sampling
    ) -> list[Response]:
        """The answers with log-probabilities, all of them or none: a transfer set holds no mixture."""
        if not self._texts_only:
            try:
                responses = [self._with_rows(request, answers[request.id], sampling) for request in requests]
            except UnusableError as reason:
                self._give_up_rows(reason)
            else:
                self._decided = True
                return responses
        return [self._text_only(request, answers[request.id]) for request in requests]

    async def _ask_all(self, requests: Sequence[Request], sampling: Sampling) -> dict[str, Answer]:
        """All answers, by the request's id; the first failure ends the others."""
        answers: dict[str, Answer] = {}
        failures: list[KdprobeError] = []
        slots = anyio.CapacityLimiter(self.options.concurrency)
        async with Server(self.options) as server, anyio.create_task_group() as group:

            async def ask(request: Request) -> None:
                async with slots:
                    try:
                        answers[request.id] = await server.ask(
                            "chat/completions", self._body(request, sampling), Answer.of
                        )
                    except KdprobeError as failure:
                        failures.append(failure)
                        group.cancel_scope.cancel()

            for request in requests:
                group.start_soon(ask, request)
        if failures:
            raise failures[0]
        return answers

    def _body(self, request: Request, sampling: Sampling) -> dict[str, Any]:
        asked = {} if self._texts_only else {"logprobs": True, "top_logprobs": sampling.top_logprobs}
        arguments = dict(self.conversation.template_arguments)
        return {
            **self.options.extra,
            **({_TEMPLATE_ARGUMENTS: arguments} if arguments else {}),
            "model": self.options.model,
            "messages": self.conversation.opened(request.messages),
            self.options.budget_field: sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": _seed(sampling.seed, request.id),
            **asked,
        }

    def _with_rows(self, request: Request, answer: Answer, sampling: Sampling) -> Response:
        ids, rows = self._tokens.rows(answer, sampling.top_logprobs)
        return _response(request, answer, ids, rows)

    def _text_only(self, request: Request, answer: Answer) -> Response:
        text = answer.text.strip()
        ids = response_ids(self._tokens.tokenizer, text)
        # An answer that was cut off teaches no end of turn.
        ids = ids if answer.finished else ids[:-1]
        return _response(request, answer, ids)

    def _give_up_rows(self, reason: UnusableError) -> None:
        """Goes on with texts only, if nothing was promised otherwise.

        Raises:
            KdprobeError: Log-probabilities are required, or earlier answers of this capture have them.
        """
        if self._decided:
            raise KdprobeError(
                f"The log-probabilities of {self.options.base_url} cannot be used, because {reason}.",
                'Set teacher.options.log_probabilities = "never" and distill.name = "sequence" to learn from texts.',
            ) from None
        self._texts_only = self._decided = True
        note(
            f"The log-probabilities of {self.options.base_url} cannot be used, because {reason}. Texts only: the "
            "distiller 'sequence' can learn from them, 'logits' cannot."
        )


def _response(request: Request, answer: Answer, ids: list[int], rows: SparseRows | None = None) -> Response:
    return Response(
        id=request.id,
        text=answer.text.strip(),
        token_ids=np.array(ids, dtype=np.int64),
        finished=answer.finished,
        rows=rows,
        prompt_ids=None if answer.prompt_ids is None else np.array(answer.prompt_ids, dtype=np.int64),
    )


def _seed(seed: int, request: str) -> int:
    """A seed of each request's own, or several answers to one problem would be one and the same."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{request}".encode()).digest()[:4]) >> 1
