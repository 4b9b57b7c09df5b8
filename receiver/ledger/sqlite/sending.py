"""The way out: openings, what is claimed to be sent, and what became of a send."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from receiver.inlinepictures import put_back
from receiver.ledger.base import Client, Lane, Opened, OpenedAs, Opening, Unsent
from receiver.ledger.errors import NotPossible, QuotaReached, TaskExists
from receiver.ledger.sqlite.events import write_decision
from receiver.ledger.sqlite.purse import Purse, take_back
from receiver.ledger.sqlite.rows import TaskRow, fetch, insert_task, update_tasks
from receiver.lifecycle import expire, note, refuse, submit_anew
from receiver.task import Task, TaskState
from receiver.units import DAY
from receiver.values import replace
from submitter.moments import Moment, millis

UNANSWERED_HOLDS_SLOTS = timedelta(minutes=10)  # a create that nobody answers must not hold them for ever

# What an account has in flight. Adopted tasks count too: they run, whoever sent them.
_SLOTS_TAKEN = """
    select coalesce(sum(slots), 0) from tasks
     where provider = :provider
       and (state in ('submitted', 'processing')
            or (state = 'pending' and sent_at is not null and send_at is null and unanswered_until > :now))
       and settled_at is null
"""


def open_task(raw: sqlite3.Connection, opening: Opening) -> Opened:
    """Write it down, or recognise it. Raises TaskExists or QuotaReached."""
    found = _task_named(raw, opening)
    if found is not None and (found["state"] != TaskState.REFUSED or found["promised"]):
        return _recognise(raw, found, opening)
    if found is None and _is_pruned(raw, opening.external_task_id):
        raise TaskExists(opening.external_task_id)
    _require_quota(raw, opening.client)
    if found is not None and found["external_task_id"] != opening.external_task_id:
        _move_pictures(raw, opening.external_task_id, found["external_task_id"])
        opening = dataclasses.replace(opening, external_task_id=found["external_task_id"])
    task = _task_of_opening(opening)
    if found is None:
        key, fence = insert_task(raw, task).key, 1
    else:
        row = fetch(raw, opening.external_task_id)
        key, fence = row.key, found["send_fence"] + 1
        row.task = submit_anew(row.task, task)
        update_tasks(raw, [row])
        take_back(raw, key)
    paused_until = _paused_until(raw, opening.provider)
    purse = _purse(raw, opening.provider, opening.units_per_day, now=opening.now)
    reason = None if purse is None else purse.reason_to_wait(opening.endpoint, opening.request, opening.slots)
    may_send = not opening.send_later and paused_until <= opening.now and reason is None
    is_sent = may_send and _has_room(raw, opening)
    if is_sent and purse is not None:
        purse.reserve(key, opening.endpoint, opening.request, opening.slots)
    if reason is not None:
        _note(raw, opening.external_task_id, reason)
    raw.execute(
        """
        update tasks
           set request = :request, request_digest = :digest, opened_by = :opened_by,
               idempotency_key = coalesce(:idempotency_key, idempotency_key),
               send_fence = :fence, sent_by_opener = :is_sent,
               fence = fence + 1, lease_until = null,
               sent_at = case when :is_sent then :now end, send_at = case when :is_sent then null else :send_at end,
               sends = :is_sent, unanswered_until = :unanswered_until,
               query_at = case when :is_sent then :query_at end, misses = 0, missed_since = null
         where key = :key
        """,
        {
            "request": opening.request,
            "digest": opening.request_digest,
            "opened_by": opening.opened_by,
            "idempotency_key": opening.client.idempotency_key,
            "fence": fence,
            "is_sent": is_sent,
            "now": opening.now,
            "send_at": max(opening.now, paused_until),
            "unanswered_until": opening.now + millis(UNANSWERED_HOLDS_SLOTS),
            "query_at": opening.first_query_at,
            "key": key,
        },
    )
    outcome = OpenedAs.TO_SEND if is_sent else OpenedAs.QUEUED
    return Opened(outcome=outcome, fence=fence, external_task_id=opening.external_task_id)


def keep_inline(raw: sqlite3.Connection, external_task_id: str, inline: Mapping[str, str]) -> None:
    """Put a request's own pictures aside, before anyone's batch: they are large."""
    raw.executemany(
        "insert or ignore into inline_images (external_task_id, sha256, content) values (?, ?, ?)",
        [(external_task_id, sha256, content) for sha256, content in inline.items()],
    )


def sweep_pictures(raw: sqlite3.Connection) -> None:
    """Throw away what a crash left behind between putting pictures aside and writing their submission down."""
    raw.execute(
        """
        delete from inline_images
         where external_task_id not in (select external_task_id from tasks where state = 'pending')
        """
    )


def claim_unsent(
    raw: sqlite3.Connection,
    *,
    now: Moment,
    limit: int,
    lanes: Mapping[str, Lane],
) -> list[Unsent]:
    """In the order they came, as far as slots are free. `sent_at` is committed with the claim."""
    claimed: list[Unsent] = []
    for provider, lane in lanes.items():
        room = None if lane.slot_limit is None else lane.slot_limit - _slots_taken(raw, provider, now)
        due = raw.execute(
            """
            select * from tasks
             where provider = :provider and send_at <= :now
               and not exists (select 1 from query_budgets where provider = :provider and paused_until > :now)
             order by send_at, key limit :limit
            """,
            {"provider": provider, "now": now, "limit": limit - len(claimed)},
        )
        purse = _purse(raw, provider, lane.units_per_day, now=now)
        for row in due.fetchall():
            if room is not None and row["slots"] > room:
                break  # those behind it wait too, or a large task would wait for ever
            if purse is not None and (reason := purse.reason_to_wait(*_order(row))) is not None:
                _note(raw, row["external_task_id"], reason)
                if not purse.fits_no_day(*_order(row)):
                    break  # likewise
                raw.execute("update tasks set send_at = ? where key = ?", (now + millis(DAY), row["key"]))
                continue
            if purse is not None:
                purse.reserve(row["key"], *_order(row))
            room = None if room is None else room - row["slots"]
            claimed.append(_claim(raw, row, now=now, query_at=lane.first_query_at))
    return claimed


def refuse_task(raw: sqlite3.Connection, external_task_id: str, reason: str, *, fence: int | None, now: Moment) -> Task:
    """The provider refused the create. Under an old fence nothing changes. Raises UnknownTask."""
    row = fetch(raw, external_task_id)
    if not _is_latest_send(raw, row, fence):
        return row.task
    return write_decision(raw, row, refuse(row.task, reason, now=now))


def defer_task(
    raw: sqlite3.Connection, external_task_id: str, reason: str, *, fence: int | None, send_at: Moment
) -> None:
    """Nothing was created: it may be sent again. Under an old fence, or once news came, nothing changes."""
    row = fetch(raw, external_task_id)
    if not _is_latest_send(raw, row, fence) or row.task.state is not TaskState.PENDING:
        return
    row.task = note(row.task, reason)
    update_tasks(raw, [row])
    # A create that was sent before, and lost, stays sent: only this very attempt is taken back.
    raw.execute(
        """
        update tasks set send_at = ?, sent_at = case when sends <= 1 then null else sent_at end,
               sends = max(sends - 1, 0), unanswered_until = null, query_at = null, sent_by_opener = 0
         where key = ?
        """,
        (send_at, row.key),
    )


def note_unanswered(raw: sqlite3.Connection, external_task_id: str, reason: str, *, query_at: Moment | None) -> None:
    """Nobody knows whether the provider took it: it is asked about at `query_at`, where it can be asked about."""
    row = fetch(raw, external_task_id)
    if row.task.state is not TaskState.PENDING:
        return
    row.task = note(row.task, reason)
    row.query_at = query_at
    update_tasks(raw, [row])


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


def promise(raw: sqlite3.Connection, external_task_id: str) -> Task:
    """Its client is told that it is ours, unless it was refused by now: look at the state. Raises UnknownTask."""
    row = fetch(raw, external_task_id)
    if row.task.state is not TaskState.REFUSED:
        row.task = replace(row.task, promised=True)
        update_tasks(raw, [row])
    return row.task


def _task_named(raw: sqlite3.Connection, opening: Opening) -> sqlite3.Row | None:
    """The task that the opening's id, its client's or its key names. Raises TaskExists where that is no one task's."""
    client = opening.client
    names: list[tuple[str, tuple[str, ...]]] = [("external_task_id = ?", (opening.external_task_id,))]
    if client.task_id is not None:
        of_client = (client.tenant, opening.provider, client.task_id)
        names.append(("tenant = ? and provider = ? and client_task_id = ?", of_client))
    if client.idempotency_key is not None:
        names.append(("tenant = ? and idempotency_key = ?", (client.tenant, client.idempotency_key)))
    found = {
        row["key"]: row
        for condition, values in names
        for row in raw.execute(f"select * from tasks where {condition}", values)  # noqa: S608 - conditions from above
    }
    if len(found) > 1 or any(row["tenant"] != client.tenant for row in found.values()):
        raise TaskExists(client.task_id or opening.external_task_id)
    return next(iter(found.values()), None)


