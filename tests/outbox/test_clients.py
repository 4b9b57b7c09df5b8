"""Clients called back on real sockets: in the wire's shape, signed for their tenant, and to public addresses alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from receiver.clientsecret import client_secret
from receiver.config import GatewayConfig
from receiver.ledger.deliveries import CalledBack
from receiver.outbox.clients import KEPT, ClientCallbacks
from receiver.outbox.destination import Delivered, GiveUp, TryAgain
from receiver.outbox.message import CallbackMessage, callback_of
from receiver.outbox.resolving import Resolve
from receiver.task import Task, TaskImage, TaskState
from receiver.taskjson import snapshot
from submitter.submit import system_clock
from tests.outbox.builders import FORMER_SECRET, NO_TLS, SECRET, Names, an_event, until
from tests.outbox.misbehaving import MISBEHAVING, waited_for
from tests.outbox.sinks import Answering, sinking, status
from tests.patience import PATIENCE

PATH = "/hook/do-not-repeat-me?token=do-not-repeat-me"
DONE = Task(
    external_task_id="fox",
    provider="kling",
    endpoint="omni-image",
    created_at=1_795_168_800_000,
    submitted_at=1_795_168_801_000,
    settled_at=1_795_168_802_000,
    deadline_at=1_795_178_800_000,
    state=TaskState.SUCCEEDED,
    images=(TaskImage(index=0, url="https://cdn.example.com/0.png"),),
    unit_deduction="8",
)


def a_callback(url: str, *, tenant: str = "", is_series: bool = False) -> CallbackMessage:
    """The success of a task that its client calls "theirs"."""
    client = CalledBack(url=url, tenant=tenant, task_id="theirs", is_series=is_series)
    return callback_of(an_event(task=snapshot(DONE)), client)


@contextlib.asynccontextmanager
async def calling(
    *, resolve: Resolve | None = None, timeout: timedelta = timedelta(seconds=PATIENCE), **config: Any
) -> AsyncIterator[ClientCallbacks]:
    """Whoever calls back, also those on this machine unless the test says otherwise."""
    settings = GatewayConfig.model_validate({"private_callbacks": True, **config})
    async with ClientCallbacks(
        settings, clock=system_clock, resolve=resolve or Names(), roots=lambda: NO_TLS, timeout=timeout
    ) as clients:
        yield clients


async def test_a_client_is_told_in_the_wires_own_shape() -> None:
    async with sinking() as sink, calling() as clients:
        attempt = await clients.call_back(a_callback(sink.url(path=PATH)))

    (told,) = sink.told
    assert Delivered() == attempt
    assert f"POST {PATH} HTTP/1.1" == told.line
    assert ("application/json", "fox.7") == (told.headers["content-type"], told.headers["webhook-id"])
    assert {
        "task_id": "fox",
        "task_status": "succeed",
        "task_status_msg": "",
        "task_info": {"external_task_id": "theirs"},
        "created_at": 1_795_168_800_000,
        "updated_at": 1_795_168_802_000,
        "task_result": {"result_type": "single", "images": [{"index": 0, "url": "https://cdn.example.com/0.png"}]},
        "final_unit_deduction": "8",
    } == json.loads(told.body)


async def test_a_series_is_shown_as_one() -> None:
    told = json.loads(a_callback("https://h/", is_series=True).body)

    assert "series" == told["task_result"]["result_type"]
    assert 1 == len(told["task_result"]["series_images"])


async def test_each_tenants_callbacks_are_signed_with_its_own_secret_also_while_that_changes() -> None:
    async with sinking() as sink, calling(webhook_secrets=[SECRET, FORMER_SECRET]) as clients:
        for tenant in ("", "acme"):
            await clients.call_back(a_callback(sink.url(), tenant=tenant))

    operators, acmes = sink.told
    for configured in (SECRET, FORMER_SECRET):
        Webhook(configured).verify(operators.body, operators.headers)
        Webhook(client_secret(configured, "acme")).verify(acmes.body, acmes.headers)
        for stranger in (configured, client_secret(configured, "bold")):
            with pytest.raises(WebhookVerificationError):
                Webhook(stranger).verify(acmes.body, acmes.headers)


async def test_without_a_secret_no_callback_is_signed() -> None:
    async with sinking() as sink, calling() as clients:
        await clients.call_back(a_callback(sink.url()))

    assert "webhook-signature" not in sink.told[0].headers


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "169.254.169.254", "app.internal", "2130706433"])
async def test_a_client_that_is_not_public_is_told_nothing_and_learns_no_address(host: str) -> None:
    names = Names(app_internal=["127.0.0.1"])
    names.known["2130706433"] = ["127.0.0.1"]
    async with sinking() as sink, calling(private_callbacks=False, resolve=names) as clients:
        attempt = await clients.call_back(a_callback(sink.url(host, scheme="https", path=PATH)))

    assert isinstance(attempt, TryAgain)
    assert f"{host.strip('[]')} is not public" in attempt.reason
    assert 0 == sink.connections


async def test_where_private_callbacks_are_let_the_checked_address_is_connected_to() -> None:
    async with sinking() as sink, calling(resolve=Names(app_internal=["127.0.0.1"])) as clients:
        assert Delivered() == await clients.call_back(a_callback(sink.url("app.internal")))

    assert f"app.internal:{sink.port}" == sink.told[0].headers["host"]


@pytest.mark.parametrize(
    "url",
    [
        "http://app.example.com/do-not-repeat-me",
        "https://do-not-repeat-me:do-not-repeat-me@app.example.com/",
        "https://app.example.com:port/do-not-repeat-me",
        "ftp://app.example.com/do-not-repeat-me",
        "https://[do-not-repeat-me/",
        "https://do-not-repeat-me\\@app.example.com/",
        "do-not-repeat-me",
    ],
)
async def test_a_url_that_cannot_be_called_is_given_up(url: str) -> None:
    names = Names(app_example_com=["93.184.216.34"])
    async with calling(private_callbacks=False, resolve=names) as clients:
        attempt = await clients.call_back(a_callback(url))

    assert isinstance(attempt, GiveUp)
    assert "do-not-repeat-me" not in attempt.reason
    assert [] == names.asked


async def test_a_redirect_leads_a_callback_nowhere() -> None:
    async with sinking() as metadata:
        away = status(307, f"Location: {metadata.url(path='/do-not-repeat-me')}")
        async with sinking(away) as sink, calling() as clients:
            attempt = await clients.call_back(a_callback(sink.url()))

    assert isinstance(attempt, TryAgain)
    assert attempt.reason.startswith("redirects are refused")
    assert "do-not-repeat-me" not in attempt.reason
    assert 0 == metadata.connections


async def test_who_is_gone_is_gone_for_this_callback_alone() -> None:
    async with sinking(status(410)) as sink, calling() as clients:
        assert GiveUp(reason="answered 410 Gone") == await clients.call_back(a_callback(sink.url()))


@pytest.mark.parametrize(("misbehaving", "words"), MISBEHAVING.items(), ids=lambda each: getattr(each, "__name__", ""))
async def test_a_misbehaving_client_costs_its_time_out_at_most(misbehaving: Answering, words: str) -> None:
    async with (
        sinking(misbehaving) as sink,
        calling(timeout=waited_for(misbehaving)) as clients,
        asyncio.timeout(PATIENCE),
    ):
        attempt = await clients.call_back(a_callback(sink.url(path=PATH)))
        while not sink.told:  # the machine was busy: the time was up before it was asked
            attempt = await clients.call_back(a_callback(sink.url(path=PATH)))

    assert isinstance(attempt, TryAgain)
    assert words in attempt.reason
    assert "do-not-repeat-me" not in attempt.reason


async def test_what_is_kept_of_clients_is_bounded_and_nobody_under_way_is_let_go() -> None:
    names = Names(**{f"host_{number}": ["127.0.0.1"] for number in range(KEPT + 9)})
    waits = asyncio.Event()

    async def wait_for_it(line: Any) -> None:
        await waits.wait()
        await status(204)(line)

    async with (
        sinking(wait_for_it) as slow,
        sinking() as sink,
        calling(resolve=names) as clients,
    ):
        under_way = asyncio.create_task(clients.call_back(a_callback(slow.url())))
        await until(lambda: len(slow.told) == 1)
        for number in range(KEPT + 9):
            assert Delivered() == await clients.call_back(a_callback(sink.url(f"host.{number}")))
        open_at_the_end = len(sink.open)
        waits.set()

        assert Delivered() == await under_way
        assert open_at_the_end <= KEPT


async def test_one_tenant_does_not_wait_for_anothers_connections() -> None:
    async with sinking(lambda line: line.hang()) as sink, calling(timeout=timedelta(seconds=PATIENCE)) as clients:
        acmes = [asyncio.create_task(clients.call_back(a_callback(sink.url(), tenant="acme"))) for _ in range(8)]
        await until(lambda: len(sink.told) == 4)
        sink.answer = status(204)

        assert Delivered() == await clients.call_back(a_callback(sink.url(), tenant="bold"))

        for each in acmes:
            each.cancel()
        await asyncio.gather(*acmes, return_exceptions=True)
