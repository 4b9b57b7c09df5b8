"""The way out: what is claimed to be sent, and what became of a send."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Mapping

from receiver.ledger.errors import NotPossible
from receiver.ledger.openings import UNANSWERED_HOLDS_SLOTS, Lane, Unsent
from receiver.ledger.sqlite.events import write_decision
from receiver.ledger.sqlite.pictures import with_pictures
from receiver.ledger.sqlite.purse import unreserve_one
from receiver.ledger.sqlite.queueing import give_turn_back, in_turn
from receiver.ledger.sqlite.rows import TaskRow, fetch, update_tasks
from receiver.ledger.sqlite.stops import begin_trial, rest_of
from receiver.lifecycle import expire, note, refuse
from receiver.task import Task, TaskState
from receiver.values import replace
from submitter.moments import Moment, millis


def claim_unsent(
    raw: sqlite3.Connection,
    *,
    now: Moment,
    limit: int,
    lanes: Mapping[str, Lane],
) -> list[Unsent]:
    """Fairly between tenants, and of each in the order they came, as far as slots are free.

    `sent_at` is committed with the claim.
    """
    claimed: list[Unsent] = []
    for provider, lane in lanes.items():
        rest = rest_of(raw, provider)
        due = in_turn(raw, provider, lane, rest, now=now, limit=limit - len(claimed))
        leaving = [_claim(raw, row, lane, now=now) for row in due]
        if leaving and rest.is_on_trial:
            trial = begin_trial(raw, provider, now=now)
            leaving = [dataclasses.replace(each, trial=trial) for each in leaving]
        claimed += leaving
    return claimed


def refuse_task(raw: sqlite3.Connection, external_task_id: str, reason: str, *, fence: int | None, now: Moment) -> Task:
    """The provider refused the create. Under an old fence nothing changes. Raises UnknownTask."""
    row = fetch(raw, external_task_id)
    if not _is_latest_send(raw, row, fence):
        return row.task
    return write_decision(raw, row, refuse(row.task, reason, now=now))


def defer_task(
    raw: sqlite3.Connection, external_task_id: str, reason: str, *, fence: int | None, send_at: Moment
) -> bool:
    """Nothing was created: it may be sent again. Under an old fence, or once news came, nothing changes: False.

    Nor where it waits already: a word that is repeated takes back no other send, and no other turn of its tenant's.
    """
    row = fetch(raw, external_task_id)
    is_under_way = row.task.state is TaskState.PENDING and row.send_at is None
    if not is_under_way or not _is_latest_send(raw, row, fence):
        return False
    row.task = note(row.task, reason)
    update_tasks(raw, [row])
    # A create that was sent before, and lost, stays sent: only this very attempt is taken back.
    raw.execute(
        """
        update tasks set send_at = ?, sent_at = case when sends <= 1 then null else sent_at end,
               sends = max(sends - 1, 0), unanswered_until = null, query_at = null, sent_by_opener = 0,
               deadline_at = coalesce(deadline_before, deadline_at), deadline_before = null
         where key = ?
        """,
        (send_at, row.key),
    )
    unreserve_one(raw, row.key, sends=row.sends)
    give_turn_back(raw, row.task.provider, row.task.tenant, row.task.slots)
    return True


def note_unanswered(
    raw: sqlite3.Connection, external_task_id: str, reason: str, *, fence: int | None, query_at: Moment | None
) -> bool:
    """Nobody knows whether the provider took it: it is asked about at `query_at`, where it can be asked about.

    Whether that was said of the latest send, and no news has come since. Of what never left there is nothing to ask.
    """
    row = fetch(raw, external_task_id)
    if row.task.state is not TaskState.PENDING or row.task.sent_at is None:
        return False
    row.task = note(row.task, reason)
    row.query_at = query_at
    update_tasks(raw, [row])
    return _is_latest_send(raw, row, fence)


def send_again(raw: sqlite3.Connection, external_task_id: str, *, now: Moment) -> Task:
    """Queue a create anew, under the same id. Raises UnknownTask or NotPossible."""
    row = fetch(raw, external_task_id)
    if not row.task.is_unanswered:
        raise NotPossible(f"{external_task_id} is {row.task.state}: only a create without an answer is sent again")
    _forbid_without_request(raw, row)
    row.send_at = now
    update_tasks(raw, [row])
    return row.task


def abandon(raw: sqlite3.Connection, external_task_id: str, *, now: Moment) -> Task:
    """The deadline, now. Raises UnknownTask."""
    row = fetch(raw, external_task_id)
    decision = expire(replace(row.task, deadline_at=min(row.task.deadline_at, now)), "abandoned by hand", now=now)
    if not decision.events:
        return row.task
    return write_decision(raw, row, decision)


def queue_again(row: TaskRow, *, now: Moment) -> None:
    """Look-ups found nothing: the create was lost, and goes out once more under the same id (wire.md §6)."""
    row.send_at = now
    row.query_at = None
    row.misses, row.missed_since = 0, None


def _is_latest_send(raw: sqlite3.Connection, row: TaskRow, fence: int | None) -> bool:
    """Whether this is said about the latest send; without a fence, whether its opener alone has sent it."""
    found = raw.execute("select send_fence, sent_by_opener from tasks where key = ?", (row.key,)).fetchone()
    return bool(found["sent_by_opener"]) if fence is None else fence == found["send_fence"]


def _claim(raw: sqlite3.Connection, row: sqlite3.Row, lane: Lane, *, now: Moment) -> Unsent:
    """It is sent now. What is paid for is listened to for as long as if it had never waited: so its deadline moves."""
    raw.execute(
        """
        update tasks set sent_at = coalesce(sent_at, ?), send_at = null, sends = sends + 1, sent_by_opener = 0,
               send_fence = send_fence + 1, fence = fence + 1, lease_until = null, unanswered_until = ?, query_at = ?,
               deadline_before = deadline_at, deadline_at = max(deadline_at, ?)
         where key = ?
        """,
        (now, now + millis(UNANSWERED_HOLDS_SLOTS), lane.first_query_at, lane.give_up_at, row["key"]),
    )
    return Unsent(
        external_task_id=row["external_task_id"],
        provider=row["provider"],
        endpoint=row["endpoint"],
        request=with_pictures(raw, row),
        fence=row["send_fence"] + 1,
    )


def _forbid_without_request(raw: sqlite3.Connection, row: TaskRow) -> None:
    found = raw.execute("select request from tasks where key = ?", (row.key,)).fetchone()
    if found["request"] is None:
        raise NotPossible(f"{row.task.external_task_id} was adopted: its request is not known here")