def _require_quota(raw: sqlite3.Connection, client: Client) -> None:
    if client.quota is None:
        return
    running = raw.execute(
        "select count(*) from tasks where tenant = ? and tenant <> '' and settled_at is null", (client.tenant,)
    ).fetchone()[0]
    if running >= client.quota:
        raise QuotaReached(client.quota)


def _move_pictures(raw: sqlite3.Connection, minted: str, to: str | None) -> None:
    """What was put aside under an id that is not needed, for its client's or key named a task already."""
    if to is not None:
        raw.execute("update or ignore inline_images set external_task_id = ? where external_task_id = ?", (to, minted))
    raw.execute("delete from inline_images where external_task_id = ?", (minted,))


def _recognise(raw: sqlite3.Connection, found: sqlite3.Row, opening: Opening) -> Opened:
    """Only its own opener, while neither the sender nor any news has come in between, still sends it."""
    _forget_pictures_of_repetition(raw, found)
    if opening.external_task_id != found["external_task_id"]:
        _move_pictures(raw, opening.external_task_id, None)
    is_same_request = found["request_digest"] == opening.request_digest and found["provider"] == opening.provider
    if not is_same_request or found["client_task_id"] != opening.client.task_id:
        raise TaskExists(opening.client.task_id or opening.external_task_id)
    is_its_opener = opening.opened_by is not None and found["opened_by"] == opening.opened_by
    is_unanswered = found["state"] == TaskState.PENDING and found["sent_at"] is not None
    may_send = is_its_opener and is_unanswered and found["sent_by_opener"]
    outcome = OpenedAs.TO_SEND if may_send else OpenedAs.ALREADY
    return Opened(outcome=outcome, fence=found["send_fence"], external_task_id=found["external_task_id"])


