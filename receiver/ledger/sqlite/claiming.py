"""Whose turn it is to be asked about: claims under leases and fences, and what is done with their outcomes."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from receiver.acquaintance import QUESTIONS_REST
from receiver.ledger.asking import Claim, Pause
from receiver.ledger.errors import NotPossible
from receiver.ledger.judging import Judge
from receiver.ledger.sqlite.acquaintances import Acquaintances
from receiver.ledger.sqlite.budget import A_SHARE, Budget, add_questions
from receiver.ledger.sqlite.events import write_decision
from receiver.ledger.sqlite.paths import Paths
from receiver.ledger.sqlite.rows import ROW, TaskRow, fetch, row_of, rows_by_id, update_tasks
from receiver.ledger.sqlite.sending import queue_again
from receiver.ledger.sqlite.stops import pause
from receiver.ledger.sqlite.timings import Timings
from receiver.lifecycle import expire, refuse
from receiver.listing import Shape, Together
from receiver.schedule import DOUBT_SPACING
from receiver.straggler import NOT_SHOWN, AnswerKind, Next, Outcome, Purpose
from receiver.task import Decision, SettledBy, Task
from receiver.values import replace
from submitter.moments import Moment, millis

UNCOUNTED = NOT_SHOWN | {AnswerKind.NOT_ASKED}  # no request was about the task
# How a task is not asked about any more: `alone` as the column has it.
_ALONE = {AnswerKind.NOT_ON_PAGE: 1, AnswerKind.NOT_IN_BATCH: 2}


def claim_stragglers(
    raw: sqlite3.Connection, *, now: Moment, lease: timedelta, limit: int, budgets: Mapping[str, int]
) -> list[Claim]:
    """The longest due first, as far as each provider's budget of this minute goes; spent with the claim."""
    claims: list[Claim] = []
    for provider, per_minute in budgets.items():
        budget = Budget(raw, provider, per_minute=per_minute, now=now)
        singles = claim_singles(raw, provider, budget, now=now, lease=lease, limit=limit - len(claims))
        claims += under_trial(singles, budget.write())
    return claims


def claim_singles(
    raw: sqlite3.Connection,
    provider: str,
    budget: Budget,
    *,
    now: Moment,
    lease: timedelta,
    limit: int,
    among: Sequence[int] | None = None,
) -> list[Claim]:
    """A question each, shared fairly between the purposes; `among` are the keys that come into question."""
    room = 0 if budget.is_paused else min(limit, budget.left)
    if room <= 0:
        return []
    rooms = {Purpose.DOUBT: min(room, budget.left_for_doubt), Purpose.LOOK_UP: room, Purpose.SILENCE: room}
    due = [
        _due(raw, provider, purpose, now=now, limit=room_of_it, among=among) for purpose, room_of_it in rooms.items()
    ]
    rows = _fair(due, room)
    for row in rows:
        budget.spend(purpose_of(row.task))
    if rows:
        add_questions(raw, provider, Shape.SINGLE, requests=len(rows), tasks=0, now=now)
    return claim_rows(raw, rows, now=now, lease=lease, together=None)


def under_trial(claims: list[Claim], trial: int | None) -> list[Claim]:
    """The claims as they are told of, where one request is to try the account."""
    return claims if trial is None else [dataclasses.replace(each, trial=trial) for each in claims]


def is_any_due(raw: sqlite3.Connection, provider: str, budget: Budget, *, now: Moment) -> bool:
    """Whether `claim_singles` would take anything, as far as the budget of doubt goes."""
    purposes = (Purpose.SILENCE, Purpose.LOOK_UP, *([Purpose.DOUBT] if budget.left_for_doubt else []))
    return any(_due(raw, provider, each, now=now, limit=1, among=None) for each in purposes)


def claim_task(raw: sqlite3.Connection, external_task_id: str, *, now: Moment, lease: timedelta) -> Claim:
    """One task, whatever its schedule and budget: a person asks. Raises UnknownTask or NotPossible."""
    row = fetch(raw, external_task_id)
    if row.task.sent_at is None and not row.task.adopted:
        raise NotPossible(f"{external_task_id} was not sent yet: there is nothing to ask about")
    add_questions(raw, row.task.provider, Shape.SINGLE, requests=1, tasks=0, now=now)
    return claim_rows(raw, [row], now=now, lease=lease, together=None)[0]


def settle(raw: sqlite3.Connection, outcomes: Sequence[Outcome], judge: Judge, pauses: Sequence[Pause]) -> list[Task]:
    """Give claims back; the tasks as they are then. An outcome under an old fence, or for no task, changes nothing."""
    rows = rows_by_id(raw, [outcome.external_task_id for outcome in outcomes])
    settled = [(rows[each.external_task_id], each) for each in outcomes if _is_awaited(rows, each)]
    beside = _Beside(paths=Paths(raw, judge), timings=Timings(raw), acquaintances=Acquaintances(raw))
    for row, outcome in settled:
        beside.acquaintances.note(row, outcome)
        _settle_one(raw, row, outcome, judge, beside)
    update_tasks(raw, [row for row, _ in settled])
    _give_back(raw, settled)
    beside.acquaintances.write()
    for each in pauses:
        pause(raw, each)
    return [row.task for row, _ in settled]


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


# What belongs to a purpose, as conditions on `tasks`: as `purpose_of` says it of one.
_PURPOSES = {
    Purpose.LOOK_UP: "state = 'pending' and sent_at is not null and task_id is null",
    Purpose.DOUBT: "doubt is not null and doubt_queries < :most",
    Purpose.SILENCE: "(doubt is null or doubt_queries >= :most)",
}


