"""The server's distributions over given texts: completions that repeat their prompt and write nothing.

The protocol is that of OpenAI's legacy completions: with `echo`, the log-probabilities include the prompt's. vLLM and
SGLang follow it; llama.cpp's server does not support `echo`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kdprobe import KdprobeError
from kdprobe.teachers import Passage, SparseRows
from kdprobe_openai.answer import Served, UnusableError, described
from kdprobe_openai.asking import in_order_of_arrival
from kdprobe_openai.options import ServerOptions
from kdprobe_openai.server import PassingFaultError, RefusedError, Server
from kdprobe_openai.tokens import TokenMap

_FIELDS = ("tokens", "token_logprobs", "top_logprobs")


def scored(
    options: ServerOptions, tokens: TokenMap, passages: Sequence[Passage], k: int
) -> Iterator[tuple[str, SparseRows]]:
    """Yields every passage's id and the distributions at its scored tokens.

    Args:
        options: The server and its model.
        tokens: The student's tokens.
        passages: The passages.
        k: Number of alternatives.

    Raises:
        KdprobeError: The server does not return the log-probabilities of a prompt, or they cannot be used.
    """

    async def ask(server: Server, passage: Passage) -> Any:
        body = {
            **options.extra,
            "model": options.model,
            "prompt": [*passage.prompt, *passage.token_ids],
            "max_tokens": 0,
            # Nothing is sampled, but some servers scale log-probabilities by the temperature.
            "temperature": 1,
            "echo": True,
            "logprobs": k,
        }
        try:
            return await server.ask("completions", body, _choice)
        except RefusedError as refused:
            raise _cannot(options, f"it rejected problem {passage.id}{refused.said}") from refused

    for passage, choice in in_order_of_arrival(options, passages, ask):
        try:
            read = _read(choice, len(passage.prompt) + len(passage.token_ids), len(passage.prompt), k)
            yield passage.id, tokens.rows_of(passage.token_ids, read)
        except UnusableError as reason:
            raise _cannot(options, f"for problem {passage.id}, {reason}") from None


def _choice(data: Any) -> Mapping[str, Any]:
    """The only choice of a completion."""
    choices = data.get("choices") if isinstance(data, Mapping) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, Mapping):
        raise PassingFaultError("an answer without choices[0]")
    return choice


def _read(choice: Mapping[str, Any], length: int, begin: int, k: int) -> list[tuple[Served, list[Served]]]:
    """The tokens that the server read, from a position on, each with its k most probable alternatives.

    Raises:
        UnusableError: They are missing or malformed, or it read a different number of tokens.
    """
    logprobs = choice.get("logprobs")
    found = [logprobs.get(field) for field in _FIELDS] if isinstance(logprobs, Mapping) else []
    columns = [column for column in found if isinstance(column, list)]
    if len(columns) < len(_FIELDS):
        raise UnusableError("the server returns no log-probabilities of the prompt")
    counts = [len(column) for column in columns]
    if len(set(counts)) > 1:
        raise UnusableError("the server's log-probabilities have columns of different lengths")
    if counts[0] != length:
        noun = "token" if counts[0] == 1 else "tokens"
        raise UnusableError(
            f"the server returns log-probabilities of {counts[0]} {noun}, but the prompt and the text "
            f"together have {length}"
        )
    entries = (
        {"token": token, "logprob": logprob, "top_logprobs": _listed(top)}
        for token, logprob, top in zip(*(column[begin:] for column in columns), strict=True)
    )
    return described(entries, k)


def _listed(top: Any) -> list[dict[str, Any]]:
    return [{"token": token, "logprob": logprob} for token, logprob in top.items()] if isinstance(top, Mapping) else []


def _cannot(options: ServerOptions, why: str) -> KdprobeError:
    return KdprobeError(
        f"{options.one_server} cannot score texts: {why}.",
        "Use a server that supports `echo` with `logprobs` in /v1/completions, such as vLLM (with "
        '`extra = { return_tokens_as_token_ids = true }`, to identify every token), or set transfer.texts = "own".',
    )
