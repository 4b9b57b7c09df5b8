"""A fresh SQLite ledger for each test, closed after it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from receiver.ledger.sqlite import SqliteLedger
from tests.ledger.harness import SqliteEngine


@pytest_asyncio.fixture
async def engine(tmp_path: Path) -> AsyncIterator[SqliteEngine]:
    """Ledgers under a folder of this test's own."""
    opened = SqliteEngine(tmp_path)
    yield opened
    await opened.aclose()


@pytest_asyncio.fixture
async def ledger(engine: SqliteEngine) -> SqliteLedger:
    """One open ledger."""
    return await engine.ledger()
