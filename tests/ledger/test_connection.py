"""The two connections: what aiosqlite's private call gives us, what the pragmas promise, what a reader cannot do."""

from __future__ import annotations

import asyncio
import inspect
import re
import sqlite3
import stat
import threading
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path

import aiosqlite
import pytest
import pytest_asyncio

import receiver.ledger
from receiver.ledger.errors import LedgerUnavailable, LedgerUnusable
from receiver.ledger.reading import Query
from receiver.ledger.sqlite import SqliteLedger
from receiver.ledger.sqlite.connection import connect_reader, connect_writer, in_thread, is_store_trouble
from receiver.ledger.sqlite.reader import SqliteReader
from tests.ledger.builders import NOW, SUBMITTED, callback, hear


@pytest_asyncio.fixture
async def writer(tmp_path: Path) -> AsyncIterator[aiosqlite.Connection]:
    connection = await connect_writer(tmp_path / "ledger.db")
    yield connection
    await connection.close()


async def pragma(connection: aiosqlite.Connection, name: str) -> object:
    """The value in force."""
    return (await in_thread(connection, lambda raw: raw.execute(f"pragma {name}").fetchone()))[0]


def open_connections() -> list[threading.Thread]:
    """The threads of connections, which would hang the exit; one that is about to end is let end."""
    ours = [each for each in threading.enumerate() if "_connection_worker_thread" in each.name]
    for each in ours:
        each.join(0.5)
    return [each for each in ours if each.is_alive()]


def names_in(folder: Path) -> set[str]:
    """The files that are there."""
    return {each.name for each in folder.iterdir()}


def test_aiosqlites_private_call_is_still_there() -> None:
    """connection.in_thread rests on it. Where this fails, write in_thread anew; nothing else uses it."""
    assert ["self", "fn", "args", "kwargs"] == list(inspect.signature(aiosqlite.Connection._execute).parameters)
    assert asyncio.iscoroutinefunction(aiosqlite.Connection._execute)
    assert isinstance(inspect.getattr_static(aiosqlite.Connection, "_conn"), property)


def test_the_private_call_is_used_in_one_place() -> None:
    root = Path(str(resources.files("receiver")))

    users = [path.name for path in root.rglob("*.py") if re.search(r"\._execute\(|\._conn\b", path.read_text())]

    assert ["connection.py"] == users


async def test_what_runs_in_the_thread_runs_in_the_connections_own(writer: aiosqlite.Connection) -> None:
    seen = [await in_thread(writer, lambda raw: (threading.current_thread(), raw)) for _ in range(2)]

    assert seen[0] == seen[1]
    assert threading.current_thread() is not seen[0][0]
    assert isinstance(seen[0][1], sqlite3.Connection)


