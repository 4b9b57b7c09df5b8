"""From a provider's callback to the client's own callback_url, whatever the client, the receiver or the road does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from receiver.clientsecret import client_secret
from receiver.ledger.openings import Client
from submitter.errors import Refused
from submitter.journal import Submission
from submitter.providers import provider_for
from submitter.providers.base import Received
from submitter.report import ReportedStatus, StatusReport
from submitter.request import OmniImageRequest
from submitter.settings import ProviderSettings
from submitter.submit import system_clock
from tests.flows.builders import Clock, House, Json, World, eventually, receiving
from tests.flows.lives import living
from tests.flows.test_telling import all_settled, call_back, deliveries, destination, told
from tests.ledger.builders import opening
from tests.outbox.sinks import Sink, Told, sinking, status
from tests.patience import free_port

SECRET = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="
PRIVATE = {"private_callbacks": True}
PATH = "/hook/do-not-repeat-me?token=do-not-repeat-me"


async def submit(
    house: House, sink: Sink, name: str, *, prompt: str = "a red fox", provider: str = "cometapi", **client: Any
) -> None:
    """As the gateway does for a client that wants to be called back."""
    submission = Submission(provider=provider, request=OmniImageRequest(prompt=prompt), external_task_id=name)
    await house.runtime.submit(submission, client=Client(callback_url=sink.url(path=PATH), **client))


def statuses(heard: Sequence[Told], name: str | None = None) -> list[str]:
    bodies = [json.loads(each.body) for each in heard]
    return [body["task_status"] for body in bodies if name in {None, body["task_id"]}]


def ids(heard: Sequence[Told]) -> list[str]:
    return [each.headers["webhook-id"] for each in heard]


def as_kling_reads_it(heard: Told) -> StatusReport:
    """By the reader that reads Kling's own callbacks."""
    kling = provider_for("kling", ProviderSettings(kind="kling", api_key="k"))  # type: ignore[arg-type]
    received = Received(method="POST", url="https://h/", headers=heard.headers, body=heard.body)
    return kling.read_callback(received, now=system_clock())[0]


async def test_a_client_is_called_back_of_each_change_in_order_and_in_klings_shape(
    world: World, tmp_path: Path
) -> None:
    async with sinking() as sink:
        gateway = {**PRIVATE, "webhook_secrets": [SECRET]}
        async with receiving(tmp_path, world, "cometapi", with_worker=True, gateway=gateway) as house:
            await submit(house, sink, "fox", task_id="theirs", tenant="acme")
            heard = await told(sink, 3)
            events = await house.told("fox")
            listed = await all_settled(house, 3)
            task = await house.task("fox")

    assert ["submitted", "processing", "succeed"] == statuses(heard)
    assert [event["id"] for event in events] == ids(heard)
    assert {f"POST {PATH} HTTP/1.1"} == {each.line for each in heard}
    assert {"theirs"} == {json.loads(each.body)["task_info"]["external_task_id"] for each in heard}
    assert {f"@acme@http://127.0.0.1:{sink.port}"} == {each["destination"] for each in listed}
    report = as_kling_reads_it(heard[-1])
    assert ("fox", "theirs", ReportedStatus.SUCCEED) == (
        report.provider_task_id,
        report.external_task_id,
        report.status,
    )
    assert [image["url"] for image in task["images"]] == [image.url for image in report.images]
    for each in heard:
        Webhook(client_secret(SECRET, "acme")).verify(each.body, each.headers)


