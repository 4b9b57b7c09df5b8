"""Many rows in one statement: each statement is one turn of the interpreter's lock, however many rows it has.

A statement steps outside the lock and has to win it back from a busy loop; row by row that costs more than the
rows do. Texts are made for powers of two, filled up with nulls, so that few of them are ever prepared.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, TypeAlias

Values: TypeAlias = Sequence[Any]

MOST_ROWS = 64  # in one statement: a larger one saves no more, and a prepared one takes a quarter of a megabyte


def insert_rows(raw: sqlite3.Connection, table: str, columns: tuple[str, ...], rows: Sequence[Values]) -> None:
    """Insert them in their order. The first column of a row is never null."""
    for part in _parts(rows):
        raw.execute(_insert(table, columns, _room(len(part))), _filled(part, len(columns)))


def put_rows(raw: sqlite3.Connection, table: str, columns: tuple[str, ...], rows: Sequence[Values]) -> None:
    """As `insert_rows`; a row whose primary key is there already is replaced. `columns` are all of the table's."""
    for part in _parts(rows):
        text = f"replace{_insert(table, columns, _room(len(part))).removeprefix('insert')}"
        raw.execute(text, _filled(part, len(columns)))


def update_rows(raw: sqlite3.Connection, table: str, columns: tuple[str, ...], rows: Sequence[Values]) -> None:
    """Set these columns; each row's values are preceded by its `key`."""
    for part in _parts(rows):
        raw.execute(_update(table, columns, _room(len(part))), _filled(part, len(columns) + 1))


def select_in(
    raw: sqlite3.Connection, columns: str, table: str, names: tuple[str, ...], keys: Sequence[Values]
) -> Iterable[sqlite3.Row]:
    """The rows of `table` whose columns `names` have one of these combinations of values."""
    for part in _parts(keys):
        yield from raw.execute(_select(columns, table, names, _room(len(part))), _filled(part, len(names))).fetchall()


def _parts(rows: Sequence[Values]) -> Iterable[Sequence[Values]]:
    return (rows[start : start + MOST_ROWS] for start in range(0, len(rows), MOST_ROWS))


def _room(count: int) -> int:
    """The power of two that has room for so many."""
    return 1 << (count - 1).bit_length()


def _filled(rows: Sequence[Values], width: int) -> list[Any]:
    values = list(chain.from_iterable(rows))
    values.extend([None] * (_room(len(rows)) * width - len(values)))
    return values


@lru_cache(maxsize=1024)
def _insert(table: str, columns: tuple[str, ...], count: int) -> str:
    return (
        f"insert into {table} ({', '.join(columns)}) "  # noqa: S608 - names of this package
        f"select * from ({_values(len(columns), count)}) where column1 is not null"
    )


@lru_cache(maxsize=1024)
def _update(table: str, columns: tuple[str, ...], count: int) -> str:
    assigned = ", ".join(f"{column} = new.column{place}" for place, column in enumerate(columns, start=2))
    return (
        f"update {table} set {assigned} "  # noqa: S608 - names of this package
        f"from ({_values(len(columns) + 1, count)}) as new where {table}.key = new.column1"
    )


@lru_cache(maxsize=1024)
def _select(columns: str, table: str, names: tuple[str, ...], count: int) -> str:
    matches = " and ".join(f"{name} = wanted.column{place}" for place, name in enumerate(names, start=1))
    # A cross join keeps this order: for each wanted row a search in the table, whatever the planner believes.
    return f"select {columns} from ({_values(len(names), count)}) as wanted cross join {table} on {matches}"  # noqa: S608


def _values(width: int, count: int) -> str:
    row = f"({', '.join('?' * width)})"
    return f"values {', '.join([row] * count)}"
