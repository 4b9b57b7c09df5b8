"""Connections to the file, and the one place that reaches through aiosqlite to the connection and its thread."""

from __future__ import annotations

import asyncio
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
    """The connection that writes and checkpoints: the only one that does. Raises sqlite3.Error."""
    return await _connect(str(path), _prepare_writer)


async def connect_reader(path: Path) -> aiosqlite.Connection:
    """A connection that can only read. Raises LedgerUnavailable where there is no database."""
    try:
        return await _connect(f"file:{quote(str(path))}?mode=ro", _prepare_reader)
    except sqlite3.OperationalError as error:
        raise LedgerUnavailable(f"no ledger at {path} ({error}): 'hookledger serve' or 'migrate' makes one") from error


async def _connect(target: str, prepare: Callable[[sqlite3.Connection], None]) -> aiosqlite.Connection:
    is_uri = target.startswith("file:")
    # A connect that fails leaves aiosqlite's thread behind, which then speaks to a closed loop: try it plainly first.
    await asyncio.to_thread(lambda: sqlite3.connect(target, uri=is_uri).close())
    connection = await aiosqlite.connect(
        target, uri=is_uri, isolation_level=None, cached_statements=256, check_same_thread=False
    )
    try:
        await in_thread(connection, prepare)
    except BaseException:
        await connection.close()
        raise
    return connection


async def in_thread(connection: aiosqlite.Connection, act: Callable[[sqlite3.Connection], T]) -> T:
    """Run `act` in the connection's own thread: one hop, however many statements it runs.

    aiosqlite offers one hop for each statement, and other coroutines' statements in between; its private
    call is used here and nowhere else, and tests/ledger/test_connection.py fails on the day it goes.
    """
    outcome: T = await connection._execute(act, raw_of(connection))  # type: ignore[no-untyped-call]  # noqa: SLF001
    return outcome


def raw_of(connection: aiosqlite.Connection) -> sqlite3.Connection:
    """The connection itself, for statements that are run on the loop while nothing runs in its thread."""
    return connection._conn  # noqa: SLF001


def begin(raw: sqlite3.Connection) -> None:
    """Begin to write, and wait for whoever else does. Raises sqlite3.Error."""
    raw.execute(f"pragma busy_timeout = {BUSY_TIMEOUT_MS}")
    raw.execute("begin immediate")


def begin_at_once(raw: sqlite3.Connection) -> bool:
    """Begin to write if nobody else does. Raises sqlite3.Error for other reasons."""
    raw.execute("pragma busy_timeout = 0")
    try:
        raw.execute("begin immediate")
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
            return False
        raise
    return True


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
