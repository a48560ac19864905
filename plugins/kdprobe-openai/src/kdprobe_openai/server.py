"""Requests to a server over HTTP: rate-limited, retried after temporary errors, and never showing the key."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio
import httpx

from kdprobe import KdprobeError
from kdprobe_openai.options import ServerOptions
from kdprobe_openai.refusals import reason_of

FIRST_WAIT = 1.0
"""Seconds before the second attempt; doubled for each further one."""
_PASSING = {408, 409, 425, 429, 500, 502, 503, 504, 529}
"""Statuses of temporary errors."""
_MOST_QUOTED = 300
_MOST_POOR = 10
"""After this many prompts without a single complete answer, the server counts as broken."""
Read = TypeVar("Read")


class PassingFaultError(Exception):
    """A temporary error, described by its message.

    Attributes:
        wait: Seconds that the server asks to wait before the next attempt, or `None`.
        instead: What to use if no attempt returns anything better, or `None`.
    """

    def __init__(self, what: str, wait: float | None = None, instead: Any = None) -> None:
        super().__init__(what)
        self.wait, self.instead = wait, instead


class RefusedError(KdprobeError):
    """The server refuses the request.

    Attributes:
        reason: Why this prompt has no answer, as a finish reason; `None` if the refusal is not about the prompt.
        said: The server's message, shortened and without the key.
    """

    def __init__(self, message: str, hint: str, reason: str | None, said: str) -> None:
        super().__init__(message, hint)
        self.reason, self.said = reason, said


class Server:
    """A connection to the server, open during an `async with` block.

    Args:
        options: Variable of the key, rates and timeouts.
        address: Its address.

    Raises:
        KdprobeError: The key's variable is not set.
    """

    def __init__(self, options: ServerOptions, address: str) -> None:
        self.options, self.address = options, address
        self._key = _key(options.key_variable)
        self._next = 0.0
        self._good, self._poor = False, 0
        self._turn = anyio.Lock()
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=options.timeout,
            limits=httpx.Limits(max_connections=options.concurrency),
        )

    async def __aenter__(self) -> Self:
        """Opens the connection pool."""
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes all connections."""
        await self._client.__aexit__(kind, error, trace)

    async def ask(self, path: str, body: dict[str, Any], read: Callable[[Any], Read]) -> Read:
        """Sends a request, with retries, until it is answered.

        Args:
            path: Path below the server's address.
            body: The request's body, serialisable as JSON.
            read: Parses the answer's JSON; raises `PassingFaultError` if it is not an answer.

        Returns:
            The parsed answer.

        Raises:
            RefusedError: The server refuses the request.
            KdprobeError: Every attempt failed.
        """
        for attempt in range(1, self.options.attempts + 1):
            await self._wait_for_turn()
            try:
                answer = read(await self._send(path, body))
            except PassingFaultError as fault:
                if attempt == self.options.attempts:
                    self._poor += fault.instead is not None
                    # It can happen to a single prompt; a server that returns nothing else is broken.
                    if fault.instead is not None and (self._good or self._poor < _MOST_POOR):
                        taken: Read = fault.instead
                        return taken
                    tries = "1 attempt" if attempt == 1 else f"{attempt} attempts"
                    raise KdprobeError(
                        f"The server {self.address} gave no usable answer in {tries}; last error: {fault}.",
                        "The answers so far are saved. Fix the server, then rerun the command to resume. If it "
                        "is overloaded, lower concurrency or requests_per_minute.",
                    ) from fault
                await self._back_off(attempt, fault.wait)
            else:
                self._good = True
                return answer
        raise AssertionError("unreachable")

    async def _send(self, path: str, body: dict[str, Any]) -> Any:
        try:
            with anyio.fail_after(self.options.deadline):
                reply = await self._reply(path, body)
        except httpx.TransportError as error:
            # Only the name: the messages of these errors may quote headers.
            raise PassingFaultError(type(error).__name__) from None
        except TimeoutError:
            # `timeout` limits silence; this server keeps sending data, and would again.
            raise KdprobeError(
                f"The server {self.address} took more than {self.options.deadline:g} s for one answer.",
                "The answers so far are saved. Raise teacher.options.deadline, or lower the token budget.",
            ) from None
        said, reason = self._quoted(reply), reason_of(reply.status_code, reply.text)
        if reply.status_code in _PASSING and reason is None:
            raise PassingFaultError(f"status {reply.status_code}{said}", _retry_after(reply))
        if reply.status_code in {401, 403} and reason is None:
            variable = self.options.key_variable
            raise KdprobeError(
                f"The server {self.address} {'rejected the' if variable else 'requires a'} key (status "
                f"{reply.status_code}).",
                f"Check the environment variable {variable}."
                if variable
                else "Set key_variable to the name of the environment variable that holds the key.",
            )
        if not reply.is_success:
            raise self._refusal(reply, reason, said)
        try:
            data = reply.json()
        except (ValueError, RecursionError):
            # JSON nested too deeply to parse is not an answer either.
            raise PassingFaultError(f"an answer that is not JSON{said}") from None
        if isinstance(data, dict) and data.get("error") and not data.get("choices"):
            # Some servers send errors with a success status.
            if reason is not None:
                raise self._refusal(reply, reason, said)
            raise PassingFaultError(f"an error instead of an answer{said}")
        return data

    async def _reply(self, path: str, body: dict[str, Any]) -> httpx.Response:
        """Returns the whole reply, unless it is too large."""
        content = bytearray()
        async with self._client.stream("POST", f"{self.address}/{path}", json=body) as reply:
            async for part in reply.aiter_bytes():
                content += part
                if len(content) > self.options.largest_answer * 1e6:
                    raise KdprobeError(
                        f"The server {self.address} sent an answer of more than {self.options.largest_answer:g} MB.",
                        "The answers so far are saved. Raise teacher.options.largest_answer, or lower the token "
                        "budget or transfer.top_logprobs.",
                    )
        decoded = {"content-encoding", "content-length", "transfer-encoding"}
        headers = [(name, value) for name, value in reply.headers.multi_items() if name not in decoded]
        return httpx.Response(reply.status_code, headers=headers, content=bytes(content))

    def _refusal(self, reply: httpx.Response, reason: str | None, said: str) -> RefusedError:
        return RefusedError(
            f"The server {self.address} rejected the request: status {reply.status_code}{said}.",
            "Check `base_url`, `model` and `extra`. Omit unsupported fields with `leave_out`, rename the token budget "
            "with `budget_field`, and lower transfer.top_logprobs if the server returns fewer alternatives.",
            reason,
            said,
        )

    async def _wait_for_turn(self) -> None:
        """Waits until the rates allow one more request."""
        async with self._turn:
            # The server may ask for a longer wait while this request waits.
            while (wait := self._next - anyio.current_time()) > 0:
                await anyio.sleep(wait)
            if self.options.requests_per_minute:
                self._next = anyio.current_time() + 60 / self.options.requests_per_minute

    async def _back_off(self, attempt: int, asked: float | None) -> None:
        if asked is not None:
            if asked > self.options.longest_wait:
                raise KdprobeError(
                    f"The server {self.address} asks kdprobe to wait {asked:.0f} s, which is "
                    "more than longest_wait allows.",
                    "The answers so far are saved. Rerun later, or raise longest_wait.",
                )
            # The wait applies to this client, not only to this request, so all requests wait.
            self._next = max(self._next, anyio.current_time() + asked)
            return
        wait = min(FIRST_WAIT * 2 ** (attempt - 1), self.options.longest_wait)
        # Jitter, so that requests that failed together are not retried together.
        await anyio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - not for secrets

    def _quoted(self, reply: httpx.Response) -> str:
        """The server's message, shortened and without the key, which some servers repeat."""
        text = reply.text
        if self._key:
            text = text.replace(self._key, "…")
        text = " ".join(text.split())[:_MOST_QUOTED]
        return f" ({text})" if text else ""


def _key(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise KdprobeError(
            f"The environment variable {variable} for the server's key is not set.",
            "Set it, or change key_variable; do not write the key itself into a config.",
        )
    return key


def _retry_after(reply: httpx.Response) -> float | None:
    """Seconds to wait, from the header Retry-After (RFC 9110, section 10.2.3) or OpenAI's variant in milliseconds."""
    try:
        return max(0.0, float(reply.headers["retry-after-ms"]) / 1000)
    except (KeyError, ValueError):
        pass
    value = reply.headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None
