"""Waiting for tasks in Python: over HTTP and in process, one and many, woken by the commit, never past a deadline."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from receiver.feed import Feed
from receiver.ledger.reading import StoredEvent
from receiver.task import Record
from receiver.waiting import Waiting
from receiver.watch import LedgerWatch
from submitter import HttpJournal, HttpWatch, NotAtRest, OmniImageRequest, ProviderSettings, Submitter, WatchError
from submitter.shown import ShownEvent
from tests.flows.builders import NO_TLS, House, World, eventually, receiving
from tests.flows.lives import gate
from tests.flows.streams import write_events
from tests.patience import PATIENCE, free_port

SHORT = timedelta(seconds=0.1)
BRIEF = timedelta(seconds=0.3)
LONG = timedelta(seconds=PATIENCE)
ROADS = ("http", "in process")


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as entered:
        yield entered


@pytest.fixture
async def house(world: World, tmp_path: Path) -> AsyncIterator[House]:
    async with receiving(tmp_path, world, "cometapi") as running:
        yield running
        running.runtime.begin_stopping()  # lets go of answers that are held for those who left


async def submitter_at(
    stack: AsyncExitStack, world: World, url: str, *, connections: int = 20, patience: timedelta = LONG
) -> Submitter:
    """A submitter elsewhere, which writes and looks at this address."""
    limits = httpx.Limits(max_connections=connections)
    http = await stack.enter_async_context(
        httpx.AsyncClient(verify=NO_TLS, trust_env=False, timeout=PATIENCE, limits=limits)
    )
    accounts = {"cometapi": ProviderSettings.model_validate(world.account("cometapi"))}
    watch = HttpWatch(url, http=http, patience=patience)
    return await stack.enter_async_context(Submitter(accounts, journal=HttpJournal(url, http=http), watch=watch))


@pytest.fixture(params=ROADS)
async def submitter(request: pytest.FixtureRequest, house: House, world: World, stack: AsyncExitStack) -> Submitter:
    """By either road: elsewhere, and that of the receiver itself."""
    return house.runtime.submitter if request.param == "in process" else await submitter_at(stack, world, house.url)


# --- one task


@pytest.mark.parametrize(
    ("prompt", "state", "settled_by"),
    [("a red fox", "succeeded", "callback"), ("a red fox [[fail]]", "failed", "callback")],
)
async def test_a_task_is_waited_for_from_its_submission_to_its_rest(
    submitter: Submitter, prompt: str, state: str, settled_by: str
) -> None:
    submitted = await submitter.submit("cometapi", OmniImageRequest(prompt=prompt))
    task = await submitter.wait(submitted, deadline=LONG)

    assert (submitted.external_task_id, submitted.task_id) == (task.external_task_id, task.task_id)
    assert ("cometapi", "omni-image", state, settled_by, "token") == (
        task.provider,
        task.endpoint,
        task.state,
        task.settled_by,
        task.trust,
    )
    assert (state == "succeeded", True) == (task.has_succeeded, task.is_at_rest)
    assert task.fields["images"] == [
        {"index": each.index, "url": each.url, "watermark_url": each.watermark_url, "archived": each.archived}
        for each in task.images
    ]


async def test_refused_and_expired_are_rest_too(submitter: Submitter, house: House) -> None:
    await write_events(house, 1, name="refused")
    given_up = await submitter.submit("cometapi", OmniImageRequest(prompt="a red fox [[drop_all]]"))
    waiting = asyncio.create_task(submitter.wait(given_up, deadline=LONG))
    await house.runtime.ledger.abandon(given_up.external_task_id, now=house.runtime.clock())

    assert "refused" == (await submitter.wait("refused0", deadline=LONG)).state
    assert "expired" == (await waiting).state


async def test_a_deadline_ends_the_waiting_and_names_task_and_state(submitter: Submitter) -> None:
    await submitter.submit("cometapi", OmniImageRequest(prompt="a red fox [[drop_all]]"), external_task_id="slow")
    passed = await past_the_deadline(lambda: submitter.wait("slow", deadline=SHORT))

    assert isinstance(passed, TimeoutError)
    assert "not at rest after 0.1 s: slow (submitted)" == str(passed)
    assert {"slow": "submitted"} == passed.states


async def past_the_deadline(wait: Callable[[], Awaitable[object]]) -> NotAtRest:
    """What this waiting raises in the end: again, where a busy machine did not get to looking in so short a time."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with pytest.raises(NotAtRest) as passed:
                await wait()
            if "unknown" not in str(passed.value):
                return passed.value


async def test_a_deadline_or_a_position_that_is_none_is_a_mistake(submitter: Submitter) -> None:
    none = timedelta(0)
    for waiting in (
        submitter.wait("slow", deadline=none),
        submitter.wait_all(["slow"], deadline=none),
        submitter.wait_any(["slow"], deadline=none),
        anext(submitter.events(deadline=none)),
        anext(submitter.events(after=-5)),
    ):
        with pytest.raises(ValueError, match=r"give it some time|a position is 0"):
            await waiting


