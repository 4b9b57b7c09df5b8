"""What is written down before it is sent: openings, on whose behalf, why not, and what is claimed to be sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

from submitter.moments import Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """On whose behalf a task is opened, and by what it will be known again.

    A `task_id` names one task of the tenant's at an account, an `idempotency_key` one of all the tenant's. `quota`
    is how many tasks the tenant may have running. `callback_url` is where the client is told of changes.
    `is_id_given`: the opening's id is of the client's choice, and so must be the task's. `hears_stops`: while trouble
    of the account keeps everything from being sent, it is told so, and nothing new is written down for it.
    """

    tenant: str = ""
    task_id: str | None = None
    callback_url: str | None = None
    idempotency_key: str | None = None
    quota: int | None = None
    is_id_given: bool = False
    hears_stops: bool = False


NOBODY = Client()
"""The operator himself, who is not called back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRefusal:
    """A provider's words on an account that it serves no more."""

    http_status: int
    code: str
    message: str


UNANSWERED_HOLDS_SLOTS = timedelta(minutes=10)  # a create that nobody answers must not hold them for ever
# One that a tenant sends itself, or says so: what runs there has called back by then (wire.md §4: 8 to 45 s).
UNSEEN_HOLDS_SLOTS = timedelta(minutes=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A submission to write down. `request` is JSON without inline pictures, which `inline` holds by SHA-256.

    `holds_slots` is for how long it does where it is sent by its opener, and no news comes. `tells_of_account`: what
    its opener says of the account is believed, so it may be what tries whether that is served again.
    """

    external_task_id: str
    provider: str
    endpoint: str
    request: str
    request_digest: bytes
    images_asked: int | None
    is_series: bool = False
    asks_watermark: bool = False
    slots: int
    slot_limit: int | None
    holds_slots: timedelta = UNANSWERED_HOLDS_SLOTS
    now: Moment
    deadline_at: Moment
    first_query_at: Moment | None
    units_per_day: int | None = None
    opened_by: str | None = None
    timing_class: str | None = None
    send_later: bool = False
    tells_of_account: bool = True
    client: Client = NOBODY
    inline: Mapping[str, str] = field(default_factory=dict)


class OpenedAs(StrEnum):
    """What an opening came to."""

    TO_SEND = "to_send"  # `sent_at` is committed: the opener sends it now
    QUEUED = "queued"  # it waits for a slot: the sender sends it
    ALREADY = "already"  # the same request was submitted before: nobody sends it again


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The outcome of an opening. `fence` names this very send: what became of it is said with it.

    `external_task_id` is the task's: another than the opening's, where its client's id or key named one before.
    `trial` is that which this send is, if it is one (`Ledger.lift`).
    """

    outcome: OpenedAs
    fence: int
    external_task_id: str
    trial: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """What an account may have in flight and spend, and when what is sent now is asked about if unanswered.

    Nor is it given up before `give_up_at`, however long it has waited to be sent.
    """

    slot_limit: int | None
    first_query_at: Moment | None
    units_per_day: int | None = None
    give_up_at: Moment = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsent:
    """A task that was claimed to be sent: `sent_at` is committed. `request` has its pictures; `trial`: as Opened."""

    external_task_id: str
    provider: str
    endpoint: str
    request: Mapping[str, Any]
    fence: int
    trial: int | None = None
