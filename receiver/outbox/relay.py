"""The relays: what is due is claimed, and told several deliveries at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from receiver.ledger.deliveries import ClaimedDelivery, Outbox, Places
from receiver.outbox.attempts import LEASE, Attempts
from receiver.outbox.destination import Attempt, Destination, GiveUp
from receiver.outbox.message import CallbackMessage, callback_of, message_of
from submitter.moments import Moment

AT_ONCE = 16  # attempts under way for one destination: more would make hardly an app faster
# Whoever hangs has his places for as long as an attempt takes: so no origin, and no tenant, can have them all.
CLIENT_PLACES = Places(in_all=32, of_tenant=16, of_origin=4)


class Relay:
    """One destination's duty. `run_once` begins attempts, and each ends by itself: one that hangs holds up no other."""

    def __init__(self, outbox: Outbox, name: str, destination: Destination, *, source: str, attempts: Attempts) -> None:
        self.name = name
        self._outbox = outbox
        self._destination = destination
        self._source = source
        self._attempts = attempts

    async def run_once(self, now: Moment) -> Mapping[str, int]:
        """Claim what there is room for, and begin to tell it; how many."""
        room = AT_ONCE - self._attempts.under_way
        if room <= 0:
            return {"told": 0}
        claims = await self._outbox.claim_deliveries(self.name, now=now, lease=LEASE, limit=room)
        for claim in claims:
            self._attempts.begin(claim, self._deliver)
        return {"told": len(claims)}

    async def next_due_at(self) -> Moment | None:
        """When the first delivery may leave."""
        return await self._outbox.next_delivery_at(self.name)

    async def _deliver(self, claim: ClaimedDelivery) -> Attempt:
        return await self._destination.deliver(message_of(claim.event, source=self._source))


class Clients(Protocol):
    """Whoever gave a callback_url with a task."""

    async def call_back(self, message: CallbackMessage) -> Attempt:
        """One attempt. It may raise whatever its client raises, which counts as TryAgain."""


class ClientRelay:
    """The duty that tells the clients of tasks, of all origins at once."""

    def __init__(self, outbox: Outbox, clients: Clients, *, attempts: Attempts) -> None:
        self._outbox = outbox
        self._clients = clients
        self._attempts = attempts

    async def run_once(self, now: Moment) -> Mapping[str, int]:
        """Claim what there are places for, and begin to tell it; how many."""
        claims = await self._outbox.claim_client_deliveries(now=now, lease=LEASE, places=CLIENT_PLACES)
        for claim in claims:
            self._attempts.begin(claim, self._deliver)
        return {"told": len(claims)}

    async def next_due_at(self) -> Moment | None:
        """When the first delivery may leave."""
        return await self._outbox.next_client_delivery_at()

    async def _deliver(self, claim: ClaimedDelivery) -> Attempt:
        if claim.client is None:
            return GiveUp(reason="its task is gone, and with it where its client wanted to be told")
        return await self._clients.call_back(callback_of(claim.event, claim.client))
