"""Relay: tells one destination what is due, several deliveries at a time, and writes down what became of each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import timedelta

import structlog

from receiver.breaker import retry_at
from receiver.counters import Counters
from receiver.ledger.deliveries import AttemptResult, ClaimedDelivery, Outbox, Settlement
from receiver.ledger.errors import LedgerError
from receiver.outbox.destination import Attempt, Delivered, Destination, GiveUp, TryAgain
from receiver.outbox.message import message_of
from submitter.inflight import InFlight
from submitter.moments import Moment

log = structlog.get_logger("outbox")

AT_ONCE = 16  # attempts under way for one destination: more would make hardly an app faster
LONGEST_ATTEMPT = timedelta(seconds=75)  # a destination has a shorter time-out of its own
LONGEST_REASON = 300
LEASE = timedelta(seconds=150)  # twice that: who is slow to write down what became of it is not overtaken


class Relay:
    """One destination's duty. `run_once` begins attempts, and each ends by itself: one that hangs holds up no other."""

    def __init__(
        self,
        outbox: Outbox,
        name: str,
        destination: Destination,
        *,
        source: str,
        clock: Callable[[], Moment],
        counters: Counters,
        in_flight: InFlight,
        on_room: Callable[[], None],
    ) -> None:
        """`in_flight` is where attempts run; `on_room` is called when one has ended, for more may be due then."""
        self.name = name
        self._outbox = outbox
        self._destination = destination
        self._source = source
        self._clock = clock
        self._counters = counters
        self._in_flight = in_flight
        self._on_room = on_room
        self._under_way = 0

    async def run_once(self, now: Moment) -> Mapping[str, int]:
        """Claim what there is room for, and begin to tell it; how many."""
        room = AT_ONCE - self._under_way
        if room <= 0:
            return {"told": 0}
        claims = await self._outbox.claim_deliveries(self.name, now=now, lease=LEASE, limit=room)
        for claim in claims:
            self._under_way += 1
            self._in_flight.begin(self._tell(claim))
        return {"told": len(claims)}

    async def next_due_at(self) -> Moment | None:
        """When the first delivery may leave."""
        return await self._outbox.next_delivery_at(self.name)

    async def _tell(self, claim: ClaimedDelivery) -> None:
        began = time.perf_counter()
        try:
            settlement = settlement_of(claim, await self._attempt(claim), now=self._clock())
            await self._write_down(claim, settlement, seconds=time.perf_counter() - began)
        except asyncio.CancelledError:
            cut_short = Settlement(
                key=claim.key, fence=claim.fence, result=AttemptResult.CUT_SHORT, now=self._clock(), reason="cut short"
            )
            await self._write_down(claim, cut_short, seconds=time.perf_counter() - began)
        except Exception:  # the top of an attempt: its lease runs out, and it is made again
            log.exception("delivery.stumbled", delivery=claim.key, destination=self.name)
        finally:
            self._under_way -= 1
            self._on_room()

    async def _attempt(self, claim: ClaimedDelivery) -> Attempt:
        """One attempt, bounded whatever the destination does."""
        try:
            async with asyncio.timeout(LONGEST_ATTEMPT.total_seconds()):
                return await self._destination.deliver(message_of(claim.event, source=self._source))
        except TimeoutError:
            return TryAgain(reason=f"no end within {LONGEST_ATTEMPT.total_seconds():g} s")
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return TryAgain(reason="it cancelled something of its own")  # and not we: no reason to be told at once
        except Exception as error:  # noqa: BLE001 - the top of an attempt: whatever a client raises, it is tried again
            # Its words may hold the address with its password; its kind does not.
            return TryAgain(reason=f"{type(error).__module__}.{type(error).__name__}")

    async def _write_down(self, claim: ClaimedDelivery, settlement: Settlement, *, seconds: float) -> None:
        try:
            settled = await self._outbox.settle_deliveries([settlement])
        except LedgerError as error:
            log.warning("delivery.unsettled", delivery=claim.key, destination=self.name, reason=str(error))
            return  # its lease runs out, and it is told again
        self._counters.told(self.name, settlement.result)
        log.info(
            "delivery.attempted",
            result=settlement.result if settled.counted == [True] else "late",
            task=claim.event.external_task_id,
            event_type=claim.event.type,
            destination=self.name,
            delivery=claim.key,
            attempt=claim.attempts,
            ms=round(seconds * 1000, 1),
            **({"reason": settlement.reason} if settlement.reason else {}),
        )
        for name in settled.disabled:
            log.error(
                "destination.disabled",
                destination=name,
                reason=settlement.reason,
                fix="mend it, then 'hookledger deliveries redeliver' or another url: until then its deliveries wait",
            )


def settlement_of(claim: ClaimedDelivery, attempt: Attempt, *, now: Moment) -> Settlement:
    """What an attempt leads to."""
    match attempt:
        case Delivered():
            return Settlement(key=claim.key, fence=claim.fence, result=AttemptResult.DELIVERED, now=now)
        case GiveUp(reason=reason, is_gone=is_gone):
            result = AttemptResult.GONE if is_gone else AttemptResult.REFUSED
            return Settlement(key=claim.key, fence=claim.fence, result=result, now=now, reason=_worded(reason))
        case TryAgain(reason=reason, after=after):
            again = retry_at(claim.event.id, attempts=claim.attempts, now=now)
            if again is not None and after is not None:
                again = max(again, now + after // timedelta(milliseconds=1))
            return Settlement(
                key=claim.key,
                fence=claim.fence,
                result=AttemptResult.FAILED,
                now=now,
                reason=_worded(reason),
                retry_at=again,
                pause=after,
            )


def _worded(reason: str) -> str:
    """The reason as it may be kept and shown: a client's words may be long, and hold what no database takes."""
    return "".join(character if character.isprintable() else "?" for character in reason[:LONGEST_REASON])
