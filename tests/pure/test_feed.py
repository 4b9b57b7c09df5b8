"""The feed hands on every event once and in order, whoever comes, goes, lags behind, or chooses."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.feed import Feed, Limits, Wish
from receiver.ledger.errors import LedgerUnavailable, Overloaded
from receiver.ledger.reading import StoredEvent
from tests.patience import PATIENCE


class Log:
    """Committed events in memory, read as a ledger's are: a turn of the loop later, or more."""

    def __init__(self, count: int = 0, *, first: int = 1) -> None:
        self.events: list[StoredEvent] = []
        self.reads = 0
        self.fault: Exception | None = None
        self._first = first
        self.commit(count)

    def commit(self, count: int) -> None:
        for _ in range(count):
            position = self._first + len(self.events)
            name = f"t{position % 3}"
            event = StoredEvent(
                position=position, id=f"{name}.{position}", type="task.failed", time=0, task=None, external_task_id=name
            )
            self.events.append(event)

    async def events_after(self, position: int, *, limit: int) -> list[StoredEvent]:
        self.reads += 1
        found = [event for event in self.events if event.position > position][:limit]
        for _ in range(self.reads % 3):
            await asyncio.sleep(0)
        if self.fault is not None:
            raise self.fault
        return found

    async def newest_position(self) -> int:
        self.reads += 1
        newest = self.events[-1].position if self.events else 0
        await asyncio.sleep(0)
        if self.fault is not None:
            raise self.fault
        return newest


@given(seed=st.integers(0, 2**32), room=st.integers(1, 40), clients=st.integers(1, 6))
def test_every_listener_hears_all_it_wants_once_and_in_order(seed: int, room: int, clients: int) -> None:
    dice = random.Random(seed)
    wishes = [Wish(tasks=dice.choice([None, frozenset({"t1"}), frozenset({"t0", "t2"})])) for _ in range(clients)]
    log = Log(dice.randrange(200))
    total = len(log.events) + 60
    begun_at = [dice.randrange(total) for _ in wishes]

    async def scene() -> list[list[int]]:
        feed = Feed(log, Limits(room=room))
        listening = [
            asyncio.create_task(listen(feed, wish, dice, after=position, until=total))
            for wish, position in zip(wishes, begun_at, strict=True)
        ]
        await commit_until(total, log, feed, dice)
        async with asyncio.timeout(PATIENCE):
            while feed.listeners:
                feed.end()  # those whose last event was none that they want look again
                await asyncio.sleep(0)
            return await asyncio.gather(*listening)

    heard = asyncio.run(scene())

    assert [
        [event.position for event in log.events[position:] if wish.wants(event)]
        for wish, position in zip(wishes, begun_at, strict=True)
    ] == heard


async def listen(feed: Feed, wish: Wish, dice: random.Random, *, after: int, until: int) -> list[int]:
    """What is heard between two positions, over connections of any length."""
    heard: list[int] = []
    while after < until:
        async with feed.listening(wish, after=after) as listener:
            for _ in range(dice.randrange(1, 20)):
                heard += [event.position for event in await listener.take()]
                if listener.position >= until:
                    break
                if not listener.is_behind and dice.random() < 0.8:
                    await listener.bell.wait()
            after = listener.position
    return heard


async def commit_until(total: int, log: Log, feed: Feed, dice: random.Random) -> None:
    while len(log.events) < total:
        log.commit(min(dice.randrange(1, 9), total - len(log.events)))
        feed.wake()
        for _ in range(dice.randrange(12)):
            await asyncio.sleep(0)


async def test_from_now_on_is_what_is_committed_from_here() -> None:
    log = Log(1_000)
    feed = Feed(log)
    async with feed.listening(Wish(), after=None) as listener:
        before = listener.position
        log.commit(2)
        feed.wake()
        await listener.bell.wait()
        heard = [event.position for event in await listener.take()]
    await feed.aclose()

    assert (1_000, [1_001, 1_002]) == (before, heard)


async def test_trouble_of_the_ledger_is_everybodys_and_does_not_last() -> None:
    log = Log(3)
    feed = Feed(log)
    async with feed.listening(Wish(), after=0) as listener:
        assert 3 == len(await listener.take())
        log.fault = LedgerUnavailable("disk I/O error")
        log.commit(1)
        feed.wake()
        await listener.bell.wait()
        with pytest.raises(LedgerUnavailable):
            await listener.take()
    with pytest.raises(LedgerUnavailable):
        async with feed.listening(Wish(), after=3):
            pass
    log.fault = None
    async with feed.listening(Wish(), after=3) as listener:
        heard = [event.position for event in await listener.take()]

    assert ([4], 0) == (heard, feed.listeners)


async def test_more_listeners_than_there_is_room_for_are_turned_away() -> None:
    feed = Feed(Log(), Limits(listeners=1))
    async with feed.listening(Wish(), after=None):
        with pytest.raises(Overloaded):
            async with feed.listening(Wish(), after=None):
                pass
    async with feed.listening(Wish(), after=None):
        assert 1 == feed.listeners
