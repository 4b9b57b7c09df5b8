"""Whose turn it is to be asked about: claims under leases and fences, and what is done with their outcomes."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import timedelta

from receiver.ledger.base import Claim, Judge, Pause
from receiver.ledger.errors import NotPossible, UnknownTask
from receiver.ledger.sqlite.events import write_decision
from receiver.ledger.sqlite.paths import Paths
from receiver.ledger.sqlite.rows import ROW, TaskRow, fetch, row_of, update_tasks
from receiver.ledger.sqlite.sending import queue_again
from receiver.ledger.sqlite.timings import Timings
from receiver.lifecycle import expire, refuse
from receiver.pathhealth import PathHealth
from receiver.schedule import DOUBT_SPACING
from receiver.straggler import AnswerKind, Next, Outcome, Purpose
from receiver.task import Decision, SettledBy, Task
from receiver.values import replace
from submitter.moments import Moment, millis

BUDGET_WINDOW = timedelta(minutes=1)
DOUBTS_SHARE = 4  # doubt may use a quarter of the budget


def claim_stragglers(
    raw: sqlite3.Connection, *, now: Moment, lease: timedelta, limit: int, budgets: Mapping[str, int]
) -> list[Claim]:
    """The longest due first, as far as each provider's budget of this minute goes; spent with the claim."""
    claims: list[Claim] = []
    for provider, per_minute in budgets.items():
        budget = _Budget(raw, provider, per_minute=per_minute, now=now)
        if budget.is_paused or budget.left <= 0:
            continue
        room = min(limit - len(claims), budget.left)
        due = [
            *_due(raw, provider, is_doubt=True, now=now, limit=min(room, budget.left_for_doubt)),
            *_due(raw, provider, is_doubt=False, now=now, limit=room),
        ]
        for row in sorted(due, key=lambda each: (each.query_at or 0, each.key))[:room]:
            purpose = _purpose(row.task)
            budget.spend(purpose)
            claims.append(_claim(raw, row, purpose, now=now, lease=lease))
        budget.write()
    return claims


def claim_task(raw: sqlite3.Connection, external_task_id: str, *, now: Moment, lease: timedelta) -> Claim:
    """One task, whatever its schedule and budget: a person asks. Raises UnknownTask or NotPossible."""
    row = fetch(raw, external_task_id)
    if row.task.sent_at is None and not row.task.adopted:
        raise NotPossible(f"{external_task_id} was not sent yet: there is nothing to ask about")
    return _claim(raw, row, _purpose(row.task), now=now, lease=lease)


def settle(raw: sqlite3.Connection, outcomes: Sequence[Outcome], judge: Judge, pauses: Sequence[Pause]) -> list[Task]:
    """Give claims back; the tasks as they are then. An outcome under an old fence, or for no task, changes nothing."""
    settled: list[Task] = []
    paths = Paths(raw, judge)
    for outcome in outcomes:
        with contextlib.suppress(UnknownTask):
            row = fetch(raw, outcome.external_task_id)
            if row.fence == outcome.fence:
                settled.append(_settle_one(raw, row, outcome, judge, paths.of(row.task.provider)))
    for pause in pauses:
        raw.execute(
            """
            insert into query_budgets (provider, paused_until, pause_reason) values (?, ?, ?)
            on conflict (provider) do update
               set paused_until = max(paused_until, excluded.paused_until), pause_reason = excluded.pause_reason
            """,
            (pause.provider, pause.until, pause.reason),
        )
    return settled


def settle_overdue(
    raw: sqlite3.Connection, judge: Judge, *, now: Moment, held_before: Moment, limit: int
) -> list[Decision]:
    """Expire what is past its deadline, and settle what was held for too long."""
    found = raw.execute(
        f"""
        select {ROW} from tasks where key in (
            select key from tasks indexed by tasks_by_deadline where settled_at is null and deadline_at <= ?
            union all
            select key from tasks indexed by tasks_held
             where held is not null and doubt_since <= ? and provider not in (select value from json_each(?))
        )
         order by key limit ?
        """,  # noqa: S608 - a constant of states
        (now, held_before, json.dumps(sorted(judge.strict_providers)), limit),
    )
    decisions: list[Decision] = []
    for found_row in found.fetchall():
        row = row_of(found_row)
        decision = judge.overdue(row.task, now=now)
        if decision is not None:
            write_decision(raw, row, decision)
            decisions.append(decision)
    return decisions


