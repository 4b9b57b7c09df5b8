"""How commands that only read do it: on a connection that cannot write, whoever holds the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from receiver.boot import sqlite_path
from receiver.config import Config
from receiver.ledger.sqlite import SqliteReader

T = TypeVar("T")


def read(config: Config, look: Callable[[SqliteReader], Awaitable[T]]) -> T:
    """What a look into the ledger finds. Raises LedgerUnavailable where there is none, and LedgerOutdated."""
    return asyncio.run(_read(config, look))


async def _read(config: Config, look: Callable[[SqliteReader], Awaitable[T]]) -> T:
    reader = await SqliteReader.open(sqlite_path(config))
    try:
        return await look(reader)
    finally:
        await reader.aclose()
