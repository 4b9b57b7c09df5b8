"""What nobody could read, kept to be looked at and read again: a bounded drawer."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from receiver.ledger.reading import KeptUnreadable
from submitter.moments import Moment
from submitter.providers.base import Trust

KEPT_BYTES = 16 * 1024  # of each
KEPT_IN_ALL = 1_000
KEPT_OF_ONE_TASK = 32  # so that the holder of one URL crowds nobody else's out


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
    """Put one in, and throw the oldest out where there are too many, of this task or in all."""
    raw.execute(
        """
        insert into unreadable (provider, external_task_id, heard_at, reason, trust, size, body)
        values (?, ?, ?, ?, ?, ?, ?)
        """,
        (provider, external_task_id, now, reason, trust, len(body), body[:KEPT_BYTES]),
    )
    raw.execute(
        """
        delete from unreadable where key in (
            select key from unreadable where external_task_id = ? order by key desc limit -1 offset ?)
        """,
        (external_task_id, KEPT_OF_ONE_TASK),
    )
    raw.execute(
        "delete from unreadable where key <= (select key from unreadable order by key desc limit 1 offset ?)",
        (KEPT_IN_ALL,),
    )


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
