"""The SQLite harness of the conformance suite."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from receiver.ledger.sqlite import SqliteLedger
from receiver.ledger.sqlite.writer import MAX_WAITING
from tests.ledger.builders import NOW


class SqliteEngine:
    """Ledgers in files under one folder."""

    queue_holds = MAX_WAITING

    def __init__(self, folder: Path, kind: type[SqliteLedger] = SqliteLedger) -> None:
        self._folder = folder
        self._kind = kind
        self._opened: list[SqliteLedger] = []

    async def ledger(self) -> SqliteLedger:
        return self._opened[0] if self._opened else await self._open(self._folder / "ledger.db")

    async def reopened(self) -> SqliteLedger:
        await self.aclose()
        return await self.ledger()

    async def survivor(self) -> SqliteLedger:
        for name in ("ledger.db", "ledger.db-wal"):
            shutil.copy(self._folder / name, self._folder / f"after-{name}")
        return await self._open(self._folder / "after-ledger.db")

    async def run(self, sql: str) -> Sequence[Sequence[Any]]:
        with sqlite3.connect(self._folder / "ledger.db", isolation_level=None) as raw:
            rows = raw.execute(sql).fetchall()
        raw.close()
        return rows

    async def aclose(self) -> None:
        while self._opened:
            ledger = self._opened.pop()
            try:
                await ledger.aclose()
            finally:  # an unclosed connection hangs the exit, also of a test run that has failed
                await ledger._connection.close()
                await ledger._reader._connection.close()
                ledger._looks.close()

    async def _open(self, path: Path) -> SqliteLedger:
        opened = await self._kind.open(path, now=NOW)
        self._opened.append(opened)
        return opened
