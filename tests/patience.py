"""What keeps time from deciding a test: patience with a machine that is busy, a watch that stands still when it does,
and ports that nobody takes away."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

PATIENCE = 60.0  # seconds before a test gives up on something that should take milliseconds
_TURN = 0.01
_PORTS = range(20_000, 32_000)  # below those that a system gives to whoever connects


@dataclass(slots=True)
class Watch:
    """`seconds` is how long something took."""

    seconds: float = 0.0


@contextlib.asynccontextmanager
async def watching() -> AsyncIterator[Watch]:
    """How long the block waits. While the machine, or this process, gets nothing done, the watch stands still too.

    It counts the turns of a task that sleeps: what a block waits for by the clock is seen, what held it up is not.
    """
    watch = Watch()
    counting = asyncio.create_task(_count(watch))
    try:
        yield watch
    finally:
        counting.cancel()
        await asyncio.gather(counting, return_exceptions=True)


async def _count(watch: Watch) -> None:
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        await asyncio.sleep(_TURN)
        watch.seconds += min(loop.time() - began, 2 * _TURN)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody holds: neither now, nor by chance before the test gets to binding it."""
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as trying, contextlib.suppress(OSError):
            trying.bind(("127.0.0.1", port))
            return port
