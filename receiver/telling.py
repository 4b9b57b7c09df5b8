"""Telling: a relay for each destination and one for the clients of tasks, and what they have under way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta

from receiver.config import GatewayConfig
from receiver.counters import Counters
from receiver.ledger.base import Change
from receiver.ledger.deliveries import Outbox
from receiver.outbox.attempts import Attempts
from receiver.outbox.clients import ClientCallbacks
from receiver.outbox.opening import OpenDestination
from receiver.outbox.relay import ClientRelay, Relay
from receiver.outbox.resolving import resolve_by_system
from receiver.worker import Duty
from submitter.client import trusted_roots
from submitter.inflight import InFlight
from submitter.moments import Moment

ENDS_WITHIN = timedelta(seconds=3)  # platforms kill after ten or more; what is cut short is told again


class Telling:
    """The duties that tell what was written down, and the connections they tell it by."""

    def __init__(
        self,
        outbox: Outbox,
        destinations: Sequence[OpenDestination],
        gateway: GatewayConfig,
        *,
        source: str,
        clock: Callable[[], Moment],
        counters: Counters,
        wake: Callable[[Duty], None],
    ) -> None:
        """`wake` is called where there is something to do for a duty."""
        self.in_flight = InFlight()
        self._outbox = outbox
        self._destinations = destinations
        self._source = source
        self._clock = clock
        self._counters = counters
        self._wake = wake
        self._relays = [self._relay(each) for each in destinations]
        self._clients = ClientCallbacks(gateway, clock=clock, resolve=resolve_by_system, roots=trusted_roots)
        self._client_relay = ClientRelay(
            outbox, self._clients, attempts=self._attempts(lambda: wake(self._client_relay))
        )

    @property
    def duties(self) -> list[Duty]:
        """Everybody's."""
        return [*self._relays, self._client_relay]

    def wake_for(self, change: Change) -> None:
        """Who has something to tell now."""
        if not change.has_events:
            return
        for relay in self._relays:
            self._wake(relay)
        if change.has_callbacks:
            self._wake(self._client_relay)

    async def aclose(self) -> None:
        """Let what is under way end, but not for long, and close all connections."""
        await self.in_flight.end(within=ENDS_WITHIN)
        await asyncio.gather(self._clients.aclose(), *(each.destination.aclose() for each in self._destinations))

    def _relay(self, opened: OpenDestination) -> Relay:
        relay = Relay(
            self._outbox,
            opened.name,
            opened.destination,
            source=self._source,
            attempts=self._attempts(lambda: self._wake(relay)),
        )
        return relay

    def _attempts(self, on_room: Callable[[], None]) -> Attempts:
        return Attempts(
            self._outbox, clock=self._clock, counters=self._counters, in_flight=self.in_flight, on_room=on_room
        )