class _Budget:
    """A provider's queries of the running minute, as a row."""

    def __init__(self, raw: sqlite3.Connection, provider: str, *, per_minute: int, now: Moment) -> None:
        self._raw = raw
        self._provider = provider
        row = raw.execute("select * from query_budgets where provider = ?", (provider,)).fetchone()
        window_start = row["window_start"] if row else 0
        is_running = row is not None and window_start <= now < window_start + millis(BUDGET_WINDOW)
        self._window_start = window_start if is_running else now
        self._spent = row["spent"] if row and is_running else 0
        self._spent_on_doubt = row["spent_on_doubt"] if row and is_running else 0
        self._per_minute = per_minute
        self._has_spent = False
        self.is_paused = row is not None and row["paused_until"] > now

    @property
    def left(self) -> int:
        """How many more queries this minute holds."""
        return self._per_minute - self._spent

    @property
    def left_for_doubt(self) -> int:
        """How many of them doubt may have."""
        return max(0, max(1, self._per_minute // DOUBTS_SHARE) - self._spent_on_doubt)

    def spend(self, purpose: Purpose) -> None:
        """Take one query."""
        self._has_spent = True
        self._spent += 1
        self._spent_on_doubt += purpose is Purpose.DOUBT

    def write(self) -> None:
        """Keep what was spent, if anything was: an idle poller writes nothing."""
        if not self._has_spent:
            return
        self._raw.execute(
            """
            insert into query_budgets (provider, window_start, spent, spent_on_doubt) values (?, ?, ?, ?)
            on conflict (provider) do update
               set window_start = excluded.window_start, spent = excluded.spent,
                   spent_on_doubt = excluded.spent_on_doubt
            """,
            (self._provider, self._window_start, self._spent, self._spent_on_doubt),
        )


def _due(raw: sqlite3.Connection, provider: str, *, is_doubt: bool, now: Moment, limit: int) -> list[TaskRow]:
    """What is due and not leased; doubts and the rest apart, lest one keep the other waiting."""
    is_in_turn = (
        "doubt is not null and doubt_queries < :most" if is_doubt else "(doubt is null or doubt_queries >= :most)"
    )
    found = raw.execute(
        f"""
        select {ROW} from tasks
         where provider = :provider and query_at <= :now and (lease_until is null or lease_until <= :now)
           and {is_in_turn}
         order by query_at, key limit :limit
        """,  # noqa: S608 - one of the two conditions above
        {"provider": provider, "now": now, "most": len(DOUBT_SPACING), "limit": limit},
    )
    return [row_of(each) for each in found.fetchall()]


def _purpose(task: Task) -> Purpose:
    if task.is_unanswered and task.task_id is None:
        return Purpose.LOOK_UP
    if task.doubt is not None and task.doubt_queries < len(DOUBT_SPACING):
        return Purpose.DOUBT
    return Purpose.SILENCE


def _claim(raw: sqlite3.Connection, row: TaskRow, purpose: Purpose, *, now: Moment, lease: timedelta) -> Claim:
    is_doubt = purpose is Purpose.DOUBT
    raw.execute(
        """
        update tasks set lease_until = ?, fence = fence + 1, queries = queries + 1,
               doubt_queries = doubt_queries + ?
         where key = ?
        """,
        (now + millis(lease), is_doubt, row.key),
    )
    task = replace(row.task, queries=row.task.queries + 1, doubt_queries=row.task.doubt_queries + is_doubt)
    return Claim(task=task, purpose=purpose, fence=row.fence + 1)


def _settle_one(raw: sqlite3.Connection, row: TaskRow, outcome: Outcome, judge: Judge, path: PathHealth) -> Task:
    if outcome.kind is AnswerKind.NOT_ASKED:
        is_doubt = outcome.purpose is Purpose.DOUBT
        row.task = replace(row.task, queries=row.task.queries - 1, doubt_queries=row.task.doubt_queries - is_doubt)
    row.task = replace(row.task, endpoint=outcome.endpoint or row.task.endpoint)
    _count_misses(row, outcome)
    is_running = outcome.kind is AnswerKind.HEARD and not row.task.is_at_rest
    known = Timings(raw).known(row.task.provider, row.timing_class) if is_running and judge.learns else None
    following, row.query_at = judge.after_query(
        row.task,
        outcome,
        known=known,
        path=path,
        misses=row.misses,
        missed_since=row.missed_since,
        sends=row.sends,
    )
    if following is Next.SEND_AGAIN:
        queue_again(row, now=outcome.now)
    decision = _end(row.task, outcome) if following is Next.END else None
    if decision is None:
        update_tasks(raw, [row])
    else:
        write_decision(raw, row, decision)
    raw.execute("update tasks set lease_until = null where key = ?", (row.key,))
    return row.task


def _count_misses(row: TaskRow, outcome: Outcome) -> None:
    if outcome.kind is AnswerKind.NOT_FOUND:
        row.misses += 1
        row.missed_since = outcome.now if row.missed_since is None else row.missed_since
    elif outcome.kind is AnswerKind.HEARD:
        row.misses, row.missed_since = 0, None


def _end(task: Task, outcome: Outcome) -> Decision:
    """The provider knows no such task, or one that is not ours."""
    if outcome.kind is AnswerKind.NOT_OURS:
        return refuse(task, outcome.reason, now=outcome.now)
    return expire(task, outcome.reason, now=outcome.now, settled_by=SettledBy.QUERY)
