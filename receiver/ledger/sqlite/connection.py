"""Connections to the file, and the one place that runs a whole transaction in a connection's thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import aiosqlite

from receiver.ledger.errors import LedgerUnavailable

T = TypeVar("T")

BUSY_TIMEOUT_MS = 2_000  # a reader's checkpoint or a backup may hold the file for a moment
# Primary result codes that speak of the store and not of what was asked of it:
# BUSY LOCKED NOMEM READONLY IOERR CORRUPT FULL CANTOPEN PROTOCOL NOTADB
_STORE_TROUBLE = frozenset({5, 6, 7, 8, 10, 11, 13, 14, 15, 26})


async def connect_writer(path: Path) -> aiosqlite.Connection:
    """The connection that writes and checkpoints: the only one that does (design §4)."""
    connection = await aiosqlite.connect(path, isolation_level=None, cached_statements=256)
    await in_thread(connection, _prepare_writer)
    return connection


async def connect_reader(path: Path) -> aiosqlite.Connection:
    """A connection that can only read. Raises LedgerUnavailable where there is no database."""
    uri = f"file:{quote(str(path))}?mode=ro"
    try:
        connection = await aiosqlite.connect(uri, uri=True, isolation_level=None, cached_statements=256)
    except sqlite3.OperationalError as error:
        raise LedgerUnavailable(f"no ledger at {path} ({error}): 'hookledger serve' or 'migrate' makes one") from error
    await in_thread(connection, _prepare_reader)
    return connection


async def in_thread(connection: aiosqlite.Connection, act: Callable[[sqlite3.Connection], T]) -> T:
    """Run `act` in the connection's own thread: one hop, however many statements it runs.

    aiosqlite offers one hop for each statement, and other coroutines' statements in between; its private
    call is used here and nowhere else, and tests/ledger/test_connection.py fails on the day it goes.
    """
    raw: sqlite3.Connection = connection._conn  # noqa: SLF001
    outcome: T = await connection._execute(act, raw)  # type: ignore[no-untyped-call]  # noqa: SLF001
    return outcome


def is_store_trouble(error: sqlite3.Error) -> bool:
    """Whether the store, and not the statement or its values, is at fault."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _STORE_TROUBLE


def _prepare_writer(raw: sqlite3.Connection) -> None:
    raw.row_factory = sqlite3.Row
    raw.execute(f"pragma busy_timeout = {BUSY_TIMEOUT_MS}")
    raw.execute("pragma journal_mode = wal")
    raw.execute("pragma synchronous = full")
    raw.execute("pragma foreign_keys = on")
    raw.execute("pragma temp_store = memory")
    raw.execute("pragma cache_size = -16384")


def _prepare_reader(raw: sqlite3.Connection) -> None:
    raw.row_factory = sqlite3.Row
    raw.execute(f"pragma busy_timeout = {BUSY_TIMEOUT_MS}")
    raw.execute("pragma query_only = on")