def _forget_pictures_of_repetition(raw: sqlite3.Connection, found: sqlite3.Row) -> None:
    """They were put aside before anyone knew that it had come before: keep what the first submission still needs."""
    request = found["request"] if found["state"] == TaskState.PENDING else ""
    raw.execute(
        "delete from inline_images where external_task_id = ? and instr(?, sha256) = 0",
        (found["external_task_id"], request or ""),
    )


def _task_of_opening(opening: Opening) -> Task:
    return Task(
        external_task_id=opening.external_task_id,
        provider=opening.provider,
        endpoint=opening.endpoint,
        created_at=opening.now,
        deadline_at=opening.deadline_at,
        images_asked=opening.images_asked,
        is_series=opening.is_series,
        slots=opening.slots,
        version=1,
        tenant=opening.client.tenant,
        client_task_id=opening.client.task_id,
        client_callback_url=opening.client.callback_url,
    )


def _has_room(raw: sqlite3.Connection, opening: Opening) -> bool:
    """Whether slots are free and nobody waits before it."""
    if opening.slot_limit is None and opening.units_per_day is None:
        return True
    waiting = raw.execute("select 1 from tasks where provider = ? and send_at is not null", (opening.provider,))
    if waiting.fetchone() is not None:
        return False
    if opening.slot_limit is None:
        return True
    return _slots_taken(raw, opening.provider, opening.now) + opening.slots <= opening.slot_limit


