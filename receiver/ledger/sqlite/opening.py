"""The way in: openings, written down or recognised."""

from __future__ import annotations

import dataclasses
import sqlite3

from receiver.ledger.errors import AccountStopped, QuotaReached, TaskExists
from receiver.ledger.openings import Client, Opened, OpenedAs, Opening
from receiver.ledger.sqlite.pictures import forget_unneeded, move_pictures
from receiver.ledger.sqlite.purse import purse_of, take_back
from receiver.ledger.sqlite.queueing import (
    has_room,
    note_waiting,
    take_turn,
)
from receiver.ledger.sqlite.rows import fetch, insert_task, update_tasks
from receiver.ledger.sqlite.stops import begin_trial, refusal_in_force, rest_of
from receiver.lifecycle import submit_anew
from receiver.task import Task, TaskState
from receiver.values import replace
from submitter.moments import millis


def open_task(raw: sqlite3.Connection, opening: Opening) -> Opened:
    """Write it down, or recognise it. Raises TaskExists, QuotaReached or AccountStopped."""
    try:
        return _open(raw, opening)
    except (TaskExists, QuotaReached, AccountStopped):
        forget_unneeded(raw, opening.external_task_id)
        raise


def promise(raw: sqlite3.Connection, external_task_id: str) -> Task:
    """Its client is told that it is ours, unless it was refused by now: look at the state. Raises UnknownTask."""
    row = fetch(raw, external_task_id)
    if row.task.state is not TaskState.REFUSED:
        row.task = replace(row.task, promised=True)
        update_tasks(raw, [row])
    return row.task


def _open(raw: sqlite3.Connection, opening: Opening) -> Opened:
    found = _task_named(raw, opening)
    if found is not None and (found["state"] != TaskState.REFUSED or found["promised"]):
        return _recognise(raw, found, opening)
    if found is None and _is_pruned(raw, opening.external_task_id):
        raise TaskExists(opening.external_task_id)
    if opening.client.hears_stops:
        _require_service(raw, opening)
    _require_quota(raw, opening.client)
    if found is not None and found["external_task_id"] != opening.external_task_id:
        move_pictures(raw, opening.external_task_id, found["external_task_id"])
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
    rest = rest_of(raw, opening.provider)
    is_allowed = rest.until <= opening.now and (opening.tells_of_account or not rest.is_on_trial)
    purse = purse_of(raw, opening.provider, opening.units_per_day, now=opening.now)
    reason = None if purse is None else purse.reason_to_wait(opening.endpoint, opening.request, opening.slots)
    may_send = not opening.send_later and is_allowed and reason is None
    is_sent = may_send and has_room(raw, opening)
    if is_sent and purse is not None:
        purse.reserve(key, opening.endpoint, opening.request, opening.slots)
    if reason is not None:
        note_waiting(raw, opening.external_task_id, reason)
    raw.execute(
        """
        update tasks
           set request = :request, request_digest = :digest, opened_by = :opened_by,
               idempotency_key = coalesce(:idempotency_key, idempotency_key),
               send_fence = :fence, sent_by_opener = :is_sent,
               fence = fence + 1, lease_until = null, deadline_before = null,
               sent_at = case when :is_sent then :now end, send_at = case when :is_sent then null else :send_at end,
               sends = :is_sent, unanswered_until = :unanswered_until,
               query_at = case when :is_sent then :query_at end, misses = 0, missed_since = null,
               timing_class = :timing_class, running_at = null
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
            "send_at": opening.now,
            "unanswered_until": opening.now + millis(opening.holds_slots),
            "query_at": opening.first_query_at,
            "timing_class": opening.timing_class,
            "key": key,
        },
    )
    if is_sent:
        take_turn(raw, opening.provider, opening.client.tenant, opening.slots)
    trial = begin_trial(raw, opening.provider, now=opening.now) if is_sent and rest.is_on_trial else None
    outcome = OpenedAs.TO_SEND if is_sent else OpenedAs.QUEUED
    return Opened(outcome=outcome, fence=fence, external_task_id=opening.external_task_id, trial=trial)


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
    task = next(iter(found.values()), None)
    if task is not None and client.is_id_given and task["external_task_id"] != opening.external_task_id:
        raise TaskExists(opening.external_task_id)  # its key names another one
    return task


def _require_service(raw: sqlite3.Connection, opening: Opening) -> None:
    said = refusal_in_force(raw, opening.provider, now=opening.now)
    if said is not None:
        raise AccountStopped(said.message, code=said.code, http_status=said.http_status)


def _require_quota(raw: sqlite3.Connection, client: Client) -> None:
    if client.quota is None:
        return
    running = raw.execute(
        "select count(*) from tasks where tenant = ? and tenant <> '' and settled_at is null", (client.tenant,)
    ).fetchone()[0]
    if running >= client.quota:
        raise QuotaReached(client.quota)


def _recognise(raw: sqlite3.Connection, found: sqlite3.Row, opening: Opening) -> Opened:
    """Only its own opener, while neither the sender nor any news has come in between, still sends it."""
    forget_unneeded(raw, opening.external_task_id)
    is_same_request = found["request_digest"] == opening.request_digest and found["provider"] == opening.provider
    if not is_same_request or found["client_task_id"] != opening.client.task_id:
        raise TaskExists(opening.client.task_id or opening.external_task_id)
    if opening.client.idempotency_key is not None and found["idempotency_key"] is None:
        raw.execute(
            "update tasks set idempotency_key = ? where key = ?", (opening.client.idempotency_key, found["key"])
        )
    is_its_opener = opening.opened_by is not None and found["opened_by"] == opening.opened_by
    is_unanswered = found["state"] == TaskState.PENDING and found["sent_at"] is not None
    may_send = is_its_opener and is_unanswered and found["sent_by_opener"]
    outcome = OpenedAs.TO_SEND if may_send else OpenedAs.ALREADY
    return Opened(outcome=outcome, fence=found["send_fence"], external_task_id=found["external_task_id"])


def _task_of_opening(opening: Opening) -> Task:
    return Task(
        external_task_id=opening.external_task_id,
        provider=opening.provider,
        endpoint=opening.endpoint,
        created_at=opening.now,
        deadline_at=opening.deadline_at,
        images_asked=opening.images_asked,
        is_series=opening.is_series,
        asks_watermark=opening.asks_watermark,
        slots=opening.slots,
        version=1,
        tenant=opening.client.tenant,
        client_task_id=opening.client.task_id,
        client_callback_url=opening.client.callback_url,
    )


def _is_pruned(raw: sqlite3.Connection, external_task_id: str) -> bool:
    """Whether the id named a task once: an external id names one task in the whole ledger, for good."""
    found = raw.execute("select 1 from tombstones where external_task_id = ?", (external_task_id,))
    return found.fetchone() is not None
