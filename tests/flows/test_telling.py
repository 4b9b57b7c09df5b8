"""From a callback to an app: signed webhooks over real sockets, whatever the app, the receiver or the road does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from receiver.breaker import OPENS_AFTER
from receiver.ledger.deliveries import AttemptResult, Settlement
from tests.flows.builders import Clock, House, Json, World, eventually, path_of, receiving, report
from tests.flows.lives import living
from tests.outbox.sinks import Sink, Told, sinking, status
from tests.patience import free_port, watching

SECRET = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="
TASK_TYPES = ["task.*"]


def destination(url: str, **changes: Any) -> Json:
    """An app on this machine that wants all that is said of tasks."""
    return {
        "name": "app",
        "url": url,
        "secret": SECRET,
        "events": TASK_TYPES,
        "private": True,
        "timeout": "60s",
        **changes,
    }


def bodies(told: Sequence[Told]) -> list[Json]:
    return [json.loads(each.body) for each in told]


def types(told: Sequence[Told]) -> list[str]:
    return [body["type"].removeprefix("task.") for body in bodies(told)]


def ids(told: Sequence[Told]) -> list[str]:
    return [each.headers["webhook-id"] for each in told]


async def call_back(house: House, name: str, *statuses: str) -> None:
    """Callbacks of a task that this ledger never knew."""
    path = path_of(house.runtime.journal.callback_url("cometapi", name))
    for said in statuses:
        images = ["https://cdn.example.com/a.png"] if said == "succeed" else []
        answer = await house.http.post(path, content=report(said, task_id=f"p-{name}", images=images))
        assert 200 == answer.status_code


async def deliveries(house: House, **query: str) -> list[Json]:
    listed: list[Json] = (await house.http.get("/v1/deliveries", params=query)).json()["deliveries"]
    return listed


async def told(sink: Sink, count: int) -> list[Told]:
    """What the app was told, once it was told so much."""

    async def enough() -> bool:
        return len(sink.told) >= count

    await eventually(enough)
    return list(sink.told)


async def all_settled(house: House, count: int) -> list[Json]:
    """Every delivery, once there are so many and none is open."""

    async def settled() -> list[Json]:
        listed = await deliveries(house, limit="500")
        return listed if len(listed) == count and not any(each["state"] == "open" for each in listed) else []

    found: list[Json] = await eventually(settled)
    return found


async def test_an_app_is_told_of_each_change_signed_and_in_order(world: World, tmp_path: Path) -> None:
    async with sinking() as sink:
        app = destination(sink.url())
        async with receiving(tmp_path, world, "cometapi", with_worker=True, destinations=[app]) as house:
            await house.submit("cometapi", "a red fox", "fox")
            heard = await told(sink, 3)
            listed = await all_settled(house, 3)
            events = await house.told("fox")

    assert ["submitted", "processing", "succeeded"] == types(heard)
    assert [event["id"] for event in events] == ids(heard)
    assert [event["task"] for event in events] == [body["data"] for body in bodies(heard)]
    assert [("delivered", 1)] * 3 == [(each["state"], each["attempts"]) for each in listed]
    for each in heard:
        Webhook(SECRET).verify(each.body, each.headers)


async def test_only_what_was_asked_for_is_told(world: World, tmp_path: Path) -> None:
    async with sinking() as finals, sinking() as of_kling:
        apps = [
            destination(finals.url(), name="finals", events=["task.succeeded", "task.failed"]),
            destination(of_kling.url(), name="kling", providers=["kling"]),
        ]
        async with receiving(tmp_path, world, "cometapi", "kling", with_worker=True, destinations=apps) as house:
            await house.submit("cometapi", "a red fox", "fox")
            await house.submit("kling", "a hare [[fail: no]]", "hare")
            heard = await told(finals, 2)
            kling = await told(of_kling, 3)

    assert {("fox.4", "succeeded"), ("hare.4", "failed")} == set(zip(ids(heard), types(heard), strict=True))
    assert {"hare"} == {body["subject"] for body in bodies(kling)}


async def test_an_app_that_was_down_is_told_everything_when_it_is_back(
    world: World, clock: Clock, tmp_path: Path
) -> None:
    port = free_port()
    app = destination(f"http://127.0.0.1:{port}/hook")
    async with receiving(tmp_path, world, "cometapi", clock=clock, destinations=[app]) as house:
        for number in range(20):
            await call_back(house, f"t-{number}", "processing", "succeed")
        await house.tick()
        [state] = (await house.http.get("/v1/destinations")).json()["destinations"]
        async with sinking(port=port) as sink:

            async def all_told() -> bool:
                clock.jump(minutes=10)
                await house.tick()
                return not await deliveries(house, state="open")

            await eventually(all_told)
            heard = list(sink.told)

    assert "open" == state["state"]
    assert OPENS_AFTER <= state["failures"]
    for number in range(20):
        its_own = [type_ for id_, type_ in zip(ids(heard), types(heard), strict=True) if id_.startswith(f"t-{number}.")]
        assert its_own in (["processing", "succeeded"], ["succeeded"])


async def test_every_attempt_carries_the_same_id_and_the_same_bytes(world: World, clock: Clock, tmp_path: Path) -> None:
    async with sinking(status(500, body=b"not today")) as sink:
        app = destination(sink.url())
        async with receiving(tmp_path, world, "cometapi", clock=clock, destinations=[app]) as house:
            await call_back(house, "fox", "processing")
            for _ in range(3):
                await house.tick()
                clock.jump(hours=1)
            sink.answer = status(200)
            await house.tick()
            [delivery] = await deliveries(house)

    assert 4 == len(sink.told)
    assert 1 == len({(each.headers["webhook-id"], each.body) for each in sink.told})
    assert ("delivered", 4) == (delivery["state"], delivery["attempts"])
    assert 4 == len({each.headers["webhook-timestamp"] for each in sink.told})


async def test_killed_between_send_and_settle_it_is_told_twice_with_one_id_and_the_same_bytes(
    world: World, tmp_path: Path
) -> None:
    port = free_port()
    async with sinking(lambda line: line.hang()) as sink:
        app = destination(sink.url(), events=["task.succeeded"])
        async with living(tmp_path, world, "cometapi", port=port, destinations=[app]) as house:
            await house.submit("cometapi", "a red fox", "fox")
            await told(sink, 1)
        sink.answer = status(200)
        async with receiving(tmp_path, world, "cometapi", port=port, with_worker=True, destinations=[app]) as house:
            [delivery] = await all_settled(house, 1)

    first, second = sink.told
    assert (first.headers["webhook-id"], first.body) == (second.headers["webhook-id"], second.body)
    assert "delivered" == delivery["state"]


async def test_a_relay_that_was_frozen_past_its_lease_changes_nothing(
    world: World, clock: Clock, tmp_path: Path
) -> None:
    """Another tick has told the app since, and that is what counts."""
    answers = iter([status(500), status(200)])
    frozen, thawed = asyncio.Event(), asyncio.Event()

    async def freeze_first(line: Any) -> None:
        answer = next(answers)
        if not frozen.is_set():
            frozen.set()
            await thawed.wait()
        await answer(line)

    async with sinking(freeze_first) as sink:
        app = destination(sink.url())
        async with receiving(tmp_path, world, "cometapi", clock=clock, destinations=[app]) as house:
            await call_back(house, "fox", "succeed")
            first = asyncio.create_task(house.tick())
            await frozen.wait()
            clock.jump(hours=1)
            second = asyncio.create_task(house.tick())
            await told(sink, 2)

            async def delivered() -> bool:
                return bool(await deliveries(house, state="delivered"))

            await eventually(delivered)
            thawed.set()
            await asyncio.gather(first, second)
            [delivery] = await deliveries(house)
            [state] = (await house.http.get("/v1/destinations")).json()["destinations"]

    assert ("delivered", 2) == (delivery["state"], delivery["attempts"])
    assert 0 == state["failures"]


async def test_one_that_hangs_delays_no_other(world: World, tmp_path: Path) -> None:
    async with sinking(lambda line: line.hang()) as hanging, sinking() as well:
        apps = [destination(hanging.url(), name="hanging"), destination(well.url(), name="well")]
        async with receiving(tmp_path, world, "cometapi", with_worker=True, destinations=apps) as house:
            for number in range(40):
                await call_back(house, f"t-{number}", "succeed")
            heard = await told(well, 40)
            under_way = len(hanging.told)
            hanging.answer = status(200)
            await hanging.hang_up()

    assert 40 == len(set(ids(heard)))
    assert 16 >= under_way


async def test_in_a_tick_one_that_hangs_delays_no_other_and_the_tick_ends_in_time(world: World, tmp_path: Path) -> None:
    async with sinking(lambda line: line.hang()) as hanging, sinking() as well:
        apps = [destination(hanging.url(), name="hanging"), destination(well.url(), name="well")]
        async with receiving(tmp_path, world, "cometapi", destinations=apps) as house:
            for number in range(40):
                await call_back(house, f"t-{number}", "succeed")
            done = 0
            while len(well.told) < 40:  # a tick of a busy machine may not get so far
                async with watching() as watch:
                    done += (await house.tick(seconds=1))["told"]
                assert watch.seconds < 6
            held_up = await deliveries(house, destination="hanging", state="open", limit="100")

    assert 40 == len(set(ids(well.told)))
    assert 40 + 16 <= done
    assert {0} == {each["attempts"] for each in held_up}


async def test_who_answers_410_is_told_no_more_and_others_hear_of_that(world: World, tmp_path: Path) -> None:
    async with sinking(status(410)) as gone, sinking() as watching:
        apps = [
            destination(gone.url(), name="gone"),
            destination(watching.url(), name="watching", events=["destination.disabled"]),
        ]
        async with receiving(tmp_path, world, "cometapi", with_worker=True, destinations=apps) as house:
            await call_back(house, "fox", "succeed")
            [heard] = await told(watching, 1)
            await call_back(house, "hare", "succeed")
            dead = await deliveries(house, state="dead")
            [waits] = await deliveries(house, state="open", destination="gone")
            listed = (await house.http.get("/v1/destinations")).json()["destinations"]
            [event] = [
                each
                for each in (await house.http.get("/v1/events")).json()["events"]
                if each["type"] == "destination.disabled"
            ]

    assert ("destination.disabled", "gone") == (
        bodies([heard])[0]["type"],
        bodies([heard])[0]["data"]["destination"]["name"],
    )
    assert (None, "gone") == (event["task"], event["destination"]["name"])
    assert [("fox", "gone")] == [(each["external_task_id"], each["destination"]) for each in dead]
    assert "hare" == waits["external_task_id"]
    assert {"gone": "disabled", "watching": "closed"} == {each["name"]: each["state"] for each in listed}
    assert 1 == len(gone.told)


async def test_dead_letters_are_told_anew_one_or_many_after_a_dry_run(world: World, tmp_path: Path) -> None:
    async with sinking(status(410)) as sink:
        app = destination(sink.url())
        async with receiving(tmp_path, world, "cometapi", with_worker=True, destinations=[app]) as house:
            await call_back(house, "fox", "succeed")
            [dead] = await eventually(lambda: deliveries(house, state="dead"))
            sink.answer = status(200)
            wish = {"state": "dead", "destination": "app"}
            dry = await house.http.post("/v1/deliveries/redeliver", json={**wish, "dry_run": True})
            one = await house.http.post(f"/v1/deliveries/{dead['id']}/redeliver")
            await all_settled(house, 1)
            many = await house.http.post("/v1/deliveries/redeliver", json={"destination": "app"})
            heard = await told(sink, 3)

    assert {"matching": 1, "redelivered": 0, "next": None} == dry.json()
    assert (200, dead["id"], "open") == (one.status_code, one.json()["id"], one.json()["state"])
    assert {"matching": 1, "redelivered": 1, "next": None} == many.json()
    assert 1 == len({(each.headers["webhook-id"], each.body) for each in heard})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ({"state": "lost"}, "state"),
        ({"type": "task.lost"}, "type"),
        ({"destination": "app", "after": "x"}, "after"),
        ({"destination": "app", "colour": "red"}, "colour"),
        ({"destination": "app", "dry_run": []}, "dry_run"),
        ({"destination": "app", "dry_run": "no"}, "dry_run"),
    ],
)
async def test_a_filter_that_makes_no_sense_is_refused(world: World, tmp_path: Path, body: Json, field: str) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        answer = await house.http.post("/v1/deliveries/redeliver", json=body)
        listed = await house.http.get("/v1/deliveries", params={name: str(value) for name, value in body.items()})
        missing = await house.http.post("/v1/deliveries/17/redeliver")

    assert (422, [field]) == (answer.status_code, [each["field"] for each in answer.json()["errors"]])
    assert (200 if field in {"body", "colour", "dry_run"} else 422) == listed.status_code
    assert (404, "not_found") == (missing.status_code, missing.json()["code"])


async def test_an_app_in_a_private_network_is_told_only_if_that_is_meant(world: World, tmp_path: Path) -> None:
    async with sinking() as sink:
        app = destination(sink.url(), private=False)
        async with receiving(tmp_path, world, "cometapi", destinations=[app]) as house:
            await call_back(house, "fox", "succeed")
            await house.tick()
            [delivery] = await deliveries(house)

    assert 0 == sink.connections
    assert ("open", 1) == (delivery["state"], delivery["attempts"])
    assert "private = true" in delivery["reason"]


async def test_a_stop_takes_what_is_under_way_back_and_counts_it_not(world: World, tmp_path: Path) -> None:
    port = free_port()
    async with sinking(lambda line: line.hang()) as sink:
        app = destination(sink.url())
        async with receiving(tmp_path, world, "cometapi", port=port, with_worker=True, destinations=[app]) as house:
            await call_back(house, "fox", "succeed")
            await told(sink, 1)
        sink.answer = status(200)
        async with receiving(tmp_path, world, "cometapi", port=port, destinations=[app]) as house:
            [before] = await deliveries(house)
            await house.tick()
            [after] = await deliveries(house)

    assert ("open", 0) == (before["state"], before["attempts"])
    assert ("delivered", 1) == (after["state"], after["attempts"])


async def test_what_is_settled_late_over_http_and_in_rows_is_the_same(world: World, tmp_path: Path) -> None:
    """The history, the list and the metrics tell one story."""
    async with sinking() as sink:
        app = destination(sink.url())
        async with receiving(tmp_path, world, "cometapi", with_worker=True, destinations=[app]) as house:
            await call_back(house, "fox", "processing", "succeed")
            listed = await all_settled(house, 2)
            history = await house.history("fox")
            metrics = (await house.http.get("/metrics")).text
            stale = await house.runtime.ledger.settle_deliveries(
                [Settlement(key=listed[0]["id"], fence=1, result=AttemptResult.GONE, now=house.runtime.clock())]
            )

    assert listed == list(reversed(history["deliveries"]))
    assert 'hookledger_attempts_total{destination="app",result="delivered"} 2' in metrics
    assert 'hookledger_deliveries_open{destination="app"} 0' in metrics
    assert [False] == stale.counted