def belongs_to(purpose: Purpose) -> str:
    """The condition on `tasks` that says so; `:most` is how many doubt queries a task has."""
    is_look_up = _PURPOSES[Purpose.LOOK_UP]
    return is_look_up if purpose is Purpose.LOOK_UP else f"not ({is_look_up}) and {_PURPOSES[purpose]}"


def _due(
    raw: sqlite3.Connection,
    provider: str,
    purpose: Purpose,
    *,
    now: Moment,
    limit: int,
    among: Sequence[int] | None,
) -> list[TaskRow]:
    """What is due and not leased; the purposes apart, lest one keep the others waiting."""
    is_among = "true" if among is None else "key in (select value from json_each(:among))"
    found = raw.execute(
        f"""
        select {ROW} from tasks
         where provider = :provider and query_at <= :now and (lease_until is null or lease_until <= :now)
           and {belongs_to(purpose)} and {is_among}
         order by query_at, key limit :limit
        """,  # noqa: S608 - conditions of this module
        {
            "provider": provider,
            "now": now,
            "most": len(DOUBT_SPACING),
            "limit": limit,
            "among": json.dumps(among or ()),
        },
    )
    return [row_of(each) for each in found.fetchall()]


def _fair(due: Sequence[list[TaskRow]], room: int) -> list[TaskRow]:
    """A quarter of the room is sure for each purpose that has something due; the longest due have the rest."""
    sure = -(-room // A_SHARE)
    assured = [row for rows in due for row in rows[:sure]]
    others = [row for rows in due for row in rows[sure:]]
    chosen = [*_longest_due(assured)[:room], *_longest_due(others)[: max(0, room - len(assured))]]
    return _longest_due(chosen)


def _longest_due(rows: Sequence[TaskRow]) -> list[TaskRow]:
    return sorted(rows, key=lambda each: (each.query_at or 0, each.key))


def purpose_of(task: Task) -> Purpose:
    """Why this task would be asked about now."""
    if task.is_unanswered and task.task_id is None:
        return Purpose.LOOK_UP
    if task.doubt is not None and task.doubt_queries < len(DOUBT_SPACING):
        return Purpose.DOUBT
    return Purpose.SILENCE


def claim_rows(
    raw: sqlite3.Connection, rows: Sequence[TaskRow], *, now: Moment, lease: timedelta, together: Together | None
) -> list[Claim]:
    """Lease these, each under a new fence, and count the question."""
    purposes = [purpose_of(row.task) for row in rows]
    raw.execute(
        """
        update tasks set lease_until = :until, fence = fence + 1, queries = queries + 1,
               doubt_queries = doubt_queries + (key in (select value from json_each(:doubts)))
         where key in (select value from json_each(:keys))
        """,
        {
            "until": now + millis(lease),
            "keys": json.dumps([row.key for row in rows]),
            "doubts": json.dumps([row.key for row, why in zip(rows, purposes, strict=True) if why is Purpose.DOUBT]),
        },
    )
    return [
        Claim(
            task=replace(
                row.task,
                queries=row.task.queries + 1,
                doubt_queries=row.task.doubt_queries + (purpose is Purpose.DOUBT),
            ),
            purpose=purpose,
            fence=row.fence + 1,
            claimed_at=now,
            together=together,
        )
        for row, purpose in zip(rows, purposes, strict=True)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Beside:
    """What is known of the accounts whose claims are given back."""

    paths: Paths
    timings: Timings
    acquaintances: Acquaintances


def _is_awaited(rows: Mapping[str, TaskRow], outcome: Outcome) -> bool:
    row = rows.get(outcome.external_task_id)
    return row is not None and row.fence == outcome.fence


def _settle_one(raw: sqlite3.Connection, row: TaskRow, outcome: Outcome, judge: Judge, beside: _Beside) -> None:
    if outcome.kind in UNCOUNTED:
        is_doubt = outcome.purpose is Purpose.DOUBT
        row.task = replace(row.task, queries=row.task.queries - 1, doubt_queries=row.task.doubt_queries - is_doubt)
    row.task = replace(row.task, endpoint=outcome.endpoint or row.task.endpoint)
    _count_misses(row, outcome)
    is_running = outcome.kind is AnswerKind.HEARD and not row.task.is_at_rest
    known = beside.timings.known(row.task.provider, row.timing_class) if is_running and judge.learns else None
    following, row.query_at = judge.after_query(
        row.task,
        outcome,
        known=known,
        path=beside.paths.of(row.task.provider),
        misses=row.misses,
        missed_since=row.missed_since,
        sends=row.sends,
    )
    if following is Next.END and beside.acquaintances.doubts(row, outcome):
        following, row.query_at = Next.ASK, outcome.now + millis(QUESTIONS_REST)
    if following is Next.SEND_AGAIN:
        queue_again(row, now=outcome.now)
    decision = _end(row.task, outcome) if following is Next.END else None
    if decision is not None:
        write_decision(raw, row, decision)


def _give_back(raw: sqlite3.Connection, settled: Sequence[tuple[TaskRow, Outcome]]) -> None:
    """End the leases, and note who is not to be asked about in company any more."""
    raw.execute(
        """
        update tasks set lease_until = null, alone = max(alone, given.value ->> 1)
          from json_each(?) as given where tasks.key = given.value ->> 0
        """,
        (json.dumps([(row.key, _ALONE.get(outcome.kind, 0)) for row, outcome in settled]),),
    )


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
