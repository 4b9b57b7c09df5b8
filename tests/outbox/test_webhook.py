"""Webhooks out, to apps on real sockets: signed, bounded, and to the address that was checked."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Sequence

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http
from cloudevents.core.formats.json import JSONFormat
from standardwebhooks import Webhook

from receiver.configdestinations import DestinationConfig
from receiver.outbox.destination import Attempt, Delivered, GiveUp, TryAgain
from receiver.outbox.message import Message
from receiver.outbox.webhook import WebhookDestination
from submitter.moments import Moment
from tests.outbox.builders import FORMER_SECRET, SECRET, SOURCE, a_message, telling, until
from tests.outbox.misbehaving import MISBEHAVING, hangs_at_once, waited_for
from tests.outbox.sinks import Answering, sinking, status
from tests.patience import PATIENCE, free_port, watching

QUERY = "key=do-not-repeat-me"


async def told_at_once(destination: WebhookDestination, messages: Sequence[Message]) -> list[Attempt]:
    """All of them, at the same time."""
    async with asyncio.timeout(PATIENCE):
        return await asyncio.gather(*(destination.deliver(message) for message in messages))


async def told_again_until_taken(destination: WebhookDestination, messages: Sequence[Message]) -> None:
    """All of them at the same time, each until it is delivered, as the relay does: a busy machine is slow at times."""

    async def tell(message: Message) -> None:
        while not isinstance(await destination.deliver(message), Delivered):
            pass

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        for message in messages:
            group.create_task(tell(message))


async def test_a_message_is_posted_and_its_signature_verifies() -> None:
    message = a_message()
    async with sinking() as sink, telling(sink.url(path="/hook?a=b"), secret=SECRET) as destination:
        attempt = await destination.deliver(message)

    (told,) = sink.told
    assert Delivered() == attempt
    assert "POST /hook?a=b HTTP/1.1" == told.line
    assert message.body == told.body
    assert "application/cloudevents+json" == told.headers["content-type"]
    assert f"127.0.0.1:{sink.port}" == told.headers["host"]
    assert told.headers["user-agent"].startswith("hookledger")
    assert "fox.7" == told.headers["webhook-id"]
    assert json.loads(message.body) == Webhook(SECRET).verify(told.body, told.headers)


async def test_what_is_posted_is_a_cloud_event() -> None:
    async with sinking() as sink, telling(sink.url()) as destination:
        await destination.deliver(a_message(type="task.conflict", was="failed", now_is="succeeded"))

    (told,) = sink.told
    event = from_http(HTTPMessage(told.headers, told.body), JSONFormat())
    assert ("1.0", "fox.7", SOURCE) == (event.get_specversion(), event.get_id(), event.get_source())
    assert ("task.conflict", "fox") == (event.get_type(), event.get_subject())
    assert "2026-11-20T10:00:00.123000+00:00" == event.get_time().isoformat()
    assert ("failed", "succeeded") == (event.get_extension("was"), event.get_extension("is"))
    assert "ein Fuchs, ☃" == event.get_data()["message"]


async def test_while_secrets_are_changed_both_verify() -> None:
    async with (
        sinking() as sink,
        telling(sink.url(), secret=SECRET, previous_secrets=[FORMER_SECRET]) as destination,
    ):
        await destination.deliver(a_message())

    (told,) = sink.told
    assert 2 == len(told.headers["webhook-signature"].split(" "))
    assert Webhook(SECRET).verify(told.body, told.headers)
    assert Webhook(FORMER_SECRET).verify(told.body, told.headers)


async def test_without_a_secret_nothing_is_signed() -> None:
    async with sinking() as sink, telling(sink.url()) as destination:
        await destination.deliver(a_message())

    assert "fox.7" == sink.told[0].headers["webhook-id"]
    assert "webhook-signature" not in sink.told[0].headers


async def test_a_later_attempt_has_the_same_id_and_bytes_and_a_signature_of_its_own_time() -> None:
    now: Moment = 1_795_168_800_999
    moments = iter((now, now + 60_000))
    async with sinking() as sink, telling(sink.url(), secret=SECRET, clock=lambda: next(moments)) as destination:
        await destination.deliver(a_message())
        await destination.deliver(a_message())

    first, second = sink.told
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert ("1795168800", "1795168860") == tuple(each.headers["webhook-timestamp"] for each in sink.told)
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]


@pytest.mark.parametrize("code", [200, 201, 202, 204, 299])
async def test_any_2xx_is_a_delivery(code: int) -> None:
    async with sinking(status(code)) as sink, telling(sink.url()) as destination:
        assert Delivered() == await destination.deliver(a_message())


@pytest.mark.parametrize("code", [400, 401, 404, 408, 425, 429, 500, 503])
async def test_another_status_is_tried_again_and_named(code: int) -> None:
    async with sinking(status(code)) as sink, telling(sink.url()) as destination:
        attempt = await destination.deliver(a_message())

    assert isinstance(attempt, TryAgain)
    assert str(code) in attempt.reason
    assert "Whatever" not in attempt.reason  # the app's own words


async def test_what_is_gone_wants_nothing_more() -> None:
    async with sinking(status(410)) as sink, telling(sink.url()) as destination:
        assert GiveUp(reason="answered 410 Gone", is_gone=True) == await destination.deliver(a_message())


async def test_retry_after_is_handed_on() -> None:
    async with sinking(status(429, "Retry-After: 7")) as sink, telling(sink.url()) as destination:
        attempt = await destination.deliver(a_message())

    assert isinstance(attempt, TryAgain)
    assert attempt.after is not None
    assert 7 == attempt.after.total_seconds()


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_a_redirect_leads_nowhere(code: int) -> None:
    async with sinking() as elsewhere:
        away = status(code, f"Location: {elsewhere.url(path='/secret?token=x')}")
        async with sinking(away) as sink, telling(sink.url(), secret=SECRET) as destination:
            attempt = await destination.deliver(a_message())

    assert isinstance(attempt, TryAgain)
    assert attempt.reason.startswith("redirects are refused")
    assert attempt.reason.endswith(f"http://127.0.0.1:{elsewhere.port}")
    assert 0 == elsewhere.connections


@pytest.mark.parametrize(
    "location",
    [
        "https://[",
        "https://a:99999/",
        "https://a:x/",
        "http://☃.net/",
        "https://" + "a" * 70_000,
        "//\xff\xfe",
        "javascript:alert(1)",
        "https://user:pass@elsewhere.invalid/?a=b",
        "\x7f",
    ],
)
async def test_a_redirect_to_nonsense_is_tried_again(location: str) -> None:
    async with sinking(status(302, f"Location: {location}")) as sink, telling(sink.url()) as destination:
        attempt = await destination.deliver(a_message())

    assert isinstance(attempt, TryAgain)
    assert attempt.reason.isprintable()
    assert 300 >= len(attempt.reason)
    assert "pass" not in attempt.reason


@pytest.mark.parametrize(("answer", "words"), MISBEHAVING.items(), ids=lambda each: getattr(each, "__name__", ""))
async def test_a_misbehaving_app_costs_its_time_out_at_most_and_is_told_again(answer: Answering, words: str) -> None:
    """More often than it has connections: none of them is lost to it."""
    async with (
        sinking(answer) as sink,
        telling(sink.url(path=f"/hook?{QUERY}"), secret=SECRET, timeout=waited_for(answer)) as destination,
    ):
        async with watching() as watch:
            failed = await told_at_once(destination, [a_message(position) for position in range(40)])
        sink.answer = status(200)
        before = len(sink.told)
        await told_again_until_taken(destination, [a_message(position) for position in range(20)])
        told = len(sink.told) - before

    assert watch.seconds < 3
    assert {TryAgain} == {type(attempt) for attempt in failed}
    reasons = [attempt.reason for attempt in failed if isinstance(attempt, TryAgain)]
    assert any(words in reason for reason in reasons)
    assert told >= 20
    assert all(len(reason) <= 300 and reason.isprintable() for reason in reasons)
    assert not [reason for reason in reasons if QUERY in reason or "v1," in reason]


async def test_a_whole_answer_up_to_the_bound_is_a_delivery_and_one_byte_more_is_none() -> None:
    async with sinking() as sink, telling(sink.url()) as destination:
        sink.answer = status(200, body=b"x" * 65_536)
        within = await destination.deliver(a_message())
        sink.answer = status(200, body=b"x" * 65_537)
        beyond = await destination.deliver(a_message())

    assert Delivered() == within
    assert TryAgain(reason="answered with more than 64 KiB") == beyond


async def test_a_packed_answer_is_never_unpacked() -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    async with (
        sinking(status(200, "content-encoding: gzip", body=bomb)) as sink,
        telling(sink.url()) as destination,
    ):
        attempt = await destination.deliver(a_message())

    assert len(bomb) < 65_536
    assert Delivered() == attempt
    assert "identity" == sink.told[0].headers["accept-encoding"]


async def test_connections_are_kept_and_few() -> None:
    async with sinking() as sink, telling(sink.url()) as destination:
        for position in range(10):
            await destination.deliver(a_message(position))
        one_by_one = sink.connections
        await told_at_once(destination, [a_message(position) for position in range(200)])

    assert 1 == one_by_one
    assert 16 >= sink.connections
    assert 210 == len(sink.told)


async def test_attempts_that_are_cancelled_cost_no_connection() -> None:
    """As the relay does when it stops, or has waited long enough."""
    async with sinking(hangs_at_once) as sink, telling(sink.url()) as destination:
        for _ in range(3):
            attempts = [asyncio.create_task(destination.deliver(a_message(each))) for each in range(16)]
            expected = len(sink.told) + 16
            await until(lambda expected=expected: len(sink.told) >= expected)
            for attempt in attempts:
                attempt.cancel()
            await asyncio.gather(*attempts, return_exceptions=True)
        sink.answer = status(200)

        assert [Delivered()] * 32 == await told_at_once(destination, [a_message(each) for each in range(32)])


async def test_whenever_an_attempt_is_cancelled_its_connection_is_not_lost() -> None:
    """At each turn of the loop once: httpcore forgets a connection that had not begun."""
    async with sinking() as sink, telling(sink.url()) as destination:
        for turns in range(40):
            attempts = [asyncio.create_task(destination.deliver(a_message(number))) for number in range(16)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for attempt in attempts:
                attempt.cancel()
            await asyncio.gather(*attempts, return_exceptions=True)
        delivered = await told_at_once(destination, [a_message(number) for number in range(16)])

    assert [Delivered()] * 16 == delivered


async def test_an_app_that_restarts_is_told_by_the_same_object() -> None:
    port = free_port()
    async with telling(f"http://127.0.0.1:{port}/hook") as destination:
        async with sinking(port=port):
            before = await destination.deliver(a_message())
        meanwhile = await destination.deliver(a_message())
        async with sinking(port=port):
            after = await destination.deliver(a_message())

    assert [Delivered(), Delivered()] == [before, after]
    assert TryAgain(reason="cannot connect to 127.0.0.1: Connection refused") == meanwhile


async def test_its_cookies_do_not_come_back() -> None:
    async with sinking(status(200, "Set-Cookie: who=you; Path=/")) as sink, telling(sink.url()) as destination:
        await destination.deliver(a_message())
        await destination.deliver(a_message())

    assert ["cookie" in told.headers for told in sink.told] == [False, False]


async def test_no_proxy_of_the_environment_comes_between(monkeypatch: pytest.MonkeyPatch) -> None:
    async with sinking(status(502)) as proxy, sinking() as sink:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with telling(sink.url()) as destination:
            attempt = await destination.deliver(a_message())

    assert Delivered() == attempt
    assert 0 == proxy.connections


async def test_closing_while_an_app_hangs_takes_no_time() -> None:
    async with sinking(hangs_at_once) as sink, telling(sink.url()) as destination:
        attempt = asyncio.create_task(destination.deliver(a_message()))
        await until(lambda: bool(sink.told))
        async with watching() as watch:
            await destination.aclose()
        attempt.cancel()
        await asyncio.gather(attempt, return_exceptions=True)

    assert watch.seconds < 1.5


@pytest.mark.parametrize("url", ["https://app.example:99999/", "https://app.example:x/", "https://app.example:0/"])
def test_a_url_with_an_impossible_port_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(ValueError, match="is no https:// or http:// URL"):
        DestinationConfig(name="app", url=url)
