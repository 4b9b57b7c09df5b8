"""The rows of `keys`: what is kept of them, which opens nothing."""

from __future__ import annotations

import json
import sqlite3

from receiver.keys import Access, KeyKind, Scope, StoredKey
from receiver.ledger.errors import KeyExists, UnknownKey
from submitter.moments import Moment


def add(raw: sqlite3.Connection, key: StoredKey) -> StoredKey:
    """Write a new one. Raises KeyExists where the name was ever given, also to one that is revoked."""
    if raw.execute("select 1 from keys where name = ?", (key.name,)).fetchone() is not None:
        raise KeyExists(key.name)
    access = key.access
    raw.execute(
        """
        insert into keys (name, kind, access_key, digest, tenant, scopes, providers, quota, pass_through, created_at)
        values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        """,
        (
            key.name,
            str(key.kind),
            key.access_key,
            key.digest,
            access.tenant,
            json.dumps(sorted(access.scopes)),
            json.dumps(sorted(access.providers)),
            access.quota,
            access.pass_through,
            key.created_at,
        ),
    )
    return key


def revoke(raw: sqlite3.Connection, name: str, *, now: Moment) -> StoredKey:
    """The key, revoked; when, if it was before. Raises UnknownKey."""
    raw.execute("update keys set revoked_at = coalesce(revoked_at, ?) where name = ?", (now, name))
    row = raw.execute("select * from keys where name = ?", (name,)).fetchone()
    if row is None:
        raise UnknownKey(name)
    return _key_of(row)


def all_keys(raw: sqlite3.Connection) -> list[StoredKey]:
    """Every one, by name."""
    return [_key_of(row) for row in raw.execute("select * from keys order by name").fetchall()]


def _key_of(row: sqlite3.Row) -> StoredKey:
    access = Access(
        name=row["name"],
        tenant=row["tenant"],
        scopes=frozenset(map(Scope, json.loads(row["scopes"]))),
        providers=frozenset(json.loads(row["providers"])),
        quota=row["quota"],
        pass_through=bool(row["pass_through"]),
    )
    return StoredKey(
        access=access,
        kind=KeyKind(row["kind"]),
        created_at=row["created_at"],
        digest=row["digest"],
        access_key=row["access_key"],
        revoked_at=row["revoked_at"],
    )