def _purse(raw: sqlite3.Connection, provider: str, per_day: int | None, *, now: Moment) -> Purse | None:
    return None if per_day is None else Purse(raw, provider, per_day=per_day, now=now)


def _order(row: sqlite3.Row) -> tuple[str, str, int]:
    """What a row's create is priced by."""
    return row["endpoint"], row["request"], row["slots"]


def _note(raw: sqlite3.Connection, external_task_id: str, reason: str) -> None:
    row = fetch(raw, external_task_id)
    row.task = note(row.task, reason)
    update_tasks(raw, [row])


def _is_pruned(raw: sqlite3.Connection, external_task_id: str) -> bool:
    """Whether the id named a task once: an external id names one task in the whole ledger, for good."""
    found = raw.execute("select 1 from tombstones where external_task_id = ?", (external_task_id,))
    return found.fetchone() is not None


def _paused_until(raw: sqlite3.Connection, provider: str) -> Moment:
    row = raw.execute("select paused_until from query_budgets where provider = ?", (provider,)).fetchone()
    return 0 if row is None else int(row["paused_until"])


def _is_latest_send(raw: sqlite3.Connection, row: TaskRow, fence: int | None) -> bool:
    """Whether this is said about the latest send; without a fence, whether its opener alone has sent it."""
    found = raw.execute("select send_fence, sent_by_opener from tasks where key = ?", (row.key,)).fetchone()
    return bool(found["sent_by_opener"]) if fence is None else fence == found["send_fence"]


def _slots_taken(raw: sqlite3.Connection, provider: str, now: Moment) -> int:
    taken: int = raw.execute(_SLOTS_TAKEN, {"provider": provider, "now": now}).fetchone()[0]
    return taken


def _claim(raw: sqlite3.Connection, row: sqlite3.Row, *, now: Moment, query_at: Moment | None) -> Unsent:
    raw.execute(
        """
        update tasks set sent_at = coalesce(sent_at, ?), send_at = null, sends = sends + 1, sent_by_opener = 0,
               send_fence = send_fence + 1, fence = fence + 1, lease_until = null, unanswered_until = ?, query_at = ?
         where key = ?
        """,
        (now, now + millis(UNANSWERED_HOLDS_SLOTS), query_at, row["key"]),
    )
    return Unsent(
        external_task_id=row["external_task_id"],
        provider=row["provider"],
        endpoint=row["endpoint"],
        request=_with_pictures(raw, row),
        fence=row["send_fence"] + 1,
    )


def _with_pictures(raw: sqlite3.Connection, row: sqlite3.Row) -> dict[str, Any]:
    request: dict[str, Any] = json.loads(row["request"])
    if '"sha256"' not in row["request"]:
        return request
    kept = raw.execute(
        "select sha256, content from inline_images where external_task_id = ?", (row["external_task_id"],)
    )
    contents = {each["sha256"]: each["content"] for each in kept}
    return put_back(request, contents)


def _forbid_without_request(raw: sqlite3.Connection, row: TaskRow) -> None:
    found = raw.execute("select request from tasks where key = ?", (row.key,)).fetchone()
    if found["request"] is None:
        raise NotPossible(f"{row.task.external_task_id} was adopted: its request is not known here")
