"""A fresh SQLite ledger for each test, closed after it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

for _module in ("asking", "ending", "hearing", "keeping", "opening", "reading", "sending", "telling"):
    pytest.register_assert_rewrite(f"tests.ledger.claims.{_module}")
pytest.register_assert_rewrite("tests.ledger.builders")

from receiver.ledger.sqlite import SqliteLedger  # noqa: E402 - after the rewriting is arranged
from tests.ledger.harness import SqliteEngine  # noqa: E402


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
