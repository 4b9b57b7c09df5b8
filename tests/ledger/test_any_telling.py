"""Whatever news comes and whatever becomes of the attempts: order holds for each task, and nothing is forgotten."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from receiver.eventtype import FINAL, EventType, types_matching
from receiver.ledger.deliveries import (
    AttemptResult,
    ClaimedDelivery,
    Delivery,
    DeliveryQuery,
    DeliveryState,
    Places,
    Settlement,
    Subscription,
)
from receiver.ledger.openings import Client
from receiver.ledger.sqlite import SqliteLedger
from submitter.moments import Moment
from submitter.report import ReportedStatus
from tests.ledger.builders import (
    FAILED,
    JUDGE,
    LEASE,
    MINUTE,
    NOW,
    PROCESSING,
    SUBMITTED,
    SUCCEED,
    image,
    opening,
    queried,
)

APPS = ("app", "audit")
CLIENT = "@https://app.example.com:443"
TASKS = ("t_one", "t_two")

News: TypeAlias = tuple[str, ReportedStatus]
Claim: TypeAlias = tuple[str, int]  # of whom, how many
Result: TypeAlias = tuple[int, AttemptResult]  # of which claim that was ever made, late ones included
Step: TypeAlias = News | Claim | Result | str

news = st.tuples(st.sampled_from(TASKS), st.sampled_from((SUBMITTED, PROCESSING, SUCCEED, FAILED)))
claims = st.tuples(st.sampled_from((*APPS, CLIENT)), st.integers(1, 4))
results = st.tuples(st.integers(0, 20), st.sampled_from(AttemptResult))
steps = st.one_of(news, news, claims, claims, results, results, st.just("restart"), st.just("later"))


class World:
    """A ledger, its destinations, and everything that was ever claimed of it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.ledger: SqliteLedger
        self.now: Moment = NOW
        self.claimed: list[ClaimedDelivery] = []
        self.delivered: list[ClaimedDelivery] = []

    async def open(self) -> None:
        self.ledger = await SqliteLedger.open(self._path, now=self.now)
        await self.ledger.subscribe(
            [Subscription(destination=app, types=types_matching(["task.*"])) for app in APPS], now=self.now
        )

    async def take(self, step: Step) -> None:
        match step:
            case "restart":
                await self.ledger.aclose()
                await self.open()
            case "later":
                self.now += 10 * MINUTE
            case (str() as task, ReportedStatus() as status):
                images = [image()] if status == SUCCEED else []
                await self.ledger.apply([queried(status, *images, task=task, now=self.now)], JUDGE)
            case (str() as app, int() as limit):
                claimed = await self.claim(app, limit)
                self.claimed += claimed
                assert len(claimed) == len({(each.destination, each.event.external_task_id) for each in claimed})
            case (int() as which, AttemptResult() as result) if self.claimed:
                await self.settle(self.claimed[which % len(self.claimed)], result)

    async def claim(self, name: str, limit: int) -> list[ClaimedDelivery]:
        if name == CLIENT:
            places = Places(in_all=limit, of_tenant=limit, of_origin=limit)
            return await self.ledger.claim_client_deliveries(now=self.now, lease=LEASE, places=places)
        return await self.ledger.claim_deliveries(name, now=self.now, lease=LEASE, limit=limit)

    async def settle(self, claimed: ClaimedDelivery, result: AttemptResult) -> None:
        settlement = Settlement(
            key=claimed.key,
            fence=claimed.fence,
            result=result,
            now=self.now,
            reason=str(result),
            retry_at=self.now + MINUTE if result is AttemptResult.FAILED else None,
        )
        settled = await self.ledger.settle_deliveries([settlement])
        if settled.counted == [True] and result is AttemptResult.DELIVERED:
            self.delivered.append(claimed)

    async def deliver_the_rest(self) -> None:
        """Everybody is well again: each destination is probed, and takes what is left."""
        for app in APPS:  # a destination that was disabled gets another chance by having moved
            await self.ledger.subscribe(
                [Subscription(destination=each, types=types_matching(["task.*"]), target=b"moved") for each in APPS],
                now=self.now,
            )
            while await self.ledger.next_delivery_at(app) is not None:
                self.now += 10 * MINUTE
                for claimed in await self.claim(app, 16):
                    await self.settle(claimed, AttemptResult.DELIVERED)
        while await self.ledger.next_client_delivery_at() is not None:
            self.now += 10 * MINUTE
            for claimed in await self.claim(CLIENT, 16):
                await self.settle(claimed, AttemptResult.DELIVERED)


async def lived(taken: Sequence[Step]) -> tuple[list[ClaimedDelivery], list[Delivery], list[str]]:
    """What was delivered in its order, what the ledger says of it, and of which types the events of tasks were."""
    with tempfile.TemporaryDirectory(prefix="hookledger-") as folder:
        world = World(Path(folder) / "ledger.db")
        await world.open()
        for task in TASKS:
            client = Client(callback_url="https://app.example.com/hook")
            await world.ledger.open_task(opening(task, client=client))
        try:
            for step in taken:
                await world.take(step)
            await world.deliver_the_rest()
            page = await world.ledger.deliveries(DeliveryQuery(limit=500))
            events = await world.ledger.events_after(0, limit=500)
            return world.delivered, list(page.deliveries), [each.type for each in events if each.task is not None]
        finally:
            await world.ledger.aclose()


@given(st.lists(steps, min_size=1, max_size=30))
@example(
    [("t_one", SUBMITTED), ("app", 1), "later", ("app", 1), (0, AttemptResult.DELIVERED), (1, AttemptResult.FAILED)]
)
@example([("t_one", SUBMITTED), (CLIENT, 1), (0, AttemptResult.GONE), (CLIENT, 1), ("t_one", SUCCEED)])
@example([("t_one", SUBMITTED), ("app", 1), (0, AttemptResult.GONE), ("t_one", SUCCEED)])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
def test_any_telling_keeps_the_order_and_forgets_nothing(taken: list[Step]) -> None:
    delivered, listed, events = asyncio.run(lived(taken))

    for app in (*APPS, CLIENT):
        for task in TASKS:
            told = [
                each.event.position
                for each in delivered
                if (each.destination, each.event.external_task_id) == (app, task)
            ]
            assert told == sorted(set(told))
    of_client = [type_ for type_ in events if type_ != EventType.CONFLICT]
    assert len(APPS) * len(events) + len(of_client) == len(listed)
    assert set() == {each.state for each in listed} & {DeliveryState.OPEN}
    for each in listed:
        assert (each.state is DeliveryState.DELIVERED) == (each.key in {claimed.key for claimed in delivered})
        if each.state is DeliveryState.SUPERSEDED:
            assert is_followed_by_a_final(each, listed)


def is_followed_by_a_final(superseded: Delivery, listed: Sequence[Delivery]) -> bool:
    return any(
        (each.destination, each.external_task_id) == (superseded.destination, superseded.external_task_id)
        and each.key > superseded.key
        and each.type in FINAL
        for each in listed
    )
