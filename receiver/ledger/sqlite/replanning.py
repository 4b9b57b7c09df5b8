"""Planning anew when to ask about tasks that run, for their path has turned: in pieces, lest reports wait for all."""

from __future__ import annotations

import sqlite3

from receiver.ledger.judging import Judge
from receiver.ledger.sqlite.sets import update_rows
from receiver.ledger.sqlite.timings import Timings
from receiver.pathhealth import PathHealth
from submitter.moments import Moment

PIECE = 256  # tasks: some ten milliseconds, in which no report is answered

# What has left is found beside however many wait or have ended, in the order it was submitted.
_RUNNING = """
    select key, sent_at, running_at, queries, query_at, timing_class,
           state in ('submitted', 'processing') and doubt is null and sent_at is not null and query_at is not null
      from tasks indexed by tasks_running
     where provider = ? and send_at is null and settled_at is null and key > ? and key <= ?
     order by key limit ?
"""


def begin_planning(raw: sqlite3.Connection, judge: Judge, provider: str, path: PathHealth, *, now: Moment) -> None:
    """Plan the first piece at once, and remember that there are more. What an earlier turn has left is superseded."""
    until = raw.execute("select coalesce(max(key), 0) from tasks").fetchone()[0]
    raw.execute("insert or replace into replans (provider, done, until) values (?, 0, ?)", (provider, until))
    plan_piece(raw, judge, provider, path, now=now)


def plan_piece(raw: sqlite3.Connection, judge: Judge, provider: str, path: PathHealth, *, now: Moment) -> int:
    """The next piece of what an account's turn has left to be planned; how many tasks were looked at.

    What came since the turn knew of it, and what was planned with it meanwhile is planned so again.
    """
    left = raw.execute("select done, until from replans where provider = ?", (provider,)).fetchone()
    running = raw.execute(_RUNNING, (provider, *left, PIECE)).fetchall()
    if len(running) < PIECE:
        raw.execute("delete from replans where provider = ?", (provider,))
    else:
        raw.execute("update replans set done = ? where provider = ?", (running[-1][0], provider))
    _plan(raw, judge, provider, path, [row[:-1] for row in running if row[-1]], now=now)
    return len(running)


def _plan(
    raw: sqlite3.Connection,
    judge: Judge,
    provider: str,
    path: PathHealth,
    running: list[tuple[int, Moment, Moment | None, int, Moment, str | None]],
    *,
    now: Moment,
) -> None:
    """In the dark, what runs is due as soon as asking pays; with light again, silence is news.

    Doubts and look-ups keep their own moments; in the dark so does what was asked about before, and is not learned.
    """
    timings = Timings(raw)
    due: list[tuple[int, Moment]] = []
    for key, sent_at, running_at, queries, query_at, timing_class in running:
        known = timings.known(provider, timing_class) if judge.learns else None
        at = judge.query_on_path(sent_at, known=known, running_at=running_at, path=path, now=now)
        is_sooner = at < query_at and (queries == 0 or known is not None)
        # What is due keeps its place in the row: a path that flaps would put it last each time.
        if is_sooner if path.asks_eagerly else at > max(query_at, now):
            due.append((key, at))
    update_rows(raw, "tasks", ("query_at",), due)
