"""Several requests at a time, each result passed on as it arrives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from queue import SimpleQueue
from typing import TypeVar

import anyio
from anyio.from_thread import start_blocking_portal

from kdprobe import KdprobeError
from kdprobe_openai.options import ServerOptions
from kdprobe_openai.server import Server

Question = TypeVar("Question")
Result = TypeVar("Result")


def in_order_of_arrival(
    options: ServerOptions, questions: Sequence[Question], ask: Callable[[Server, Question], Awaitable[Result]]
) -> Iterator[tuple[Question, Result]]:
    """Asks every server up to `options.concurrency` questions at a time; yields each question with its result.

    Raises:
        KdprobeError: The first that `ask` raises; it cancels the other requests.
    """
    arrived: SimpleQueue[tuple[Question, Result] | None] = SimpleQueue()
    with start_blocking_portal() as portal:
        asking = portal.start_task_soon(_ask_all, options, questions, ask, arrived.put)
        asking.add_done_callback(lambda _: arrived.put(None))
        try:
            while (result := arrived.get()) is not None:
                yield result
            asking.result()
        finally:
            asking.cancel()


async def _ask_all(
    options: ServerOptions,
    questions: Sequence[Question],
    ask: Callable[[Server, Question], Awaitable[Result]],
    arrived: Callable[[tuple[Question, Result]], None],
) -> None:
    failures: list[KdprobeError] = []
    waiting = iter(questions)
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(Server(options, address)) for address in options.addresses]
        async with anyio.create_task_group() as group:

            async def keep_asking(server: Server) -> None:
                # A server that answers faster takes more of the questions.
                for question in waiting:
                    try:
                        arrived((question, await ask(server, question)))
                    except KdprobeError as failure:
                        failures.append(failure)
                        group.cancel_scope.cancel()

            for server in servers:
                for _ in range(min(options.concurrency, len(questions))):
                    group.start_soon(keep_asking, server)
    if failures:
        raise failures[0]
