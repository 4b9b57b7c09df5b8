"""What every part of the ledger writes and reads by: one writer's queue, one reader."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TypeVar

from receiver.ledger.sqlite.reader import SqliteReader
from receiver.ledger.sqlite.writer import Single, Writer

T = TypeVar("T")


class Store:
    """A part of the ledger: its methods bind functions of the neighbouring modules to the queue, or ask the reader."""

    def __init__(self, writer: Writer, reader: SqliteReader) -> None:
        self._writer = writer
        self._reader = reader

    async def _write(self, act: Callable[[sqlite3.Connection], T], *, size: int = 0) -> T:
        return await self._writer.write(Single(act), None, size=size)
