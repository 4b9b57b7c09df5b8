"""Numbered migrations: which there are, which a database has, and applying the rest."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from receiver.ledger.errors import LedgerOutdated, LedgerUnusable
from submitter.moments import Moment


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of `sql/{engine}`, named `NNNN_what.sql`."""

    number: int
    name: str
    sql: str

    @property
    def digest(self) -> str:
        """SHA-256 of the text, kept with the database: a migration that was applied never changes."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations(engine: str) -> list[Migration]:
    """All of an engine's migrations in their order."""
    folder = resources.files("receiver.ledger") / "sql" / engine
    files = sorted((each for each in folder.iterdir() if each.name.endswith(".sql")), key=lambda each: each.name)
    return [Migration(int(each.name[:4]), each.name, each.read_text(encoding="utf-8")) for each in files]


def migrate_sqlite(raw: sqlite3.Connection, *, now: Moment) -> list[Migration]:
    """Apply what is missing, each in a transaction of its own. Raises LedgerUnusable where that is impossible."""
    raw.execute(
        """
        create table if not exists migrations (
            number integer primary key, name text not null, digest text not null, applied_at integer not null
        ) strict
        """
    )
    missing = _missing(raw, migrations("sqlite"))
    for migration in missing:
        _apply(raw, migration, now=now)
    return missing


def require_current(raw: sqlite3.Connection) -> None:
    """Raise LedgerOutdated, or LedgerUnusable for a newer one, unless the database is as this version needs it."""
    missing = _missing(raw, migrations("sqlite"))
    if missing:
        names = ", ".join(each.name for each in missing)
        raise LedgerOutdated(f"the ledger lacks {names}: run 'hookledger migrate' (or 'serve', which does it)")


def _missing(raw: sqlite3.Connection, known: Sequence[Migration]) -> list[Migration]:
    has_table = raw.execute("select 1 from sqlite_master where name = 'migrations'").fetchone()
    rows = raw.execute("select number, name, digest from migrations").fetchall() if has_table else []
    applied = {row[0]: (row[1], row[2]) for row in rows}
    latest = max((migration.number for migration in known), default=0)
    newer = [name for number, (name, _) in sorted(applied.items()) if number > latest]
    if newer:
        raise LedgerUnusable(
            f"this ledger was made by a newer hookledger (it has {', '.join(newer)}): install that version, "
            "or give this one another ledger.url"
        )
    for migration in known:
        if migration.number in applied and applied[migration.number][1] != migration.digest:
            raise LedgerUnusable(
                f"{migration.name} is not the text this ledger was made with: install the hookledger that made it"
            )
    return [migration for migration in known if migration.number not in applied]


def _apply(raw: sqlite3.Connection, migration: Migration, *, now: Moment) -> None:
    raw.execute("begin immediate")
    try:
        for statement in _statements(migration.sql):
            raw.execute(statement)
        raw.execute(
            "insert into migrations (number, name, digest, applied_at) values (?, ?, ?, ?)",
            (migration.number, migration.name, migration.digest, now),
        )
        raw.execute("commit")
    except BaseException:
        if raw.in_transaction:
            raw.execute("rollback")
        raise


def _statements(sql: str) -> list[str]:
    """The statements one by one: `executescript` would commit behind our back."""
    statements: list[str] = []
    current = ""
    for line in sql.splitlines(keepends=True):
        current += line
        if sqlite3.complete_statement(current):
            statements.append(current)
            current = ""
    if current.strip():
        statements.append(current)
    return statements
