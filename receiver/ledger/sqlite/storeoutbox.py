"""SqliteOutbox: the part of the ledger that tells, as `receiver.ledger.deliveries` has it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from receiver.ledger.deliveries import (
    ClaimedDelivery,
    DeliveryPage,
    DeliveryQuery,
    DestinationState,
    Places,
    Settled,
    Settlement,
    Subscription,
)
from receiver.ledger.sqlite import outbox, outboxclients
from receiver.ledger.sqlite.store import Store
from submitter.moments import Moment


class SqliteOutbox(Store):
    """As Outbox."""

    async def subscribe(self, subscriptions: Sequence[Subscription], *, now: Moment) -> None:
        """As Outbox.subscribe."""
        await self._write(lambda raw: outbox.subscribe(raw, subscriptions, now=now))

    async def claim_deliveries(
        self, destination: str, *, now: Moment, lease: timedelta, limit: int
    ) -> list[ClaimedDelivery]:
        """As Outbox.claim_deliveries."""
        return await self._write(lambda raw: outbox.claim(raw, destination, now=now, lease=lease, limit=limit))

    async def claim_client_deliveries(self, *, now: Moment, lease: timedelta, places: Places) -> list[ClaimedDelivery]:
        """As Outbox.claim_client_deliveries."""
        return await self._write(lambda raw: outboxclients.claim_for_clients(raw, now=now, lease=lease, places=places))

    async def settle_deliveries(self, settlements: Sequence[Settlement]) -> Settled:
        """As Outbox.settle_deliveries."""
        return await self._write(lambda raw: outbox.settle(raw, settlements))

    async def redeliver(self, keys: Sequence[int], *, now: Moment) -> int:
        """As Outbox.redeliver."""
        return await self._write(lambda raw: outbox.redeliver(raw, keys, now=now))

    async def next_delivery_at(self, destination: str) -> Moment | None:
        """As Outbox.next_delivery_at."""
        return await self._reader.next_delivery_at(destination)

    async def next_client_delivery_at(self) -> Moment | None:
        """As Outbox.next_client_delivery_at."""
        return await self._reader.next_client_delivery_at()

    async def deliveries(self, query: DeliveryQuery) -> DeliveryPage:
        """As Outbox.deliveries."""
        return await self._reader.deliveries(query)

    async def count_deliveries(self, query: DeliveryQuery) -> int:
        """As Outbox.count_deliveries."""
        return await self._reader.count_deliveries(query)

    async def destinations(self) -> list[DestinationState]:
        """As Outbox.destinations."""
        return await self._reader.destinations()