async def test_a_task_that_nobody_submitted_is_not_waited_for(submitter: Submitter) -> None:
    for waiting in (submitter.wait("nobody"), submitter.wait_all(["nobody"]), submitter.wait_any(["nobody"])):
        with pytest.raises(WatchError) as unknown:
            await waiting

        assert "not_found" == unknown.value.code


class Counting:
    """A ledger whose readings are counted."""

    def __init__(self, house: House) -> None:
        self.reads = 0
        self._ledger = house.runtime.ledger

    async def record(self, external_task_id: str) -> Record | None:
        self.reads += 1
        return await self._ledger.record(external_task_id)

    async def events_after(self, position: int, *, limit: int) -> list[StoredEvent]:
        self.reads += 1
        return await self._ledger.events_after(position, limit=limit)


def counted(house: House) -> tuple[Counting, Submitter]:
    """A submitter in process whose watch reads here."""
    counting = Counting(house)
    house.runtime.feed = Feed(counting)
    watch = LedgerWatch(counting, house.runtime.waiting, house.runtime.feed)  # type: ignore[arg-type]
    return counting, Submitter(house.runtime.config.providers, journal=house.runtime.journal, watch=watch)


async def test_who_waits_is_woken_by_the_commit_and_by_no_clock(house: House) -> None:
    counting, submitter = counted(house)
    task = await submitter.submit("cometapi", OmniImageRequest(prompt="a red fox [[seconds=0.5]]"))
    reports = len((await house.history(task.external_task_id))["reports"])
    seen = await submitter.wait(task, deadline=LONG)
    history = await house.history(task.external_task_id)
    await submitter.aclose()

    assert seen.has_succeeded
    # Two looks at first, and one for each report that came meanwhile: half a second would be many turns of a clock.
    assert counting.reads <= 2 + len(history["reports"]) - reports


async def test_what_is_cancelled_leaves_nothing_behind(house: House, submitter: Submitter) -> None:
    await submitter.submit("cometapi", OmniImageRequest(prompt="a red fox [[drop_all]]"), external_task_id="slow")
    waitings = [
        asyncio.create_task(wait)
        for wait in (submitter.wait("slow"), submitter.wait_any(["slow"]), submitter.wait_all(["slow"]))
    ]

    async def all_listen() -> bool:
        return waits_for(house.runtime.waiting) == 1 and house.runtime.feed.listeners == 2

    await eventually(all_listen)
    for waiting in waitings:
        waiting.cancel()
    await asyncio.gather(*waitings, return_exceptions=True)

    async def nobody_listens() -> bool:
        # An answer that is held for a client that left goes on to its end: it is bounded by that.
        return house.runtime.feed.listeners == 0

    await eventually(nobody_listens)
    house.runtime.waiting.wake(["slow"])

    assert all(waiting.cancelled() for waiting in waitings)


async def test_what_is_cancelled_in_process_waits_no_more(house: House) -> None:
    submitter = house.runtime.submitter
    await submitter.submit("cometapi", OmniImageRequest(prompt="a red fox [[drop_all]]"), external_task_id="slow")
    with pytest.raises(NotAtRest):
        await submitter.wait("slow", deadline=SHORT)

    assert 0 == waits_for(house.runtime.waiting)


def waits_for(waiting: Waiting) -> int:
    return sum(map(len, waiting._waiting.values()))


# --- many tasks


async def test_all_are_waited_for_and_come_in_the_order_given(submitter: Submitter, house: House) -> None:
    prompts = ("a red fox [[seconds=0.3]]", "a red fox [[fail]]", "a red fox")
    tasks = [await submitter.submit("cometapi", OmniImageRequest(prompt=prompt)) for prompt in prompts]
    await write_events(house, 1, name="refused")
    seen = await submitter.wait_all(["refused0", *tasks, tasks[0]], deadline=LONG)

    names = [each.external_task_id for each in tasks]
    assert ["refused0", *names, names[0]] == [task.external_task_id for task in seen]
    assert ["refused", "succeeded", "failed", "succeeded", "succeeded"] == [task.state for task in seen]


async def test_any_is_the_first_that_comes_to_rest(submitter: Submitter) -> None:
    slow = await submitter.submit("cometapi", OmniImageRequest(prompt="a red fox [[drop_all]]"))
    quick = await submitter.submit("cometapi", OmniImageRequest(prompt="a red fox [[seconds=0.1]]"))
    task = await submitter.wait_any([slow, quick], deadline=LONG)

    assert (quick.external_task_id, "succeeded") == (task.external_task_id, task.state)


