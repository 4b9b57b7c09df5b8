"""Attempts: each is bounded, ends by itself, and what became of it is written down, whatever a destination does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from receiver.breaker import CLIENT_RETRY_AFTER, RETRY_AFTER, retry_at
from receiver.counters import Counters
from receiver.ledger.deliveries import AttemptResult, ClaimedDelivery, Outbox, Settlement
from receiver.ledger.errors import LedgerError
from receiver.origins import is_clients, label_of
from receiver.outbox.destination import Attempt, Delivered, GiveUp, TryAgain
from submitter.inflight import InFlight
from submitter.moments import Moment

log = structlog.get_logger("outbox")

LONGEST_ATTEMPT = timedelta(seconds=75)  # a destination has a shorter time-out of its own
LONGEST_REASON = 300
LEASE = timedelta(seconds=150)  # twice that: who is slow to write down what became of it is not overtaken


class Attempts:
    """Those of one relay. One that hangs holds up no other."""

    def __init__(
        self,
        outbox: Outbox,
        *,
        clock: Callable[[], Moment],
        counters: Counters,
        in_flight: InFlight,
        on_room: Callable[[], None],
    ) -> None:
        """`in_flight` is where attempts run; `on_room` is called when one has ended, for more may be due then."""
        self.under_way = 0
        self._outbox = outbox
        self._clock = clock
        self._counters = counters
        self._in_flight = in_flight
        self._on_room = on_room

    def begin(self, claim: ClaimedDelivery, deliver: Callable[[ClaimedDelivery], Awaitable[Attempt]]) -> None:
        """Begin to tell what was claimed, by this way to deliver it, and go on."""
        self.under_way += 1
        self._in_flight.begin(self._tell(claim, deliver))

    async def _tell(self, claim: ClaimedDelivery, deliver: Callable[[ClaimedDelivery], Awaitable[Attempt]]) -> None:
        began = time.perf_counter()
        try:
            settlement = settlement_of(claim, await _bounded(claim, deliver), now=self._clock())
            await self._write_down(claim, settlement, seconds=time.perf_counter() - began)
        except asyncio.CancelledError:
            cut_short = Settlement(
                key=claim.key, fence=claim.fence, result=AttemptResult.CUT_SHORT, now=self._clock(), reason="cut short"
            )
            await self._write_down(claim, cut_short, seconds=time.perf_counter() - began)
        except Exception:  # the top of an attempt: its lease runs out, and it is made again
            log.exception("delivery.stumbled", delivery=claim.key, destination=claim.destination)
        finally:
            self.under_way -= 1
            self._on_room()

    async def _write_down(self, claim: ClaimedDelivery, settlement: Settlement, *, seconds: float) -> None:
        try:
            settled = await self._outbox.settle_deliveries([settlement])
        except LedgerError as error:
            log.warning("delivery.unsettled", delivery=claim.key, destination=claim.destination, reason=str(error))
            return  # its lease runs out, and it is told again
        self._counters.told(label_of(claim.destination), settlement.result)
        log.info(
            "delivery.attempted",
            result=settlement.result if settled.counted == [True] else "late",
            task=claim.event.external_task_id,
            event_type=claim.event.type,
            destination=claim.destination,
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
            delays = CLIENT_RETRY_AFTER if is_clients(claim.destination) else RETRY_AFTER
            again = retry_at(claim.event.id, attempts=claim.attempts, now=now, delays=delays)
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


async def _bounded(claim: ClaimedDelivery, deliver: Callable[[ClaimedDelivery], Awaitable[Attempt]]) -> Attempt:
    """One attempt, bounded whatever the destination does."""
    try:
        async with asyncio.timeout(LONGEST_ATTEMPT.total_seconds()):
            return await deliver(claim)
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


def _worded(reason: str) -> str:
    """The reason as it may be kept and shown: a client's words may be long, and hold what no database takes."""
    return "".join(character if character.isprintable() else "?" for character in reason[:LONGEST_REASON])
