"""Work that goes on whoever hangs up, and how it ends."""

import asyncio
from datetime import timedelta

import pytest

from submitter.inflight import InFlight, wait_for_one
from tests.patience import PATIENCE, watching

SOON = timedelta(milliseconds=20)


async def test_cancelling_the_caller_leaves_the_work_running() -> None:
    in_flight, done = InFlight(), asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0.01)
        done.set()

    caller = asyncio.create_task(in_flight.run(work()))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await in_flight.drain()

    assert done.is_set()
    assert 0 == len(in_flight)


async def test_at_the_end_what_is_left_is_cancelled_and_may_say_so() -> None:
    in_flight, said = InFlight(), []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            said.append("cut short")

    in_flight.begin(work())
    await in_flight.end(within=SOON)

    assert ["cut short"] == said


async def test_what_will_not_be_cancelled_holds_up_no_end() -> None:
    in_flight, let_go = InFlight(), asyncio.Event()

    async def stubborn() -> None:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    task = in_flight.begin(stubborn())
    await asyncio.wait_for(in_flight.end(within=SOON), PATIENCE)

    assert not task.done()
    let_go.set()
    await task


async def test_one_of_many_that_is_done_is_enough() -> None:
    in_flight, other = InFlight(), InFlight()
    slow = in_flight.begin(asyncio.sleep(60))
    other.begin(asyncio.sleep(0))

    async with watching() as watch:
        await wait_for_one(in_flight, other, within=timedelta(seconds=30))

    assert watch.seconds < 2
    assert (1, 0) == (len(in_flight), len(other))
    slow.cancel()
    await in_flight.drain()


async def test_what_begins_meanwhile_is_not_waited_for() -> None:
    in_flight, first, later = InFlight(), asyncio.Event(), asyncio.Event()
    in_flight.begin(first.wait())
    waiting = asyncio.create_task(in_flight.settle())
    await asyncio.sleep(0)

    in_flight.begin(later.wait())
    first.set()
    await asyncio.wait_for(waiting, PATIENCE)

    assert 1 == len(in_flight)
    later.set()
    await in_flight.drain()
