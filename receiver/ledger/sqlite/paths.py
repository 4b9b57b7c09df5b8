"""How each account's callbacks fare, as rows: read once for a batch, written where something has changed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import fields

from receiver import pathhealth
from receiver.eventtype import EventType
from receiver.ledger.judging import Judge
from receiver.ledger.sqlite.outboxwriting import write_deliveries
from receiver.ledger.sqlite.replanning import begin_planning, plan_piece
from receiver.pathhealth import PathHealth, PathState
from submitter.moments import Moment, iso

_COLUMNS = tuple(field.name for field in fields(PathHealth))
_UNKNOWN = PathHealth()


class Paths:
    """The paths that a transaction knows, and what it makes of them."""

    def __init__(self, raw: sqlite3.Connection, judge: Judge) -> None:
        self._raw = raw
        self._judge = judge
        self._stored = stored_paths(raw)
        self._known = dict(self._stored)
        self._untold: list[tuple[str, PathHealth]] = []

    def of(self, provider: str) -> PathHealth:
        """How it fares at this point of the batch."""
        return self._known.get(provider, _UNKNOWN)

    def put(self, provider: str, path: PathHealth) -> PathHealth | None:
        """What it is from now on; the same again where that has turned its state."""
        before = self.of(provider)
        if path is before:
            return None
        self._known[provider] = path
        if path.told != before.told:
            self._untold.append((provider, path))
        return path if path.state is not before.state else None

    def write(self, *, now: Moment) -> None:
        """Keep what has changed. What turned dark or alive is told, and its tasks are asked about otherwise."""
        for provider, path in self._known.items():
            before = self._stored.get(provider, _UNKNOWN)
            if path == before:
                continue
            self._raw.execute(_UPSERT, (provider, *_values(path)))
            if path.asks_eagerly != before.asks_eagerly:
                begin_planning(self._raw, self._judge, provider, path, now=now)
        for provider, path in self._untold:
            _tell(self._raw, provider, path)


def note_start(raw: sqlite3.Connection, providers: Sequence[str], *, now: Moment) -> None:
    """As Ledger.note_start."""
    known = stored_paths(raw)
    for provider in providers:
        path = pathhealth.after_start(known.get(provider, _UNKNOWN), now=now)
        raw.execute(_UPSERT, (provider, *_values(path)))


def note_life(raw: sqlite3.Connection, provider: str, judge: Judge, *, now: Moment) -> PathHealth | None:
    """As Ledger.note_life."""
    paths = Paths(raw, judge)
    turned = paths.put(provider, pathhealth.after_life(paths.of(provider), now=now))
    paths.write(now=now)
    return turned


def plan_anew(raw: sqlite3.Connection, judge: Judge, *, now: Moment) -> int:
    """As Ledger.plan_anew."""
    providers = [provider for (provider,) in raw.execute("select provider from replans").fetchall()]
    known = stored_paths(raw) if providers else {}
    return sum(plan_piece(raw, judge, each, known.get(each, _UNKNOWN), now=now) for each in providers)


def stored_paths(raw: sqlite3.Connection) -> dict[str, PathHealth]:
    """All of them, by account."""
    found = raw.execute(_SELECT).fetchall()
    return {row[0]: _path_of(row) for row in found}


_SELECT = f"select provider, {', '.join(_COLUMNS)} from paths"  # noqa: S608 - the fields of PathHealth
_UPSERT = (
    f"insert into paths (provider, {', '.join(_COLUMNS)}) values (?, {', '.join('?' * len(_COLUMNS))}) "  # noqa: S608
    f"on conflict (provider) do update set {', '.join(f'{each} = excluded.{each}' for each in _COLUMNS)}"
)


def _path_of(row: sqlite3.Row) -> PathHealth:
    values = dict(zip(_COLUMNS, row[1:], strict=True))
    return PathHealth(**{**values, "state": PathState(values["state"])})


def _values(path: PathHealth) -> tuple[object, ...]:
    return (str(path.state), *(getattr(path, name) for name in _COLUMNS[1:]))


def _tell(raw: sqlite3.Connection, provider: str, path: PathHealth) -> None:
    """The event `path.dark` or `path.alive`. No task's id has a colon: see `destination.disabled`."""
    kind = EventType.PATH_DARK if path.state is PathState.DARK else EventType.PATH_ALIVE
    about = {"path": {"provider": provider, "state": str(path.state), "since": iso(path.since)}}
    position = raw.execute(
        "insert into events (id, type, time, about) values (?, ?, ?, ?)",
        (f"path:{provider}.{path.told}", str(kind), path.since, json.dumps(about)),
    ).lastrowid
    write_deliveries(raw, after=(position or 1) - 1)
