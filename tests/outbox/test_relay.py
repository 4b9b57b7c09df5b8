"""The relay: what an attempt leads to, and that no attempt is forgotten whatever a destination does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from receiver.breaker import CLIENT_RETRY_AFTER, RETRY_AFTER
from receiver.counters import Counters
from receiver.eventtype import types_matching
from receiver.ledger.deliveries import AttemptResult, ClaimedDelivery, DeliveryQuery, DeliveryState, Subscription
from receiver.ledger.sqlite import SqliteLedger
from receiver.outbox.attempts import LONGEST_REASON, Attempts, settlement_of
from receiver.outbox.destination import Attempt, Delivered, GiveUp, TryAgain
from receiver.outbox.message import Message
from receiver.outbox.relay import AT_ONCE, Relay
from submitter.inflight import InFlight
from submitter.moments import millis
from tests.ledger.builders import JUDGE, NOW, PROCESSING, callback
from tests.outbox.builders import SOURCE, an_event

Answering = Callable[[Message], Attempt]


class Answers:
    """A destination that answers what the test says, and counts how many attempts are under way."""

    def __init__(self, answer: Answering) -> None:
        self.answer = answer
        self.told: list[Message] = []
        self.at_once = 0
        self._under_way = 0

    async def deliver(self, message: Message) -> Attempt:
        self.told.append(message)
        self._under_way += 1
        self.at_once = max(self.at_once, self._under_way)
        try:
            await asyncio.sleep(0.001)
            return self.answer(message)
        finally:
            self._under_way -= 1

    async def aclose(self) -> None:
        """Nothing is held."""


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[SqliteLedger]:
    opened = await SqliteLedger.open(tmp_path / "ledger.db", now=NOW)
    await opened.subscribe([Subscription(destination="app", types=types_matching(["task.*"]))], now=NOW)
    yield opened
    await opened.aclose()


async def relayed(ledger: SqliteLedger, destination: Answers, *, turns: int = 1) -> list[int]:
    """So many turns, each with everything that it began; how many attempts each began."""
    in_flight = InFlight()
    attempts = Attempts(ledger, clock=lambda: NOW, counters=Counters(), in_flight=in_flight, on_room=lambda: None)
    relay = Relay(ledger, "app", destination, source=SOURCE, attempts=attempts)
    begun = []
    for _ in range(turns):
        begun.append((await relay.run_once(NOW))["told"])
        await in_flight.drain()
    return begun


async def has_events(ledger: SqliteLedger, count: int) -> None:
    await ledger.apply([callback(PROCESSING, task=f"t_{number}") for number in range(count)], JUDGE)


async def test_so_many_are_told_at_once_and_no_more(ledger: SqliteLedger) -> None:
    await has_events(ledger, AT_ONCE + 5)
    app = Answers(lambda _: Delivered())

    assert [AT_ONCE, 5, 0] == await relayed(ledger, app, turns=3)
    assert AT_ONCE == app.at_once
    assert AT_ONCE + 5 == await ledger.count_deliveries(DeliveryQuery(state=DeliveryState.DELIVERED))


async def test_whatever_a_client_raises_is_tried_again_and_its_words_are_not_repeated(ledger: SqliteLedger) -> None:
    await has_events(ledger, 1)

    def stumble(_: Message) -> Attempt:
        raise LookupError("amqp://user:password@host")

    await relayed(ledger, Answers(stumble))

    [delivery] = (await ledger.deliveries(DeliveryQuery())).deliveries
    assert (DeliveryState.OPEN, 1, "builtins.LookupError") == (delivery.state, delivery.attempts, delivery.reason)


async def test_a_destination_that_cancels_something_of_its_own_is_tried_again_in_time(ledger: SqliteLedger) -> None:
    await has_events(ledger, 1)

    def stumble(_: Message) -> Attempt:
        raise asyncio.CancelledError

    await relayed(ledger, Answers(stumble), turns=3)

    [delivery] = (await ledger.deliveries(DeliveryQuery())).deliveries
    assert (DeliveryState.OPEN, 1) == (delivery.state, delivery.attempts)
    assert (delivery.next_at or 0) > NOW


@pytest.mark.parametrize("reason", ["\ud800\x00\x1b[31m" + "x" * 1_000, "\udcff", "\n\r"])
async def test_a_reason_that_no_database_takes_is_written_down_all_the_same(ledger: SqliteLedger, reason: str) -> None:
    await has_events(ledger, 2)
    answers = iter([TryAgain(reason=reason), GiveUp(reason=reason)])

    await relayed(ledger, Answers(lambda _: next(answers)))

    kept = [each.reason for each in (await ledger.deliveries(DeliveryQuery())).deliveries]
    assert all(each is not None and each.isprintable() and len(each) <= LONGEST_REASON for each in kept)
    assert {DeliveryState.OPEN, DeliveryState.DEAD} == {
        each.state for each in (await ledger.deliveries(DeliveryQuery())).deliveries
    }


def claimed(attempts: int = 1, *, destination: str = "app") -> ClaimedDelivery:
    return ClaimedDelivery(key=7, fence=3, destination=destination, attempts=attempts, event=an_event())


def test_a_client_is_tried_again_less_often_than_a_destination() -> None:
    tries = len(CLIENT_RETRY_AFTER) + 1

    assert settlement_of(claimed(tries), TryAgain(reason="no"), now=NOW).retry_at is not None
    assert settlement_of(claimed(tries, destination="@https://h:443"), TryAgain(reason="no"), now=NOW).retry_at is None


def test_a_failure_is_tried_again_by_the_schedule_and_later_if_it_asks() -> None:
    plain = settlement_of(claimed(), TryAgain(reason="HTTP 500"), now=NOW)
    asked = settlement_of(claimed(), TryAgain(reason="HTTP 429", after=timedelta(hours=2)), now=NOW)
    hardly = settlement_of(claimed(5), TryAgain(reason="HTTP 429", after=timedelta(seconds=1)), now=NOW)

    assert plain.retry_at is not None
    assert NOW + millis(RETRY_AFTER[0]) <= plain.retry_at
    assert (NOW + millis(timedelta(hours=2)), timedelta(hours=2)) == (asked.retry_at, asked.pause)
    assert hardly.retry_at is not None
    assert NOW + millis(RETRY_AFTER[4]) <= hardly.retry_at


def test_the_last_failure_is_not_tried_again_even_if_it_asks() -> None:
    last = settlement_of(claimed(len(RETRY_AFTER) + 1), TryAgain(reason="no", after=timedelta(hours=1)), now=NOW)

    assert (AttemptResult.FAILED, None) == (last.result, last.retry_at)


@pytest.mark.parametrize(
    ("attempt", "result"),
    [
        (Delivered(), AttemptResult.DELIVERED),
        (GiveUp(reason="too large"), AttemptResult.REFUSED),
        (GiveUp(reason="HTTP 410", is_gone=True), AttemptResult.GONE),
    ],
)
def test_each_end_has_its_result(attempt: Attempt, result: AttemptResult) -> None:
    settlement = settlement_of(claimed(), attempt, now=NOW)

    assert (7, 3, result, None) == (settlement.key, settlement.fence, settlement.result, settlement.retry_at)
