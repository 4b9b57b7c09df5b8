"""The event stream: nothing twice, nothing left out, whoever is slow, leaves, comes back, or is told to go."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from receiver.feed import Feed, Wish
from receiver.ledger.reading import StoredEvent
from receiver.outbox.message import message_of
from receiver.serving import DRAIN_SECONDS
from tests.flows.builders import House, Json, World, eventually, receiving
from tests.flows.lives import living
from tests.flows.streams import Hearing, Told, hearing, write_events
from tests.patience import PATIENCE, free_port, watching

LARGE = "x" * 3_900  # a reason, which each event carries


@pytest.fixture
async def house(world: World, tmp_path: Path) -> AsyncIterator[House]:
    async with receiving(tmp_path, world, "cometapi", "unsigned") as running:
        yield running


def limit(house: House, **limits: float) -> None:
    """Bounds that a test does not have to wait for."""
    house.runtime.feed.limits = replace(house.runtime.feed.limits, **limits)  # type: ignore[arg-type]


async def listed(house: House, **query: object) -> Json:
    page: Json = (await house.http.get("/v1/events", params={"limit": 500, **query})).json()
    return page


def positions(told: list[Told]) -> list[int]:
    return [event.id for event in told]


async def until_nobody_listens(house: House) -> None:
    async def is_quiet() -> bool:
        return house.runtime.feed.listeners == 0

    await eventually(is_quiet)


# --- what is said


async def test_a_stream_opens_with_a_comment_and_when_to_come_back(house: House) -> None:
    async with hearing(house) as heard:
        first = await heard.block()

    assert ": events after 0\nretry: 1000" == first
    assert (200, "text/event-stream", "no-store", "no") == (
        heard.status,
        heard.headers["content-type"],
        heard.headers["cache-control"],
        heard.headers["x-accel-buffering"],
    )
    assert "content-length" not in heard.headers
    assert "content-encoding" not in heard.headers


async def test_each_event_is_told_as_it_is_listed(house: House) -> None:
    async with hearing(house) as heard:
        await heard.block()
        await house.submit("cometapi", "a red fox", "fox")
        await house.at_rest("fox")
        told = await heard.events(3)

    assert [event.data for event in told] == (await listed(house))["events"]
    assert [(event.data["position"], event.data["type"]) for event in told] == [(each.id, each.type) for each in told]


async def test_as_cloudevents_it_is_told_as_destinations_are(house: House) -> None:
    await write_events(house, 1)
    async with hearing(house, "?after=0&as=cloudevents") as heard:
        [told] = await heard.events(1)
    [event] = await house.runtime.ledger.events_after(0, limit=1)
    page = await house.http.get("/v1/events")

    assert f"data: {message_of(event, source=house.runtime.source).body.decode()}" in heard.texts[-1]
    assert ("1.0", house.runtime.source, "e0") == (told.data["specversion"], told.data["source"], told.data["subject"])
    assert house.runtime.source == heard.headers["hookledger-source"] == page.headers["hookledger-source"]


async def test_the_source_stays_the_ledgers_over_restarts_and_is_no_others(world: World, tmp_path: Path) -> None:
    sources = []
    for folder in ("one", "one", "two"):
        (tmp_path / folder).mkdir(exist_ok=True)
        async with receiving(tmp_path / folder, world, "cometapi") as house:
            sources.append(house.runtime.source)

    assert sources[0].startswith("urn:uuid:")
    assert sources[0] == sources[1] != sources[2]


async def test_without_a_position_a_stream_begins_now(house: House) -> None:
    await write_events(house, 5, name="before")
    async with hearing(house) as heard:
        first = await heard.block()
        await write_events(house, 1, name="after")
        [told] = await heard.events(1)

    assert ": events after 5\nretry: 1000\nid: 5" == first
    assert (6, "after0") == (told.id, told.data["task"]["external_task_id"])


async def test_the_header_says_where_to_go_on_whatever_the_url_says(house: House) -> None:
    await write_events(house, 5)
    async with hearing(house, "?after=0", last_event_id=3) as by_header, hearing(house, "?after=1") as by_url:
        assert [4, 5] == positions(await by_header.events(2))
        assert [2, 3, 4, 5] == positions(await by_url.events(4))


async def test_a_silent_stream_says_now_and_then_that_it_is_there(house: House) -> None:
    limit(house, heartbeat=0.02)
    async with hearing(house) as heard:
        async with asyncio.timeout(PATIENCE):
            texts = [await heard.block() for _ in range(4)]
        await write_events(house, 1)
        [told] = await heard.events(1)

    assert [": still here"] * 3 == texts[1:]
    assert 1 == told.id


async def test_a_heartbeat_says_how_far_the_stream_has_come_past_what_was_not_wanted(house: House) -> None:
    limit(house, heartbeat=0.05)
    async with hearing(house, "?type=task.succeeded") as heard:
        await heard.block()
        await write_events(house, 7)
        async with asyncio.timeout(PATIENCE):
            while heard.last_id != 7:
                await heard.block()

    assert [] == [text for text in heard.texts if "data:" in text]


async def test_head_says_what_get_would_and_ends(house: House) -> None:
    answer = await house.http.head("/v1/events", headers={"Accept": "text/event-stream"})

    assert (200, "text/event-stream", b"") == (answer.status_code, answer.headers["content-type"], answer.content)
    assert 0 == house.runtime.feed.listeners


async def test_who_accepts_anything_gets_json(house: House) -> None:
    answers = [
        await house.http.get("/v1/events", headers={"Accept": accept}) for accept in ("*/*", "application/json, text/*")
    ]

    assert ["application/json"] * 2 == [answer.headers["content-type"] for answer in answers]


# --- filters


async def test_types_and_tasks_choose_what_is_told(house: House) -> None:
    await house.submit("cometapi", "a red fox", "fox")
    await house.submit("cometapi", "a red fox", "hare")
    for name in ("fox", "hare"):
        await house.at_rest(name)
    await write_events(house, 1, name="refused")
    expected = {
        "type=task.succeeded": [("task.succeeded", "fox"), ("task.succeeded", "hare")],
        "type=task.succeeded,task.refused&task=fox&task=refused0": [
            ("task.succeeded", "fox"),
            ("task.refused", "refused0"),
        ],
        "type=task.submitted&type=task.processing&task=hare": [("task.submitted", "hare"), ("task.processing", "hare")],
        "type=task.*&task=refused0,nobody": [("task.refused", "refused0")],
    }
    for query, wanted in expected.items():
        async with hearing(house, f"?after=0&{query}") as heard:
            told = await heard.events(len(wanted))
        page = (await house.http.get(f"/v1/events?{query}")).json()

        assert sorted(wanted) == sorted((event.type, event.data["task"]["external_task_id"]) for event in told)
        assert [event.data for event in told] == page["events"]


async def test_the_next_of_a_listing_moves_past_what_was_not_wanted(house: House) -> None:
    await write_events(house, 600, name="many")
    await write_events(house, 3, name="few")
    first = await listed(house, task="few0,few1,few2", limit=2)
    rest = await listed(house, task="few0,few1,few2", after=first["next"])
    none = await listed(house, task="nobody")

    assert [601, 602] == [event["position"] for event in first["events"]]
    assert ([603], 603) == ([event["position"] for event in rest["events"]], rest["next"])
    assert ([], 603) == (none["events"], none["next"])


@pytest.mark.parametrize(
    ("query", "headers", "field"),
    [
        ("?type=task.done", {}, "type"),
        ("?type=", {"last-event-id": "x"}, "Last-Event-ID"),
        ("?after=-1", {}, "after"),
        ("?after=1e400", {}, "after"),
        ("?as=xml", {}, "as"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_name(
    house: House, query: str, headers: dict[str, str], field: str
) -> None:
    answer = await house.http.get(f"/v1/events{query}", headers={"Accept": "text/event-stream", **headers})

    assert (422, [field]) == (answer.status_code, [error["field"] for error in answer.json()["errors"]])


async def test_a_listing_refuses_what_only_a_stream_has_and_types_that_are_none(house: House) -> None:
    answers = [await house.http.get(f"/v1/events?{query}") for query in ("as=cloudevents", "type=nothing")]

    assert [(422, "as"), (422, "type")] == [(each.status_code, each.json()["errors"][0]["field"]) for each in answers]


async def test_a_stream_is_for_those_who_may_use_the_rest(world: World, tmp_path: Path) -> None:
    async with (
        receiving(tmp_path, world, "cometapi", api={"keys": ["k" * 32]}) as house,
        hearing(house) as stranger,
        hearing(house, authorization=f"Bearer {'k' * 32}") as holder,
    ):
        first = await holder.block()

    assert (401, 200) == (stranger.status, holder.status)
    assert first is not None


# --- nothing twice, nothing left out


@pytest.mark.parametrize("seed", range(4))
async def test_a_client_that_is_cut_anywhere_resumes_without_gap_or_double(house: House, seed: int) -> None:
    dice = random.Random(seed)
    house.runtime.feed.limits = replace(house.runtime.feed.limits, room=16)  # so that pages of the ledger are read too
    total = 240

    async def commit() -> None:
        written = 0
        while written < total:
            burst = min(dice.choice([1, 1, 2, 5, 40]), total - written)
            await write_events(house, burst, name=f"burst{written}-")
            written += burst

    committing = asyncio.create_task(commit())
    told: list[int] = []
    async with asyncio.timeout(PATIENCE):
        while len(told) < total:
            async with hearing(house, "?after=0", last_event_id=told[-1] if told else 0) as heard:
                for _ in range(dice.choice([0, 1, 3, 30])):
                    if len(told) < total and (event := await heard.event()) is not None:
                        told.append(event.id)
    await committing

    assert list(range(1, total + 1)) == told


async def test_all_who_listen_while_many_write_hear_the_same(house: House) -> None:
    async def hear_from(after: int) -> list[int]:
        async with hearing(house, f"?after={after}") as heard:
            return positions(await heard.events(200 - after))

    await write_events(house, 100, name="before-")
    listening = [asyncio.create_task(hear_from(after)) for after in (0, 0, 10, 100)]
    await asyncio.gather(*(write_events(house, 25, name=f"writer{number}-") for number in range(4)))

    assert [list(range(after + 1, 201)) for after in (0, 0, 10, 100)] == await asyncio.gather(*listening)


async def test_a_position_that_no_event_has_yet_is_refused(house: House) -> None:
    """A ledger that was set back, as by a backup: who resumes would miss events, and never know."""
    await write_events(house, 3)
    headers = {"accept": "text/event-stream"}
    answers = [await house.http.get("/v1/events", params={"after": after}, headers=headers) for after in (4, 10**17)]

    assert [(409, "position_ahead")] * 2 == [(each.status_code, each.json()["code"]) for each in answers]


class Counting:
    """A ledger whose reading of events is counted."""

    def __init__(self, house: House) -> None:
        self.reads = 0
        self._ledger = house.runtime.ledger

    async def events_after(self, position: int, *, limit: int) -> list[StoredEvent]:
        self.reads += 1
        return await self._ledger.events_after(position, limit=limit)

    async def newest_position(self) -> int:
        self.reads += 1
        return await self._ledger.newest_position()


def counted(house: House) -> Counting:
    """Count from now on: whoever streams shares a feed that reads here."""
    counting = Counting(house)
    house.runtime.feed = Feed(counting)
    return counting


async def test_a_thousand_who_listen_cost_one_read(house: House) -> None:
    counting = counted(house)
    feed = house.runtime.feed

    async def hear(ready: asyncio.Semaphore) -> list[int]:
        async with feed.listening(Wish(), after=None) as listener:
            ready.release()
            await listener.bell.wait()
            return [event.position for event in await listener.take()]

    ready = asyncio.Semaphore(0)
    listening = [asyncio.create_task(hear(ready)) for _ in range(1_000)]
    for _ in listening:
        await ready.acquire()
    counting.reads = 0
    await write_events(house, 1)
    told = await asyncio.gather(*listening)

    assert [[1]] * 1_000 == told
    assert counting.reads <= 2  # the event, and that nothing came meanwhile


async def test_many_clients_cost_as_many_reads_as_one(house: House) -> None:
    counting = counted(house)
    reads = []
    for clients in (1, 100):
        async with asyncio.TaskGroup() as group:
            streams = [hearing(house) for _ in range(clients)]
            heard: list[Hearing] = [await stream.__aenter__() for stream in streams]
            for each in heard:
                await each.block()
            counting.reads = 0
            await write_events(house, 1, name=f"of{clients}-")
            told = [group.create_task(each.events(1)) for each in heard]
        reads.append(counting.reads)
        for stream in streams:
            await stream.__aexit__(None, None, None)
        await until_nobody_listens(house)
        assert 1 == len({event.id for each in told for event in each.result()})

    assert [2, 2] == reads


async def test_who_does_not_want_an_event_is_not_woken_by_it(house: House) -> None:
    feed = house.runtime.feed
    async with (
        feed.listening(Wish(tasks=frozenset({"e1"})), after=None) as one,
        feed.listening(Wish(), after=None) as all_,
    ):
        await write_events(house, 1)
        async with asyncio.timeout(PATIENCE):
            await all_.bell.wait()

        assert not one.bell.is_set()
        assert 1 == one.position


async def test_while_nobody_listens_nothing_is_read(house: House) -> None:
    counting = counted(house)
    await write_events(house, 3)

    assert 0 == counting.reads


# --- clients that are slow, gone, too many


async def test_a_client_that_does_not_take_its_bytes_is_dropped_and_can_resume(house: House) -> None:
    limit(house, patience=0.2)
    await write_events(house, 1_500, reason=LARGE)
    with structlog.testing.capture_logs() as lines:
        async with hearing(house, "?after=0", receive_buffer=4096) as slow, hearing(house) as other:
            [first] = await slow.events(1)
            await until_left(lines, 1)
            await other.block()
            limit(house, patience=PATIENCE)  # with those who do take theirs
            told = await slow.to_the_end()
            await write_events(house, 1, name="new")
            [new] = await other.events(1)
        async with hearing(house, last_event_id=slow.last_id) as again:
            rest = positions(await again.events(1_501 - (slow.last_id or 0)))
        await until_left(lines, 3)

    assert 1_501 == new.id
    assert len(told) < 1_499
    assert list(range(1, 1_502)) == [first.id, *positions(told), *rest]
    assert ["too_slow", "client_left", "client_left"] == [line["reason"] for line in lines if ended(line)]
    assert {"info"} == {line["log_level"] for line in lines}


async def test_a_client_that_leaves_is_forgotten_without_a_fuss(house: House, caplog: pytest.LogCaptureFixture) -> None:
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            async with hearing(house) as heard:
                await heard.block()
        await until_left(lines, 3)
    await until_nobody_listens(house)

    assert ["client_left"] * 3 == [line["reason"] for line in lines if ended(line)]
    assert [] == [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_more_clients_than_are_served_are_asked_to_come_back(house: House) -> None:
    limit(house, listeners=2)
    async with hearing(house) as first, hearing(house) as second:
        await first.block(), await second.block()
        refused = await house.http.get("/v1/events", headers={"Accept": "text/event-stream"})
        listing = await house.http.get("/v1/events")
    await until_nobody_listens(house)
    async with hearing(house) as third:
        served = third.status

    assert (503, "overloaded", "2") == (
        refused.status_code,
        refused.json()["code"],
        refused.headers["retry-after"],
    )
    assert (200, 200) == (listing.status_code, served)


# --- the end


async def test_a_stop_ends_every_stream_within_a_second_full_or_not(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with asyncio.timeout(2 * PATIENCE), AsyncExitStack() as clients:
        with structlog.testing.capture_logs() as lines:
            async with receiving(tmp_path, world, "cometapi") as house:
                await write_events(house, 1_500, reason=LARGE)
                idle, full, unread = [
                    await clients.enter_async_context(hearing(house, query, receive_buffer=4096))
                    for query in ("", "?after=0", "?after=1490")  # the last is little, but nobody takes it
                ]
                await idle.block(), await full.events(1), await unread.block()
                await until_stuck(house)
                watch = await clients.enter_async_context(watching())
                house.runtime.begin_stopping()
            took = watch.seconds
        farewell = await idle.to_the_end()

    assert ([], ["stopping"] * 3) == (farewell, [line["reason"] for line in lines if ended(line)])
    assert took < 1.0
    assert [] == [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_signal_ends_the_streams_of_a_process_and_no_time_out_does(world: World, tmp_path: Path) -> None:
    port = free_port()
    async with receiving(tmp_path, world, "cometapi", port=port) as house:
        await write_events(house, 1_500, reason=LARGE)
    async with (
        living(tmp_path, world, "cometapi", port=port) as life,
        hearing(life) as idle,
        hearing(life, "?after=0", receive_buffer=4096) as full,
    ):
        await idle.block(), await full.events(1)
        for _ in range(50):  # turns in which the receiver fills what lies between it and a client that reads no more
            await life.http.get("/v1/tasks")
        async with watching() as watch, asyncio.timeout(PATIENCE):
            life.process.terminate()
            farewell = await idle.to_the_end()
            exit_code = await life.process.wait()
    told = [json.loads(line) for line in life.log.read_text().splitlines()]

    assert ([], 0) == (farewell, exit_code)
    assert watch.seconds < DRAIN_SECONDS  # after which it would go whoever listens, and say so
    assert ["stopping"] * 2 == [line["reason"] for line in told if ended(line)]
    assert {"info"} == {line["level"] for line in told}


async def test_a_receiver_that_is_stopping_begins_no_stream(house: House) -> None:
    house.runtime.begin_stopping()
    answer = await house.http.get("/v1/events", headers={"Accept": "text/event-stream"})

    assert (503, "shutting_down") == (answer.status_code, answer.json()["code"])


async def until_stuck(house: House) -> None:
    """Until a stream has come no further for a while, although there is more."""
    seen: list[list[int]] = []

    async def is_stuck() -> bool:
        seen.append([each.position for each in house.runtime.feed._listeners if each.is_behind])
        return len(seen) > 20 and bool(seen[-1]) and seen[-20:] == [seen[-1]] * 20

    await eventually(is_stuck)


def ended(line: structlog.typing.EventDict | Json) -> bool:
    return line["event"] == "stream.ended"


async def until_left(lines: list[structlog.typing.EventDict], count: int) -> None:
    async def has() -> bool:
        return sum(map(ended, lines)) >= count

    await eventually(has)