async def test_any_of_those_that_rest_already_is_the_one_named_first(submitter: Submitter, house: House) -> None:
    await write_events(house, 3)

    assert "e1" == (await submitter.wait_any(["e1", "e0", "e2"], deadline=LONG)).external_task_id


async def test_all_of_none_is_none_and_any_of_none_is_a_mistake(submitter: Submitter) -> None:
    assert [] == await submitter.wait_all([])
    with pytest.raises(ValueError, match="at least one task"):
        await submitter.wait_any([])


async def test_a_deadline_for_many_names_those_that_are_left(submitter: Submitter, house: House) -> None:
    await write_events(house, 1)
    for number in range(7):
        request = OmniImageRequest(prompt="a red fox [[drop_all]]")
        await submitter.submit("cometapi", request, external_task_id=f"slow{number}")
    left = [f"slow{number}" for number in range(7)]
    passed = await past_the_deadline(lambda: submitter.wait_all(["e0", *left], deadline=timedelta(seconds=0.4)))

    assert re.search(r"slow0 \(submitted\), .*slow4 \(submitted\) and 2 more$", str(passed))
    assert dict.fromkeys(left, "submitted") == passed.states


@pytest.mark.parametrize("wait", ["all", "any"])
async def test_hundreds_are_waited_for_over_few_connections(
    house: House, world: World, stack: AsyncExitStack, wait: str
) -> None:
    submitter = await submitter_at(stack, world, house.url, connections=9)  # eight that look, and one that listens
    names = [f"e{number}" for number in range(300)]
    for name in names:
        await house.http.post("/v1/submissions", json=opening_of(name))
    waiting = asyncio.create_task(
        submitter.wait_all(names, deadline=LONG) if wait == "all" else submitter.wait_any(names, deadline=LONG)
    )

    async def listens() -> bool:
        return house.runtime.feed.listeners == 1

    await eventually(listens)
    for name in names if wait == "all" else names[250:251]:
        await house.runtime.ledger.refuse(name, "no", fence=None, now=house.runtime.clock())
    seen = await waiting
    seen_names = [task.external_task_id for task in seen] if isinstance(seen, list) else [seen.external_task_id]

    assert (names if wait == "all" else ["e250"]) == seen_names


def opening_of(name: str) -> dict[str, object]:
    fields = {"provider": "cometapi", "endpoint": "omni-image", "request": {"prompt": "a red fox"}}
    return {**fields, "external_task_id": name}


async def test_what_comes_to_rest_at_any_moment_is_never_missed(submitter: Submitter, house: House) -> None:
    for number in range(40):
        name = f"e{number}"
        await house.http.post("/v1/submissions", json=opening_of(name))
        one = number % 2 == 0
        wait = submitter.wait(name, deadline=LONG) if one else submitter.wait_any([name], deadline=LONG)
        waiting = asyncio.create_task(wait)
        for _ in range(number):  # by each number of turns a little later
            await asyncio.sleep(0)
        await house.runtime.ledger.refuse(name, "no", fence=None, now=house.runtime.clock())

        assert "refused" == (await waiting).state


# --- events


async def test_events_come_in_order_and_end_at_the_deadline(submitter: Submitter, house: House) -> None:
    await write_events(house, 3)
    told = await heard_by_the_deadline(lambda: submitter.events(["e0", "e2"], after=0, deadline=BRIEF), 2)
    everything = await heard_by_the_deadline(lambda: submitter.events(after=1, deadline=BRIEF), 2)

    assert [(1, "task.refused", "refused"), (3, "task.refused", "refused")] == [
        (event.position, event.type, event.task and event.task.state) for event in told
    ]
    assert [2, 3] == [event.position for event in everything]
    assert [each.id for each in told] == [each.fields["id"] for each in told]


async def heard_by_the_deadline(listen: Callable[[], AsyncIterator[ShownEvent]], count: int) -> list[ShownEvent]:
    """What is heard until then: again, where a busy machine did not get to hearing so many in so short a time."""
    async with asyncio.timeout(PATIENCE):
        while True:
            heard = [event async for event in listen()]
            if len(heard) >= count:
                return heard


async def test_events_of_a_task_are_heard_as_they_come(submitter: Submitter) -> None:
    task = await submitter.submit("cometapi", OmniImageRequest(prompt="a red fox [[seconds=0.1]]"))
    types = []
    async with aclosing(submitter.events([task], after=0, deadline=LONG)) as events:
        async for event in events:
            types.append(event.type)
            if event.is_final:
                break

    assert ["task.submitted", "task.processing", "task.succeeded"] == types


# --- a receiver that goes away


