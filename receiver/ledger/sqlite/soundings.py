"""The silence of an account against its tasks that run, as rows: read while it lasts, written where it is sounded."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from receiver import pathhealth
from receiver.ledger.judging import Judge
from receiver.ledger.sqlite.paths import Paths, stored_paths
from receiver.ledger.sqlite.timings import Timings
from receiver.pathhealth import PathHealth
from receiver.sounding import Silent, handful, is_too_short, sounding_at
from submitter.moments import Moment

LOOKED_AT = 500  # tasks that are due the soonest: of more, these say enough


def next_sounding_at(raw: sqlite3.Connection, provider: str, judge: Judge, *, now: Moment) -> Moment | None:
    """As Ledger.next_sounding_at."""
    path = stored_paths(raw).get(provider, PathHealth())
    if not judge.learns or is_too_short(path, now=now):
        return None
    return sounding_at(_silent(raw, provider, now=now), path, now=now)


def sound(raw: sqlite3.Connection, provider: str, judge: Judge, *, now: Moment) -> int:
    """As Ledger.sound."""
    paths = Paths(raw, judge)
    path = paths.of(provider)
    if not judge.learns or is_too_short(path, now=now):
        return 0
    chosen = handful(_silent(raw, provider, now=now), path, now=now)
    if chosen:
        raw.execute(
            "update tasks set query_at = ? where key in (select value from json_each(?)) and query_at > ?",
            (now, json.dumps(chosen), now),  # what is due already keeps its place in the row
        )
        paths.put(provider, pathhealth.after_sounding(path, now=now))
        paths.write(now=now)
    return len(chosen)


def _silent(raw: sqlite3.Connection, provider: str, *, now: Moment) -> Sequence[Silent]:
    """Those whose timing is learned. Doubts and look-ups have their own moments, and what is leased is being asked."""
    found = raw.execute(
        """
        select key, sent_at, running_at, query_at <= :now as is_due, timing_class from tasks
         where provider = :provider and query_at is not null and settled_at is null
           and state in ('submitted', 'processing') and doubt is null and sent_at is not null
           and (lease_until is null or lease_until <= :now)
         order by query_at, key limit :limit
        """,
        {"provider": provider, "now": now, "limit": LOOKED_AT},
    ).fetchall()
    timings = Timings(raw)
    known = [timings.known(provider, row["timing_class"]) for row in found]
    return [
        Silent(
            key=row["key"],
            sent_at=row["sent_at"],
            running_at=row["running_at"],
            is_due=bool(row["is_due"]),
            known=each,
        )
        for row, each in zip(found, known, strict=True)
        if each is not None
    ]
