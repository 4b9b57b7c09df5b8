"""Openings that nothing can hold up, a batch of them in a handful of statements: a new id, and no limit to look at."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter

from receiver.ledger.errors import Refusal
from receiver.ledger.openings import Opened, OpenedAs, Opening
from receiver.ledger.sqlite.opening import open_task
from receiver.ledger.sqlite.queueing import take_turns
from receiver.ledger.sqlite.sets import insert_rows, select_in
from receiver.ledger.sqlite.stops import rest_of
from receiver.task import TaskState
from submitter.moments import millis

# What a new task has otherwise than by the schema's defaults.
_COLUMNS = (
    "external_task_id",
    "provider",
    "endpoint",
    "request",
    "request_digest",
    "opened_by",
    "state",
    "version",
    "images_asked",
    "is_series",
    "asks_watermark",
    "slots",
    "created_at",
    "sent_at",
    "deadline_at",
    "sends",
    "send_fence",
    "sent_by_opener",
    "unanswered_until",
    "query_at",
    "fence",
    "timing_class",
    "tenant",
    "client_callback_url",
)


def is_free(opening: Opening) -> bool:
    """Whether there is nothing to look at but its own id: no limit, no other name, no pictures put aside."""
    client = opening.client
    has_limit = opening.slot_limit is not None or opening.units_per_day is not None or client.quota is not None
    has_other_name = client.task_id is not None or client.idempotency_key is not None
    return not (has_limit or has_other_name or opening.send_later or opening.inline)


class OpenTogether:
    """The write that every free opening is. Those whose id is known, or whose account rests, are taken one by one."""

    is_short = True

    def run(self, raw: sqlite3.Connection, items: Sequence[Opening]) -> Sequence[Opened | Refusal]:
        """What each came to, or why it is refused."""
        known = _known(raw, [each.external_task_id for each in items])
        rests = {provider: rest_of(raw, provider) for provider in {each.provider for each in items}}
        new: dict[str, Opening] = {}
        for each in items:
            rest = rests[each.provider]
            is_served = rest.until <= each.now and not rest.is_on_trial
            if each.external_task_id not in known and is_served:
                new.setdefault(each.external_task_id, each)
        _write(raw, list(new.values()))
        return [_sent(each) if new.get(each.external_task_id) is each else _by_itself(raw, each) for each in items]


def _known(raw: sqlite3.Connection, names: Sequence[str]) -> set[str]:
    """Those that name a task, or did so once."""
    wanted = [(name,) for name in names]
    return {
        name
        for table in ("tasks", "tombstones")
        for (name,) in select_in(raw, "external_task_id", table, ("external_task_id",), wanted)
    }


def _write(raw: sqlite3.Connection, openings: Sequence[Opening]) -> None:
    insert_rows(raw, "tasks", _COLUMNS, [_row(each) for each in openings])
    by_provider = attrgetter("provider")
    for provider, its in groupby(sorted(openings, key=by_provider), key=by_provider):
        take_turns(raw, provider, [(each.client.tenant, each.slots) for each in its])


def _row(opening: Opening) -> tuple[object, ...]:
    return (
        opening.external_task_id,
        opening.provider,
        opening.endpoint,
        opening.request,
        opening.request_digest,
        opening.opened_by,
        TaskState.PENDING.value,
        1,
        opening.images_asked,
        opening.is_series,
        opening.asks_watermark,
        opening.slots,
        opening.now,
        opening.now,
        opening.deadline_at,
        1,
        1,
        1,
        opening.now + millis(opening.holds_slots),
        opening.first_query_at,
        1,
        opening.timing_class,
        opening.client.tenant,
        opening.client.callback_url,
    )


def _sent(opening: Opening) -> Opened:
    return Opened(outcome=OpenedAs.TO_SEND, fence=1, external_task_id=opening.external_task_id)


def _by_itself(raw: sqlite3.Connection, opening: Opening) -> Opened | Refusal:
    try:
        return open_task(raw, opening)
    except Refusal as refusal:
        return refusal
