"""Asking a server over HTTP: at most so fast, again after faults that pass, never with the key in sight."""

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
"""Seconds before the second attempt; doubled with each further one."""
_PASSING = {408, 409, 425, 429, 500, 502, 503, 504, 529}
"""Statuses that a later attempt may not meet."""
_MOST_QUOTED = 300
_MOST_POOR = 10
"""So many prompts may get no whole answer, before any got one, until the server counts as broken."""
Read = TypeVar("Read")


class PassingFaultError(Exception):
    """Something that may be gone at the next attempt; its text says what.

    Attributes:
        wait: Seconds after which the server wants to be asked again, or `None`.
        instead: What to take where no attempt brings anything better, or `None`.
    """

    def __init__(self, what: str, wait: float | None = None, instead: Any = None) -> None:
        super().__init__(what)
        self.wait, self.instead = wait, instead


class RefusedError(KdprobeError):
    """The server refuses the request.

    Attributes:
        reason: Why this prompt has no answer, as a finish reason; `None` where the refusal is not about the prompt.
        said: What the server said, cut short and without the key.
    """

    def __init__(self, message: str, hint: str, reason: str | None, said: str) -> None:
        super().__init__(message, hint)
        self.reason, self.said = reason, said


class Server:
    """A connection to the server, open while the `async with` block runs.

    Args:
        options: Address, key's variable, rates and patience.

    Raises:
        KdprobeError: The key's variable is not set.
    """

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
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
        """Sends a request until it is answered.

        Args:
            path: Below the server's address.
            body: Ready for JSON.
            read: Makes of the answer's JSON what it says; raises `PassingFaultError` where it says nothing.

        Returns:
            What was read.

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
                    # A server that gives nothing else is broken; now and then it happens to one prompt.
                    if fault.instead is not None and (self._good or self._poor < _MOST_POOR):
                        taken: Read = fault.instead
                        return taken
                    raise KdprobeError(
                        f"The server {self.options.base_url} did not answer in {attempt} attempts; the last fault: "
                        f"{fault}.",
                        "What was answered so far is kept: mend the server and run again. Slower asking "
                        "(concurrency, requests_per_minute) helps one that is too busy.",
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
            # The name alone: what these errors say is the library's business, and may quote headers.
            raise PassingFaultError(type(error).__name__) from None
        except TimeoutError:
            # Patience with silence is `timeout`; this server keeps talking, and would the next time.
            raise KdprobeError(
                f"The server {self.options.base_url} took more than {self.options.deadline:g} s for an answer.",
                "What was answered so far is kept: raise teacher.options.deadline, or lower the token budget.",
            ) from None
        said, reason = self._quoted(reply), reason_of(reply.status_code, reply.text)
        if reply.status_code in _PASSING and reason is None:
            raise PassingFaultError(f"status {reply.status_code}{said}", _retry_after(reply))
        if reply.status_code in {401, 403} and reason is None:
            variable = self.options.key_variable
            raise KdprobeError(
                f"The server {self.options.base_url} refuses the key (status {reply.status_code}).",
                f"Check the environment variable {variable}." if variable else "Name its variable with key_variable.",
            )
        if not reply.is_success:
            raise self._refusal(reply, reason, said)
        try:
            data = reply.json()
        except (ValueError, RecursionError):
            # Nested more deeply than can be read is no answer either.
            raise PassingFaultError(f"an answer that is no JSON{said}") from None
        if isinstance(data, dict) and data.get("error") and not data.get("choices"):
            # Some send their errors with the status of a success.
            if reason is not None:
                raise self._refusal(reply, reason, said)
            raise PassingFaultError(f"an error in place of an answer{said}")
        return data

    async def _reply(self, path: str, body: dict[str, Any]) -> httpx.Response:
        """The whole reply, as far as it is no larger than it may be."""
        content = bytearray()
        async with self._client.stream("POST", f"{self.options.base_url}/{path}", json=body) as reply:
            async for part in reply.aiter_bytes():
                content += part
                if len(content) > self.options.largest_answer * 1e6:
                    raise KdprobeError(
                        f"The server {self.options.base_url} sends an answer of more than "
                        f"{self.options.largest_answer:g} MB.",
                        "What was answered so far is kept: raise teacher.options.largest_answer, or lower the token "
                        "budget or transfer.top_logprobs.",
                    )
        decoded = {"content-encoding", "content-length", "transfer-encoding"}
        headers = [(name, value) for name, value in reply.headers.multi_items() if name not in decoded]
        return httpx.Response(reply.status_code, headers=headers, content=bytes(content))

    def _refusal(self, reply: httpx.Response, reason: str | None, said: str) -> RefusedError:
        return RefusedError(
            f"The server {self.options.base_url} refuses the request: status {reply.status_code}{said}.",
            "Check base_url, model and extra. A field that it does not take is left out with `leave_out`, the token "
            "budget is called otherwise with `budget_field`, and a server that serves fewer alternatives needs a lower "
            "transfer.top_logprobs.",
            reason,
            said,
        )

    async def _wait_for_turn(self) -> None:
        """Waits until the rates allow one more request."""
        async with self._turn:
            # The server may ask for more patience while this request waits.
            while (wait := self._next - anyio.current_time()) > 0:
                await anyio.sleep(wait)
            if self.options.requests_per_minute:
                self._next = anyio.current_time() + 60 / self.options.requests_per_minute

    async def _back_off(self, attempt: int, asked: float | None) -> None:
        if asked is not None:
            if asked > self.options.longest_wait:
                raise KdprobeError(
                    f"The server {self.options.base_url} asks to wait {asked:.0f} s, longer than longest_wait.",
                    "What was answered so far is kept: run again later, or raise longest_wait.",
                )
            # It speaks to this client, not to this request: all wait.
            self._next = max(self._next, anyio.current_time() + asked)
            return
        wait = min(FIRST_WAIT * 2 ** (attempt - 1), self.options.longest_wait)
        # Spread, so that requests that failed together do not come back together.
        await anyio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - not for secrets

    def _quoted(self, reply: httpx.Response) -> str:
        """What the server said, cut short and without the key, which some servers repeat."""
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
            f"The environment variable {variable}, which should hold the server's key, is not set.",
            "Set it, or change key_variable; the key itself belongs into no config.",
        )
    return key


def _retry_after(reply: httpx.Response) -> float | None:
    """Seconds to wait by the header Retry-After (RFC 9110, section 10.2.3): a number, or a date; OpenAI's has ms."""
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
