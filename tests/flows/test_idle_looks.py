"""What a poller writes while the tasks that are due wait for company, or for another minute's budget: nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from receiver.counters import Counters
from receiver.ingest import Ingest, LedgerJudge
from receiver.ledger.sqlite import SqliteLedger
from receiver.poller import Poller
from receiver.task import Rules
from receiver.worker import Worker
from submitter.inflight import InFlight
from tests.flows.test_list_aim import PLAN, SUBMITTING, Gateway, orders, submit
from tests.ledger.builders import NOW, SECOND


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of the worker's lane: whether anything was due, what it asked, and what it committed."""

    was_due: bool
    requests: int
    commits: int


async def turns(folder: Path, *, budget: int) -> Sequence[Turn]:
    """All callbacks lost, five hundred tasks in flight: what the poller's lane does from the submissions to the end."""
    made = orders(1)
    gateway = Gateway(made)
    ledger = await SqliteLedger.open(folder / "ledger.db", now=NOW)
    judge = LedgerJudge(rules={"kling": Rules()}, plan=PLAN)
    poller = Poller(
        ledger,
        Ingest(ledger, judge),
        gateway,  # type: ignore[arg-type]
        budget_per_minute=budget,
        clock=gateway.clock,
        counters=Counters(),
        patience=timedelta(seconds=6),
    )
    worker = Worker([poller], clock=gateway.clock, sending=InFlight(), telling=InFlight())
    await submit(ledger, judge, gateway, made)
    taken: list[Turn] = []
    gateway.now = NOW + SUBMITTING
    while gateway.now < NOW + SUBMITTING + 150 * SECOND:
        requests, commits = gateway.requests, ledger.writer_state.batches
        first = await ledger.next_query_at("kling")
        pause = await worker.turn(poller)
        was_due = first is not None and first <= gateway.now
        taken.append(Turn(was_due, gateway.requests - requests, ledger.writer_state.batches - commits))
        gateway.now += max(1, int(pause * 1000))
    await ledger.aclose()
    return taken


@pytest.mark.parametrize("budget", [60, 2])
async def test_a_look_that_asks_nothing_commits_nothing(tmp_path: Path, budget: int) -> None:
    taken = await turns(tmp_path, budget=budget)

    idle = [each for each in taken if not each.requests]
    assert [] == [each for each in idle if each.commits]
    assert 5 <= sum(each.was_due for each in idle)
    assert 2 <= sum(each.requests for each in taken)
