"""Migrations: fresh, again, newer, changed, outdated and failing."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver.ledger.errors import LedgerOutdated, LedgerUnusable
from receiver.ledger.migrate import Migration, migrate_sqlite, migrations, require_current
from receiver.ledger.sqlite import SqliteLedger
from receiver.ledger.sqlite.reader import SqliteReader
from submitter.providers.base import Trust
from tests.ledger.builders import HOUR, NOW, PROVIDER, SECOND, SUBMITTED, callback, hear, ids, send

FIRST = migrations("sqlite")[0]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    """The database, as a person with a shell has it."""
    connection = sqlite3.connect(path, isolation_level=None)
    yield connection
    connection.close()


def tables(raw: sqlite3.Connection) -> set[str]:
    """What is there."""
    found = raw.execute("select name from sqlite_master where type = 'table' and name not like 'sqlite_%'")
    return {row[0] for row in found}


def test_migrations_are_numbered_without_gaps_from_one() -> None:
    assert list(range(1, len(migrations("sqlite")) + 1)) == [each.number for each in migrations("sqlite")]


def test_migrations_are_named_for_their_number_and_hold_statements() -> None:
    assert [] == [each.name for each in migrations("sqlite") if not re.fullmatch(r"\d{4}_[a-z_]+\.sql", each.name)]
    assert [] == [each.name for each in migrations("sqlite") if not each.sql.strip()]


def test_a_fresh_database_gets_every_migration_and_remembers_it(raw: sqlite3.Connection) -> None:
    applied = migrate_sqlite(raw, now=NOW)

    assert migrations("sqlite") == applied
    assert [(each.number, each.name, each.digest, NOW) for each in applied] == raw.execute(
        "select number, name, digest, applied_at from migrations order by number"
    ).fetchall()
    assert {"tasks", "reports", "events", "deliveries"} < tables(raw)


def test_every_table_is_strict(raw: sqlite3.Connection) -> None:
    migrate_sqlite(raw, now=NOW)

    lax = [row[1] for row in raw.execute("pragma table_list") if not row[5] and not row[1].startswith("sqlite_")]

    assert [] == lax


def test_a_migrated_database_is_left_as_it_is(raw: sqlite3.Connection) -> None:
    migrate_sqlite(raw, now=NOW)
    before = list(raw.iterdump())

    applied = migrate_sqlite(raw, now=NOW + 1)

    assert [] == applied
    assert before == list(raw.iterdump())


def test_a_current_database_may_be_read(raw: sqlite3.Connection) -> None:
    migrate_sqlite(raw, now=NOW)

    assert require_current(raw) is None


def test_a_newer_database_is_refused_with_the_migration_we_lack(raw: sqlite3.Connection) -> None:
    migrate_sqlite(raw, now=NOW)
    raw.execute("insert into migrations values (9999, '9999_telepathy.sql', '', 0)")

    for refuses in (lambda: migrate_sqlite(raw, now=NOW), lambda: require_current(raw)):
        with pytest.raises(LedgerUnusable, match=r"newer hookledger.*9999_telepathy\.sql.*install that version"):
            refuses()


def test_a_migration_whose_text_has_changed_is_refused_by_name(raw: sqlite3.Connection) -> None:
    migrate_sqlite(raw, now=NOW)
    raw.execute("update migrations set digest = ? where number = 1", (Migration(1, "", "select 1;").digest,))

    for refuses in (lambda: migrate_sqlite(raw, now=NOW), lambda: require_current(raw)):
        with pytest.raises(LedgerUnusable, match=re.escape(FIRST.name)):
            refuses()


def test_an_outdated_database_that_is_only_read_names_the_command(raw: sqlite3.Connection) -> None:
    migrate_sqlite(raw, now=NOW)
    raw.execute("delete from migrations where number = (select max(number) from migrations)")

    with pytest.raises(LedgerOutdated, match="run 'hookledger migrate'"):
        require_current(raw)


async def test_a_command_that_only_reads_migrates_nothing(path: Path, raw: sqlite3.Connection) -> None:
    raw.execute("create table someone_elses (name text)")

    with pytest.raises(LedgerOutdated, match=f"{re.escape(FIRST.name)}.*hookledger migrate"):
        await SqliteReader.open(path)

    assert {"someone_elses"} == tables(raw)


def test_a_failing_migration_leaves_nothing_half_done(raw: sqlite3.Connection) -> None:
    raw.execute("create table reports (name text)")  # the first migration stumbles over it, some tables in

    with pytest.raises(sqlite3.OperationalError, match="reports already exists"):
        migrate_sqlite(raw, now=NOW)

    assert not raw.in_transaction
    assert {"reports", "migrations"} == tables(raw)
    assert [] == raw.execute("select * from migrations").fetchall()


def test_a_migration_that_failed_is_applied_once_the_reason_is_gone(raw: sqlite3.Connection) -> None:
    raw.execute("create table reports (name text)")
    with pytest.raises(sqlite3.OperationalError):
        migrate_sqlite(raw, now=NOW)

    raw.execute("drop table reports")
    migrate_sqlite(raw, now=NOW)

    assert require_current(raw) is None


async def test_a_ledger_that_cannot_be_migrated_is_not_opened_and_says_why(path: Path, raw: sqlite3.Connection) -> None:
    raw.execute("create table reports (name text)")

    with pytest.raises(LedgerUnusable, match="reports already exists"):
        await SqliteLedger.open(path, now=NOW)


async def test_a_newer_ledger_is_not_opened_and_not_touched(path: Path, raw: sqlite3.Connection) -> None:
    migrate_sqlite(raw, now=NOW)
    raw.execute("insert into migrations values (9999, '9999_telepathy.sql', '', 0)")
    before = list(raw.iterdump())

    with pytest.raises(LedgerUnusable, match="newer hookledger"):
        await SqliteLedger.open(path, now=NOW)

    assert before == list(raw.iterdump())


async def test_opening_migrates_and_keeps_what_is_there(path: Path, raw: sqlite3.Connection) -> None:
    for _ in range(2):
        opened = await SqliteLedger.open(path, now=NOW)
        await hear(opened, callback(SUBMITTED))
        await opened.aclose()

    assert [(1,)] == raw.execute("select count(*) from tasks").fetchall()
    assert [(len(migrations("sqlite")),)] == raw.execute("select count(*) from migrations").fetchall()


def migrate_up_to(raw: sqlite3.Connection, number: int) -> None:
    """The database as a version with no more migrations than these made it."""
    migrate_sqlite(raw, now=NOW)
    for name in tables(raw) - {"migrations"}:
        raw.execute(f"drop table {name}")
    raw.execute("delete from migrations where number > ?", (number,))
    for migration in migrations("sqlite")[:number]:
        raw.executescript(migration.sql)


async def test_a_ledger_of_the_first_version_is_migrated_at_start_with_all_that_is_in_it(
    path: Path, raw: sqlite3.Connection
) -> None:
    """What was kept as unreadable is trusted no more than its URL's token, and answers are told by their reasons."""
    migrate_up_to(raw, 1)
    columns = "provider, external_task_id, heard_at, reason, size, body"
    kept = [("unreadable: no task_status",), ("create answer: not JSON",), ("query answer: not JSON",)]
    raw.executemany(f"insert into unreadable ({columns}) values ('cometapi', 't_1', 7, ?, 2, x'7b7d')", kept)
    raw.execute(
        """
        insert into tasks (external_task_id, provider, state, version, created_at, deadline_at)
        values ('t_1', 'cometapi', 'submitted', 1, 0, 0)
        """
    )

    opened = await SqliteLedger.open(path, now=NOW)
    task, drawer = await opened.record("t_1"), await opened.unreadable(0, limit=10)
    await opened.aclose()

    assert task is not None
    assert [Trust.TOKEN, Trust.QUERIED, Trust.QUERIED] == [each.trust for each in drawer]
    assert {(7, 2, b"{}")} == {(each.heard_at, each.size, each.body) for each in drawer}
    assert [each.name for each in migrations("sqlite")] == [
        row[0] for row in raw.execute("select name from migrations order by number")
    ]


