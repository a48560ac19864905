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

FIRST_WAIT = 1.0
"""Seconds before the second attempt; doubled with each further one."""
_PASSING = {408, 409, 425, 429, 500, 502, 503, 504, 529}
"""Statuses that a later attempt may not meet."""
_MOST_QUOTED = 300
Read = TypeVar("Read")


class PassingFaultError(Exception):
    """Something that may be gone at the next attempt; its text says what.

    Attributes:
        wait: Seconds after which the server wants to be asked again, or `None`.
    """

    def __init__(self, what: str, wait: float | None = None) -> None:
        super().__init__(what)
        self.wait = wait


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
            KdprobeError: The server refuses the request, or every attempt failed.
        """
        for attempt in range(1, self.options.attempts + 1):
            await self._wait_for_turn()
            try:
                return read(await self._send(path, body))
            except PassingFaultError as fault:
                if attempt == self.options.attempts:
                    raise KdprobeError(
                        f"The server {self.options.base_url} did not answer in {attempt} attempts; the last fault: "
                        f"{fault}.",
                        "What was answered so far is kept: mend the server and run again. Slower asking "
                        "(concurrency, requests_per_minute) helps one that is too busy.",
                    ) from fault
                await self._back_off(attempt, fault.wait)
        raise AssertionError("unreachable")

    async def _send(self, path: str, body: dict[str, Any]) -> Any:
        try:
            reply = await self._client.post(f"{self.options.base_url}/{path}", json=body)
        except httpx.TransportError as error:
            # The name alone: what these errors say is the library's business, and may quote headers.
            raise PassingFaultError(type(error).__name__) from None
        if reply.status_code in _PASSING:
            raise PassingFaultError(f"status {reply.status_code}{self._quoted(reply)}", _retry_after(reply))
        if reply.status_code in {401, 403}:
            variable = self.options.key_variable
            raise KdprobeError(
                f"The server {self.options.base_url} refuses the key (status {reply.status_code}).",
                f"Check the environment variable {variable}." if variable else "Name its variable with key_variable.",
            )
        if not reply.is_success:
            raise KdprobeError(
                f"The server {self.options.base_url} refuses the request: status {reply.status_code}"
                f"{self._quoted(reply)}.",
                "Check base_url, model and extra; a server that serves fewer alternatives needs a lower "
                "transfer.top_logprobs.",
            )
        try:
            return reply.json()
        except ValueError:
            raise PassingFaultError(f"an answer that is no JSON{self._quoted(reply)}") from None

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
    """Seconds to wait by the header Retry-After (RFC 9110, section 10.2.3): a number, or a date."""
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
