"""The outbox as the rest of the receiver asks for it: who is told what, whose turn it is, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from receiver.breaker import Health
from receiver.eventtype import EventType
from receiver.origins import is_clients
from submitter.moments import Moment

if TYPE_CHECKING:
    from receiver.ledger.reading import StoredEvent


class DeliveryState(StrEnum):
    """What became of telling one event to one destination."""

    OPEN = "open"
    DELIVERED = "delivered"
    DEAD = "dead"  # given up: a person may have it redelivered
    SUPERSEDED = "superseded"  # a later event of its task made it old news


class AttemptResult(StrEnum):
    """What one attempt came to."""

    DELIVERED = "delivered"
    FAILED = "failed"
    REFUSED = "refused"  # this one will never be taken, which says nothing of others
    GONE = "gone"  # nor will any other
    CUT_SHORT = "cut_short"  # the receiver stops: it is made again, and this one is not counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A destination, and which events it is told of. No providers means all. `target` is a digest of where it is."""

    destination: str
    types: frozenset[EventType]
    providers: frozenset[str] = frozenset()
    target: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalledBack:
    """The client of a task that is called back: where, and what the task is to it. The URL may hold a secret.

    `balance_deduction` is what was known of it at the event: JSON, which apps are not told.
    """

    url: str = field(repr=False)
    tenant: str
    task_id: str | None
    is_series: bool
    balance_deduction: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedDelivery:
    """A delivery whose turn it is, leased under a fence. `attempts` counts the one that it was claimed for.

    `client` is whom it is for where that is a task's client, and no destination of the configuration.
    """

    key: int
    fence: int
    destination: str
    attempts: int
    event: StoredEvent
    client: CalledBack | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """How many deliveries to clients may be under way: in all, of one tenant's clients, and to one origin."""

    in_all: int
    of_tenant: int
    of_origin: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What became of a claimed delivery. A failure without `retry_at` was the last; `pause` is what it asked for."""

    key: int
    fence: int
    result: AttemptResult
    now: Moment
    reason: str = ""
    retry_at: Moment | None = None
    pause: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """Which settlements counted, in order; an old fence does not. `disabled` are told no more from now on."""

    counted: Sequence[bool]
    disabled: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryQuery:
    """Which deliveries. `after` is the key of an earlier page's last."""

    state: DeliveryState | None = None
    destination: str | None = None
    type: str | None = None
    external_task_id: str | None = None
    after: int | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """An event on its way to a destination, or what became of it. `next_at` is None while it waits for another."""

    key: int
    event_id: str
    type: str
    external_task_id: str | None
    destination: str
    state: DeliveryState
    attempts: int
    reason: str | None
    next_at: Moment | None
    settled_at: Moment | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPage:
    """Deliveries, and the key to go on after, or None at the end."""

    deliveries: Sequence[Delivery]
    next: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationState:
    """How a destination fares, and how much waits for it. What is not configured any more is told nothing.

    Clients' origins are not configured, and are told all the same.
    """

    name: str
    health: Health
    is_configured: bool
    open: int
    dead: int

    @property
    def is_told(self) -> bool:
        """Whether anybody tells it, as long as it takes what it is told."""
        return self.is_configured or is_clients(self.name)


class Outbox(Protocol):
    """The part of a ledger that tells. Deliveries are written in the transaction of their event."""

    async def subscribe(self, subscriptions: Sequence[Subscription], *, now: Moment) -> None:
        """Who is told what from now on. A destination that has moved gets another chance."""

    async def claim_deliveries(
        self, destination: str, *, now: Moment, lease: timedelta, limit: int
    ) -> list[ClaimedDelivery]:
        """The longest due first, of each task one at a time; as many as the destination's breaker lets pass."""

    async def claim_client_deliveries(self, *, now: Moment, lease: timedelta, places: Places) -> list[ClaimedDelivery]:
        """What is due to tasks' clients, of all origins: those with the fewest under way first, then the longest due.

        Of each origin as its breaker lets pass, and of each task one at a time.
        """

    async def next_client_delivery_at(self) -> Moment | None:
        """When the first of them is due and may leave."""

    async def settle_deliveries(self, settlements: Sequence[Settlement]) -> Settled:
        """What became of them; the next of each task takes its turn. An old fence changes nothing."""

    async def redeliver(self, keys: Sequence[int], *, now: Moment) -> int:
        """Begin these anew, whatever became of them; their destinations get another chance. How many there were."""

    async def next_delivery_at(self, destination: str) -> Moment | None:
        """When the first is due and may leave."""

    async def deliveries(self, query: DeliveryQuery) -> DeliveryPage:
        """A page of them, newest first."""

    async def count_deliveries(self, query: DeliveryQuery) -> int:
        """How many there are, on all pages."""

    async def destinations(self) -> list[DestinationState]:
        """Every destination that is configured, and those that were and have something open or dead."""
