"""All callbacks lost, five hundred tasks in flight: what the list asks and how late it knows, in virtual time."""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from receiver.counters import Counters
from receiver.ingest import Ingest, LedgerJudge
from receiver.ledger.judging import Heard
from receiver.ledger.openings import Opening
from receiver.ledger.sqlite import SqliteLedger
from receiver.ledger.sqlite.reader import SqliteReader
from receiver.poller import Poller
from receiver.savings import Savings
from receiver.schedule import QueryPlan
from receiver.task import Rules, Source
from submitter.client import Answer
from submitter.moments import Moment
from submitter.providers import provider_for
from submitter.providers.base import Trust
from submitter.settings import ProviderSettings
from tests.ledger.builders import HOUR, NOW, SECOND

IN_FLIGHT, MEAN_SECONDS, SIGMA = 500, 32.0, 0.3
SUBMITTING = 90 * SECOND
STEP = SECOND
PLAN = QueryPlan(first_after=timedelta(seconds=20), interval=timedelta(seconds=20))


@dataclass(frozen=True, slots=True)
class Order:
    """A task at the provider."""

    number: int
    created_at: Moment
    finished_at: Moment

    def shown(self, now: Moment) -> dict[str, Any]:
        is_done = now >= self.finished_at
        said = {
            "task_id": f"{10**17 + self.number}",
            "task_status": "succeed" if is_done else "processing",
            "task_info": {"external_task_id": f"t_{self.number}"},
            "created_at": self.created_at,
            "updated_at": self.finished_at if is_done else self.created_at,
        }
        images = [{"index": 0, "url": f"https://cdn.example.com/{self.number}.png"}]
        return said | ({"task_result": {"images": images}} if is_done else {})


class Gateway:
    """Kling in virtual time, behind the interface of its client: the same dialect reads what it answers."""

    def __init__(self, orders: Sequence[Order]) -> None:
        self.provider = provider_for("kling", ProviderSettings(kind="kling", base_url="http://127.0.0.1:9"))
        self.now = NOW
        self.requests = 0
        self._orders = orders

    def clock(self) -> Moment:
        return self.now

    def order_of(self, task_id: str) -> Order:
        return self._orders[int(task_id) - 10**17]

    async def query(self, *, endpoint: str, provider_task_id: str, external_task_id: str) -> Answer:
        self.requests += 1
        return self.answer(self.order_of(provider_task_id).shown(self.now))

    async def list_page(self, *, endpoint: str, page: int, page_size: int) -> Answer:
        self.requests += 1
        newest = [each for each in reversed(self._orders) if each.created_at <= self.now]
        return self.answer([each.shown(self.now) for each in newest[(page - 1) * page_size : page * page_size]])

    def answer(self, data: object) -> Answer:
        return Answer(http_status=200, body=json.dumps({"code": 0, "data": data}).encode())


def orders(seed: int) -> list[Order]:
    """Arrivals as they come, and log-normal times."""
    dice = random.Random(seed)
    made: list[Order] = []
    at = float(NOW)
    while at < NOW + SUBMITTING:
        at += dice.expovariate(IN_FLIGHT / MEAN_SECONDS) * 1000
        seconds = dice.lognormvariate(math.log(MEAN_SECONDS) - SIGMA**2 / 2, SIGMA)
        made.append(Order(len(made), int(at), int(at + seconds * 1000)))
    return made


async def submit(ledger: SqliteLedger, judge: LedgerJudge, gateway: Gateway, new: Sequence[Order]) -> None:
    """Written down, sent, and answered."""
    openings = [
        Opening(
            external_task_id=f"t_{each.number}",
            provider="kling",
            endpoint="omni-image",
            request="{}",
            request_digest=b"",
            images_asked=1,
            slots=1,
            slot_limit=None,
            now=each.created_at,
            deadline_at=each.created_at + 24 * HOUR,
            first_query_at=None,
        )
        for each in new
    ]
    await asyncio.gather(*(ledger.open_task(each) for each in openings))
    answers = [
        Heard(
            provider="kling",
            external_task_id=f"t_{each.number}",
            report=gateway.provider.read_report(json.dumps(each.shown(each.created_at)).encode()),
            source=Source.ANSWER,
            trust=Trust.QUERIED,
            now=each.created_at,
        )
        for each in new
    ]
    await ledger.apply(answers, judge)


@pytest.mark.parametrize("seed", [1])
async def test_the_list_asks_a_twentieth_of_a_request_a_task_and_knows_no_later_than_a_loop(
    tmp_path: Path, seed: int
) -> None:
    made = orders(seed)
    gateway = Gateway(made)
    ledger = await SqliteLedger.open(tmp_path / "ledger.db", now=NOW)
    judge = LedgerJudge(rules={"kling": Rules()}, plan=PLAN)
    poller = Poller(
        ledger,
        Ingest(ledger, judge),
        gateway,  # type: ignore[arg-type]
        budget_per_minute=60,
        clock=gateway.clock,
        counters=Counters(),
    )
    waiting = list(reversed(made))
    while gateway.now < NOW + SUBMITTING + 150 * SECOND:
        new = []
        while waiting and waiting[-1].created_at <= gateway.now:
            new.append(waiting.pop())
        await submit(ledger, judge, gateway, new)
        while (await poller.run_once(gateway.now))["asked"]:
            pass
        gateway.now += STEP
    await ledger.aclose()
    savings, requests = await told(tmp_path / "ledger.db")
    [loop] = [each for each in savings.loops if each.every == timedelta(seconds=20)]
    late, late_by_loop = savings.delays["query"].quantile(0.95), loop.delays.quantile(0.95)

    assert len(made) == savings.settled == savings.delays["query"].count
    assert gateway.requests == requests
    assert requests / len(made) <= 0.05
    assert late is not None
    assert late_by_loop is not None
    assert late <= late_by_loop


async def told(path: Path) -> tuple[Savings, int]:
    """What the report would be made of."""
    reader = await SqliteReader.open(path)
    savings = Savings()
    lives, _ = await reader.settled_lives(0, created_since=0, limit=100_000)
    for life in lives:
        savings.add(life)
    requests = sum(each.requests for each in await reader.requests_since(0))
    await reader.aclose()
    return savings, requests