@pytest.mark.parametrize(
    ("what", "statement"),
    [
        ("an unknown state", "update tasks set state = 'sleeping'"),
        ("a held task that is not in doubt", "update tasks set held = 'succeed', state = 'processing'"),
        ("a task that runs and is to be sent", "update tasks set send_at = 1, state = 'submitted'"),
        ("a settled moment of a running task", "update tasks set settled_at = 1, state = 'processing'"),
        ("a doubt without its moment", "update tasks set doubt = 'series'"),
        ("a version that is no number", "update tasks set version = 'two'"),
        ("two tasks of one id", "insert into tasks select null, external_task_id from tasks"),
        ("an event told twice", "insert into events (id, type, time) values ('x.1', '', 0), ('x.1', '', 0)"),
    ],
)
async def test_the_schema_itself_refuses(what: str, statement: str, path: Path, raw: sqlite3.Connection) -> None:
    opened = await SqliteLedger.open(path, now=NOW)
    await hear(opened, callback(SUBMITTED))
    await opened.aclose()
    if statement.startswith("insert into tasks"):
        statement = """
            insert into tasks (external_task_id, provider, state, version, created_at, deadline_at)
            select external_task_id, provider, state, version, created_at, deadline_at from tasks
        """

    with pytest.raises(sqlite3.IntegrityError):
        raw.execute(statement)


async def test_what_waited_before_queues_had_heads_leaves_in_its_turn(path: Path, raw: sqlite3.Connection) -> None:
    migrate_up_to(raw, 9)
    raw.executemany(
        """
        insert into tasks
               (external_task_id, provider, tenant, send_at, request, state, version, created_at, deadline_at)
        values (?, ?, ?, ?, '{}', 'pending', 1, 0, ?)
        """,
        [
            (name, provider, name.partition("-")[0], NOW + send_at, NOW + HOUR)
            for name, provider, send_at in (
                ("ada-2", PROVIDER, 3),
                ("ada-1", PROVIDER, 1),
                ("bob-1", PROVIDER, 2),
                ("ada-0", "kling", 0),
                ("bob-2", PROVIDER, SECOND),
            )
        ],
    )

    opened = await SqliteLedger.open(path, now=NOW)
    left = [ids(await send(opened, now=NOW + 3, limit=1)) for _ in range(4)]
    later = await send(opened, now=NOW + SECOND)
    await opened.aclose()

    assert [["ada-1"], ["bob-1"], ["ada-2"], []] == left
    assert ["bob-2"] == ids(later)
