"""Callbacks that nobody could read, kept to be looked at: a bounded drawer."""

from __future__ import annotations

import sqlite3

from submitter.moments import Moment

KEPT_BYTES = 16 * 1024  # of each
KEPT_IN_ALL = 1_000


def keep(
    raw: sqlite3.Connection, *, provider: str, external_task_id: str, body: bytes, reason: str, now: Moment
) -> None:
    """Put one in, and throw the oldest out where there are too many."""
    cursor = raw.execute(
        """
        insert into unreadable (provider, external_task_id, heard_at, reason, size, body)
        values (?, ?, ?, ?, ?, ?)
        """,
        (provider, external_task_id, now, reason, len(body), body[:KEPT_BYTES]),
    )
    latest = cursor.lastrowid or 0
    raw.execute("delete from unreadable where key <= ?", (latest - KEPT_IN_ALL,))