async def test_what_is_raised_in_the_thread_is_raised_to_the_caller(writer: aiosqlite.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        await in_thread(writer, lambda raw: raw.execute("select * from nowhere"))


async def test_nobody_elses_statement_comes_into_what_runs_in_the_thread(writer: aiosqlite.Connection) -> None:
    """Design §4: an aiosqlite connection is a queue, not a transaction; one hop is."""
    order: list[str] = []

    def transaction(raw: sqlite3.Connection) -> None:
        order.append("begin")
        raw.execute("begin immediate")
        raw.execute("select count(*) from sqlite_master")
        raw.execute("commit")
        order.append("commit")

    await asyncio.gather(*(in_thread(writer, transaction) for _ in range(5)))

    assert ["begin", "commit"] * 5 == order


async def test_the_writer_is_set_up_as_promised(writer: aiosqlite.Connection) -> None:
    full = 2

    assert "wal" == await pragma(writer, "journal_mode")
    assert full == await pragma(writer, "synchronous")
    assert 1 == await pragma(writer, "foreign_keys")
    assert 2_000 == await pragma(writer, "busy_timeout")


async def test_the_ledgers_own_connection_is_set_up_so(ledger: SqliteLedger) -> None:
    assert ("wal", 2) == (
        await pragma(ledger._connection, "journal_mode"),
        await pragma(ledger._connection, "synchronous"),
    )


async def test_an_open_connection_is_a_thread_that_we_would_find(writer: aiosqlite.Connection) -> None:
    """What the two tests below rest on."""
    assert 1 == len(open_connections())


async def test_no_transaction_is_begun_behind_our_back(writer: aiosqlite.Connection) -> None:
    await in_thread(writer, lambda raw: raw.execute("create table things (name text) strict"))

    is_open = await in_thread(
        writer, lambda raw: (raw.execute("insert into things values ('x')"), raw.in_transaction)[1]
    )

    assert not is_open


@pytest.mark.parametrize(
    "statement",
    [
        "insert into tasks (external_task_id) values ('x')",
        "update tasks set version = 9",
        "delete from events",
        "drop table tasks",
        "create table other (name text)",
        "pragma user_version = 9",
    ],
)
async def test_a_reader_cannot_write(statement: str, ledger: SqliteLedger) -> None:
    reader = ledger._reader._connection

    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await in_thread(reader, lambda raw: raw.execute(statement))


async def test_a_reader_cannot_write_even_where_it_lifts_query_only(ledger: SqliteLedger) -> None:
    reader = ledger._reader._connection
    await in_thread(reader, lambda raw: raw.execute("pragma query_only = off"))

    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await in_thread(reader, lambda raw: raw.execute("delete from events"))


async def test_a_reader_makes_no_database(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnavailable, match="hookledger serve"):
        await connect_reader(tmp_path / "none.db")

    assert set() == names_in(tmp_path)


async def test_a_reader_sees_what_another_connection_committed(ledger: SqliteLedger, tmp_path: Path) -> None:
    reader = await SqliteReader.open(tmp_path / "ledger.db")

    await hear(ledger, callback(SUBMITTED))
    page = await reader.tasks(Query())
    await reader.aclose()

    assert 1 == len(page.records)


@pytest.mark.parametrize(
    "name", ["a b.db", "50%.db", "what?.db", "a#b.db", "ä🧀.db", "it's.db", "-x.db", "a&mode=rw.db"]
)
async def test_a_file_may_have_any_name(name: str, tmp_path: Path) -> None:
    opened = await SqliteLedger.open(tmp_path / name, now=NOW)
    await hear(opened, callback(SUBMITTED))
    page = await opened.tasks(Query())
    await opened.aclose()

    assert 1 == len(page.records)
    assert (tmp_path / name).is_file()


def modes_in(folder: Path) -> dict[str, int]:
    """Who may do what with each file."""
    return {each.name: stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()}


async def test_a_new_ledger_is_its_owners_alone_and_so_is_what_lies_beside_it(
    ledger: SqliteLedger, tmp_path: Path
) -> None:
    """Prompts and results are in it, and where no callbacks.secrets is set, what mints callback URLs."""
    await ledger.setting("name", "value")

    modes = modes_in(tmp_path)

    names = ("ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db.lock")
    assert dict.fromkeys(names, 0o600) == modes


async def test_the_mode_of_a_ledger_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.touch(0o640)
    path.chmod(0o640)

    opened = await SqliteLedger.open(path, now=NOW)
    await opened.aclose()

    assert 0o640 == stat.S_IMODE(path.stat().st_mode)


async def test_what_is_no_database_is_said_to_be_none_and_leaves_nothing_open(tmp_path: Path) -> None:
    """An unclosed connection hangs the exit."""
    path = tmp_path / "ledger.db"
    path.write_text("This is a letter and no database. " * 50)

    with pytest.raises(LedgerUnusable, match="Is it a SQLite database"):
        await SqliteLedger.open(path, now=NOW)

    assert [] == open_connections()


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnusable, match="nowhere is no directory"):
        await SqliteLedger.open(tmp_path / "nowhere" / "ledger.db", now=NOW)


async def test_a_closed_ledger_leaves_no_thread_and_no_journal_behind(tmp_path: Path) -> None:
    opened = await SqliteLedger.open(tmp_path / "ledger.db", now=NOW)
    await hear(opened, callback(SUBMITTED))

    await opened.aclose()

    assert [] == open_connections()
    assert {"ledger.db", "ledger.db.lock"} == names_in(tmp_path)


@pytest.mark.parametrize(
    ("statement", "is_trouble"),
    [
        ("insert into things values ('x'), ('x')", False),
        ("insert into things values (null)", False),
        ("select * from nowhere", False),
        ("selekt", False),
    ],
)
async def test_a_statement_at_fault_is_no_trouble_of_the_store(
    statement: str, is_trouble: bool, writer: aiosqlite.Connection
) -> None:
    await in_thread(writer, lambda raw: raw.execute("create table things (name text not null unique) strict"))

    with pytest.raises(sqlite3.Error) as caught:
        await in_thread(writer, lambda raw: raw.execute(statement))

    assert is_trouble is is_store_trouble(caught.value)


NEWER_THAN_3_40 = (
    r"\bjsonb|unixepoch\([^)]*subsec|'subsec(ond)?'|\bstring_agg\b|\bconcat(_ws)?\(|\boctet_length\b|\btimediff\b"
)


def test_no_statement_needs_more_than_sqlite_3_40_1() -> None:
    """This list, and where the tests run on 3.40.1 itself, every test beside it."""
    root = Path(str(resources.files(receiver.ledger)))
    texts = {path: path.read_text() for path in root.rglob("*") if path.suffix in {".py", ".sql"}}

    used = {path.name for path, text in texts.items() if re.search(NEWER_THAN_3_40, text, re.IGNORECASE)}

    assert set() == used
    assert any(path.suffix == ".sql" for path in texts)