async def test_a_submission_is_waited_for_over_a_restart_of_the_receiver(
    world: World, tmp_path: Path, stack: AsyncExitStack
) -> None:
    port = free_port()
    waitings: list[asyncio.Task[object]] = []
    async with receiving(tmp_path, world, "cometapi", port=port) as house:
        submitter = await submitter_at(stack, world, house.url)
        names = ["one", "two"]
        for name in names:
            request = OmniImageRequest(prompt="a red fox [[drop_all]]")
            await submitter.submit("cometapi", request, external_task_id=name)
        waits = (submitter.wait("one", deadline=LONG), submitter.wait_all(names, deadline=LONG))
        waitings = [asyncio.create_task(wait) for wait in waits]

        async def both_wait() -> bool:
            return waits_for(house.runtime.waiting) == 1 and house.runtime.feed.listeners == 1

        await eventually(both_wait)
        house.runtime.begin_stopping()
    async with receiving(tmp_path, world, "cometapi", port=port) as house:
        for name in names:
            await house.runtime.ledger.abandon(name, now=house.runtime.clock())
        one, both = await asyncio.gather(*waitings)

    assert "expired" == one.state  # type: ignore[attr-defined]
    assert ["expired"] * 2 == [task.state for task in both]  # type: ignore[attr-defined]


async def test_events_go_on_over_restarts_without_gap_or_double(
    world: World, tmp_path: Path, stack: AsyncExitStack
) -> None:
    port = free_port()
    told: list[int] = []

    async def hear(submitter: Submitter) -> None:
        async for event in submitter.events(after=0, deadline=LONG):
            told.append(event.position)
            if event.position == 90:
                return

    hearing: asyncio.Task[None] | None = None
    for life in range(3):
        async with receiving(tmp_path, world, "cometapi", port=port) as house:
            if hearing is None:
                hearing = asyncio.create_task(hear(await submitter_at(stack, world, house.url)))
            await write_events(house, 30, name=f"life{life}-")
            if life == 2:
                await hearing
            house.runtime.begin_stopping()

    assert list(range(1, 91)) == told


async def test_a_receiver_that_stays_away_is_given_up(world: World, stack: AsyncExitStack) -> None:
    submitter = await submitter_at(stack, world, f"http://127.0.0.1:{free_port()}", patience=timedelta(seconds=0.2))
    for waiting in (submitter.wait("fox"), submitter.wait_any(["fox"]), submitter.wait_all(["fox"])):
        with pytest.raises(WatchError) as given_up:
            await waiting

        assert "unreachable" == given_up.value.code


async def test_the_deadline_holds_while_the_receiver_is_away(world: World, stack: AsyncExitStack) -> None:
    submitter = await submitter_at(stack, world, f"http://127.0.0.1:{free_port()}")
    for waiting in (submitter.wait("fox", deadline=SHORT), submitter.wait_all(["fox"], deadline=SHORT)):
        with pytest.raises(NotAtRest, match=r"fox \(state unknown\)"):
            await waiting


@pytest.mark.parametrize("wait", ["one", "any"])
async def test_an_answer_that_was_lost_is_asked_for_again(
    house: House, world: World, stack: AsyncExitStack, wait: str
) -> None:
    await write_events(house, 2)
    async with gate(house.url) as road:
        road.losses = 2
        submitter = await submitter_at(stack, world, road.url)
        names = ["e0", "e1"]
        task = await (
            submitter.wait("e0", deadline=LONG) if wait == "one" else submitter.wait_any(names, deadline=LONG)
        )

    assert (0, "e0", "refused") == (road.losses, task.external_task_id, task.state)


async def test_who_waits_in_process_is_told_of_the_end(house: House) -> None:
    submitter = house.runtime.submitter
    await submitter.submit("cometapi", OmniImageRequest(prompt="a red fox [[drop_all]]"), external_task_id="slow")
    waitings = [asyncio.create_task(wait) for wait in (submitter.wait("slow"), submitter.wait_all(["slow"]))]

    async def all_wait() -> bool:
        return waits_for(house.runtime.waiting) == 1 and house.runtime.feed.listeners == 1

    await eventually(all_wait)
    house.runtime.begin_stopping()
    ends = await asyncio.gather(*waitings, return_exceptions=True)

    assert ["shutting_down"] * 2 == [end.code for end in ends if isinstance(end, WatchError)]


async def test_who_may_not_look_is_told_at_once(world: World, tmp_path: Path, stack: AsyncExitStack) -> None:
    async with receiving(tmp_path, world, "cometapi", api={"keys": ["k" * 32]}) as house:
        submitter = await submitter_at(stack, world, house.url)
        for waiting in (submitter.wait("fox"), submitter.wait_all(["fox"])):
            with pytest.raises(WatchError) as refused:
                await waiting

            assert "api_key_required" == refused.value.code


async def test_a_submitter_without_a_watch_says_what_it_lacks(house: House) -> None:
    async with Submitter({}, journal=house.runtime.journal) as submitter:
        with pytest.raises(WatchError, match="watch=HttpWatch"):
            await submitter.wait("fox")
