"""What a report is made of: settled tasks page by page, and what was asked."""

from __future__ import annotations

import sqlite3

from receiver.savings import Life, Requests
from submitter.moments import Moment


def settled_lives(
    raw: sqlite3.Connection, after: int, *, created_since: Moment, limit: int
) -> tuple[list[Life], int | None]:
    """The settled tasks among the next `limit` of all, and where to go on; None at the end."""
    rows = raw.execute(
        """
        select key, provider, state, settled_by, coalesce(sent_at, submitted_at), provider_updated_at, settled_at,
               unit_deduction, adopted, created_at
          from tasks where key > ? order by key limit ?
        """,
        (after, limit),
    ).fetchall()
    lives = [
        Life(
            provider=provider,
            submitted_at=None if adopted else submitted_at,
            finished_at=finished_at,
            settled_at=settled_at,
            settled_by=settled_by,
            unit_deduction=unit_deduction,
        )
        for (
            _,
            provider,
            state,
            settled_by,
            submitted_at,
            finished_at,
            settled_at,
            unit_deduction,
            adopted,
            created_at,
        ) in rows
        if state in {"succeeded", "failed"} and created_at >= created_since
    ]
    return lives, rows[-1][0] if len(rows) == limit else None


def requests_since(raw: sqlite3.Connection, since: Moment) -> list[Requests]:
    """What was asked in the hours that ended after a moment."""
    rows = raw.execute(
        """
        select provider, shape, sum(requests), sum(tasks) from questions
         where hour > ? - 3600000 group by provider, shape order by provider, shape
        """,
        (since,),
    ).fetchall()
    return [
        Requests(provider=provider, shape=shape, requests=requests, tasks=tasks)
        for provider, shape, requests, tasks in rows
    ]
