"""What nobody could read, kept to be looked at and read again: a bounded drawer."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from receiver.ledger.base import KeptUnreadable
from submitter.moments import Moment
from submitter.providers.base import Trust

KEPT_BYTES = 16 * 1024  # of each
KEPT_IN_ALL = 1_000


def keep(
    raw: sqlite3.Connection,
    *,
    provider: str,
    external_task_id: str,
    body: bytes,
    reason: str,
    trust: Trust,
    now: Moment,
) -> None:
    """Put one in, and throw the oldest out where there are too many."""
    cursor = raw.execute(
        """
        insert into unreadable (provider, external_task_id, heard_at, reason, trust, size, body)
        values (?, ?, ?, ?, ?, ?, ?)
        """,
        (provider, external_task_id, now, reason, trust, len(body), body[:KEPT_BYTES]),
    )
    latest = cursor.lastrowid or 0
    raw.execute("delete from unreadable where key <= ?", (latest - KEPT_IN_ALL,))


def kept_of(row: sqlite3.Row) -> KeptUnreadable:
    """One of them, whole."""
    return KeptUnreadable(
        key=row["key"],
        provider=row["provider"],
        external_task_id=row["external_task_id"],
        heard_at=row["heard_at"],
        trust=Trust(row["trust"]),
        reason=row["reason"],
        size=row["size"],
        body=row["body"],
    )


def give_reasons(raw: sqlite3.Connection, reasons: Mapping[int, str]) -> None:
    """Say anew why these cannot be read."""
    raw.execute(
        """
        update unreadable set reason = told.value from json_each(?) as told
         where unreadable.key = cast(told.key as integer) and unreadable.reason <> told.value
        """,
        (json.dumps({str(key): reason for key, reason in reasons.items()}),),
    )