async def test_who_names_no_callback_url_costs_and_is_told_nothing(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi", gateway=PRIVATE) as house:
        await call_back(house, "fox", "processing", "succeed")
        await house.tick()

        assert [] == await deliveries(house)


async def test_a_failure_a_late_refusal_and_a_deadline_are_called_failed(
    world: World, clock: Clock, tmp_path: Path
) -> None:
    settings: Json = {"gateway": PRIVATE, "polling": {"enabled": False}}
    async with sinking() as sink, receiving(tmp_path, world, "cometapi", clock=clock, **settings) as house:
        await submit(house, sink, "fails", prompt="a fox [[fail: no]]")
        await house.at_rest("fails")
        await submit(house, sink, "lost", prompt="a fox [[drop_all]]")
        clock.jump(days=2)
        await house.tick()
        await house.runtime.ledger.open_task(opening("refused", now=clock(), client=Client(callback_url=sink.url())))
        await house.runtime.ledger.promise("refused")
        await house.runtime.ledger.refuse("refused", "1301: no such thing", fence=None, now=clock())
        await all_called_back(house)

    finals = {json.loads(each.body)["task_id"]: json.loads(each.body) for each in sink.told}
    assert {"failed"} == {finals[name]["task_status"] for name in ("fails", "lost", "refused")}
    assert "1301: no such thing" == finals["refused"]["task_status_msg"]


async def test_what_the_create_itself_refused_is_not_called_back(world: World, tmp_path: Path) -> None:
    async with sinking() as sink, receiving(tmp_path, world, "cometapi", gateway=PRIVATE) as house:
        with pytest.raises(Refused):
            await submit(house, sink, "fox", prompt="a fox [[policy]]")
        await house.tick()

        assert [] == await deliveries(house)


async def test_a_dead_client_harms_no_other_and_hears_the_news_when_it_is_back(
    world: World, clock: Clock, tmp_path: Path
) -> None:
    port = free_port()
    gone = Sink(port=port)
    async with sinking() as well, receiving(tmp_path, world, "cometapi", clock=clock, gateway=PRIVATE) as house:
        for number in range(9):
            await submit(house, gone, f"gone-{number}")
            await submit(house, well, f"well-{number}")
        for number in range(9):
            await house.at_rest(f"gone-{number}")
            await house.at_rest(f"well-{number}")
        await house.tick()
        [state] = (await house.http.get("/v1/destinations")).json()["destinations"]
        metrics = (await house.http.get("/metrics")).text
        async with sinking(port=port) as back:

            async def all_told() -> bool:
                clock.jump(minutes=10)
                await house.tick()
                return not await deliveries(house, state="open")

            await eventually(all_told)
            heard = list(back.told)

    assert (f"@http://127.0.0.1:{port}", "open") == (state["name"], state["state"])
    assert ["submitted", "processing", "succeed"] * 9 == [
        each for number in range(9) for each in statuses(well.told, f"well-{number}")
    ]
    assert {"succeed"} == {statuses(heard, f"gone-{number}")[-1] for number in range(9)}
    assert 'hookledger_deliveries_open{destination="@"}' in metrics
    assert str(port) not in metrics


async def test_a_client_that_hangs_delays_no_other_nor_an_app(world: World, tmp_path: Path) -> None:
    async with sinking(lambda line: line.hang()) as hanging, sinking() as well, sinking() as app:
        apps = [destination(app.url())]
        async with receiving(
            tmp_path, world, "cometapi", with_worker=True, gateway=PRIVATE, destinations=apps
        ) as house:
            for number in range(12):
                await submit(house, hanging, f"hanging-{number}")
            await told(hanging, 4)
            for number in range(4):
                await submit(house, well, f"well-{number}")
            await told(well, 12)
            await told(app, 3 * 16)
            under_way = len(hanging.told)
            hanging.answer = status(204)
            await hanging.hang_up()

    assert 4 == under_way


async def test_a_redirect_into_the_private_network_is_not_followed(world: World, tmp_path: Path) -> None:
    async with sinking() as metadata:
        away = status(302, f"Location: {metadata.url(path=PATH)}")
        async with (
            sinking(away) as sink,
            receiving(tmp_path, world, "cometapi", gateway=PRIVATE) as house,
        ):
            await submit(house, sink, "fox")
            await house.tick()
            [first, *_] = reversed(await deliveries(house))

    assert 0 == metadata.connections
    assert ("open", 1) == (first["state"], first["attempts"])
    assert first["reason"].startswith("redirects are refused")
    assert "do-not-repeat-me" not in first["reason"]


async def test_a_client_in_a_private_network_is_told_only_if_that_is_meant(world: World, tmp_path: Path) -> None:
    async with sinking() as sink, receiving(tmp_path, world, "cometapi") as house:
        secure = Sink(port=sink.port)
        submission = Submission(provider="cometapi", request=OmniImageRequest(prompt="x"), external_task_id="fox")
        url = secure.url(scheme="https", path=PATH)
        await house.runtime.submit(submission, client=Client(callback_url=url))
        await submit(house, sink, "hare")
        await house.tick()
        reasons = {each["external_task_id"]: each["reason"] for each in await deliveries(house) if each["reason"]}

        assert "127.0.0.1 is not public" in reasons["fox"]
        assert "https is needed" in reasons["hare"]
        assert 0 == sink.connections


async def test_every_attempt_to_call_back_carries_the_same_id_and_the_same_bytes(
    world: World, clock: Clock, tmp_path: Path
) -> None:
    async with (
        sinking(status(500)) as sink,
        receiving(tmp_path, world, "cometapi", clock=clock, gateway=PRIVATE) as house,
    ):
        await submit(house, sink, "fox")
        await house.at_rest("fox")
        for _ in range(3):
            clock.jump(minutes=3)
            await house.tick()
        sink.answer = status(200)
        clock.jump(hours=1)
        await all_called_back(house)

    of_each: dict[str, set[bytes]] = {}
    for each in sink.told:
        of_each.setdefault(each.headers["webhook-id"], set()).add(each.body)
    assert {1} == {len(bodies) for bodies in of_each.values()}
    assert len(of_each) < len(sink.told)
    assert "succeed" == statuses(sink.told)[-1]


async def test_killed_while_a_client_is_called_it_is_called_again_with_the_same_bytes(
    world: World, tmp_path: Path
) -> None:
    """The lease of a process that has ended is nobody's."""
    port = free_port()
    async with sinking(lambda line: line.hang()) as sink:
        async with receiving(tmp_path, world, "cometapi", port=port, gateway=PRIVATE) as house:
            await submit(house, sink, "fox")
        async with living(tmp_path, world, "cometapi", port=port, gateway=PRIVATE) as life:
            await told(sink, 1)
            await life.kill()
        sink.answer = status(200)
        async with receiving(tmp_path, world, "cometapi", port=port, with_worker=True, gateway=PRIVATE) as house:
            await eventually(lambda: is_called_back(house, "fox"))
            [first, *_] = reversed(await deliveries(house))

    assert (sink.told[0].headers["webhook-id"], sink.told[0].body) == (
        sink.told[1].headers["webhook-id"],
        sink.told[1].body,
    )
    assert "delivered" == first["state"]


async def test_a_stop_takes_a_callback_that_is_under_way_back_and_counts_it_not(world: World, tmp_path: Path) -> None:
    port = free_port()
    async with sinking(lambda line: line.hang()) as sink:
        async with receiving(tmp_path, world, "cometapi", port=port, with_worker=True, gateway=PRIVATE) as house:
            await submit(house, sink, "fox")
            await told(sink, 1)
        sink.answer = status(200)
        async with receiving(tmp_path, world, "cometapi", port=port, gateway=PRIVATE) as house:
            [before, *_] = reversed(await deliveries(house))
            await house.tick()
            [after, *_] = reversed(await deliveries(house))

    assert ("open", 0) == (before["state"], before["attempts"])
    assert ("delivered", 1) == (after["state"], after["attempts"])


async def test_who_answers_410_has_a_dead_letter_that_is_told_anew_by_hand(world: World, tmp_path: Path) -> None:
    async with (
        sinking(status(410)) as sink,
        receiving(tmp_path, world, "cometapi", with_worker=True, gateway=PRIVATE) as house,
    ):
        await submit(house, sink, "fox")
        dead = await all_settled(house, 3)
        sink.answer = status(200)
        wish = {"destination": dead[0]["destination"], "state": "dead"}
        answer = await house.http.post("/v1/deliveries/redeliver", json=wish)
        delivered = await all_settled(house, 3)
        events = (await house.http.get("/v1/events")).json()["events"]

    assert {"dead"} == {each["state"] for each in dead}
    assert 3 == answer.json()["redelivered"]
    assert {"delivered"} == {each["state"] for each in delivered}
    assert "destination.disabled" not in {event["type"] for event in events}


async def test_nothing_that_is_logged_or_shown_holds_a_clients_url(
    world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its path or query may hold the client's token."""
    port = free_port()
    async with sinking(status(500)) as sink:
        async with receiving(tmp_path, world, "cometapi", port=port, gateway=PRIVATE) as house:
            await submit(house, sink, "fox")
        async with living(tmp_path, world, "cometapi", port=port, gateway=PRIVATE) as life:
            await told(sink, 1)
            paths = ("/v1/deliveries", "/v1/destinations", "/v1/events", "/v1/tasks?include=request", "/metrics")
            shown = [(await life.http.get(each)).text for each in (*paths, "/v1/tasks/fox/history")]

            async def is_logged() -> bool:
                return "delivery.attempted" in life.log.read_text()

            await eventually(is_logged)
            log = life.log.read_text()

    assert f"@http://127.0.0.1:{sink.port}" in log
    assert [] == [text for text in (*shown, log, *capfd.readouterr()) if "do-not-repeat-me" in text]


async def all_called_back(house: House) -> list[Json]:
    """Every delivery, once turns of the worker's have brought all of them to an end."""

    async def ended() -> list[Json]:
        await house.tick()
        listed = await deliveries(house, limit="500")
        return [] if any(each["state"] == "open" for each in listed) else listed

    found: list[Json] = await eventually(ended)
    return found


async def is_called_back(house: House, name: str) -> bool:
    listed = await deliveries(house, external_task_id=name, state="delivered")
    return bool(listed)
