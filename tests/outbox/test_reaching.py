"""Whom a webhook reaches: only addresses that were checked, whatever the name says later."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Sequence
from ipaddress import ip_address

import pytest

from receiver.outbox.destination import Delivered, TryAgain
from receiver.outbox.resolving import resolve_by_system
from submitter.moments import Moment
from tests.outbox.builders import Names, a_message, telling
from tests.outbox.sinks import sinking
from tests.patience import PATIENCE, watching

START: Moment = 1_795_168_800_000
MINUTE = 60_000


class Standing:
    """A clock that stands where a test puts it."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> Moment:
        return self.now


@pytest.mark.parametrize(
    "found",
    [
        ["127.0.0.1"],
        ["93.184.216.34", "127.0.0.1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["::1"],
        ["fe80::1%lo"],
    ],
)
async def test_a_name_with_a_private_address_is_told_nothing(found: Sequence[str]) -> None:
    """Among public ones too: whoever answers for the name chooses which one is next."""
    async with (
        sinking() as sink,
        telling(sink.url("app.example", scheme="https"), private=False, resolve=Names(app_example=found)) as app,
    ):
        attempt = await app.deliver(a_message())

    assert isinstance(attempt, TryAgain)
    assert attempt.reason.startswith(f"app.example is {ip_address(found[-1])}, which is not public")
    assert "private = true" in attempt.reason
    assert 0 == sink.connections


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "0.0.0.0"])
async def test_a_private_address_in_the_url_is_told_nothing(host: str) -> None:
    async with sinking() as sink, telling(sink.url(host, scheme="https"), private=False) as app:
        attempt = await app.deliver(a_message())

    assert isinstance(attempt, TryAgain)
    assert "not public" in attempt.reason
    assert 0 == sink.connections


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1"])
async def test_an_address_in_odd_clothes_is_judged_as_what_the_system_makes_of_it(host: str) -> None:
    async with (
        sinking() as sink,
        telling(sink.url(host, scheme="https"), private=False, resolve=resolve_by_system) as app,
    ):
        attempt = await app.deliver(a_message())

    assert isinstance(attempt, TryAgain)
    assert "127.0.0.1, which is not public" in attempt.reason
    assert 0 == sink.connections


async def test_the_checked_address_is_connected_to_and_the_name_is_only_said() -> None:
    """No other resolver knows this name."""
    names = Names(app_invalid=["127.0.0.1"])
    async with sinking() as sink, telling(sink.url("app.invalid"), resolve=names) as app:
        attempt = await app.deliver(a_message())

    assert Delivered() == attempt
    assert f"app.invalid:{sink.port}" == sink.told[0].headers["host"]


async def test_an_ipv6_address_is_connected_to() -> None:
    if not _has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    names = Names(app_invalid=["::1"])
    async with sinking(host="::1") as sink, telling(sink.url("app.invalid"), resolve=names) as app:
        by_name = await app.deliver(a_message())
    async with sinking(host="::1") as sink, telling(sink.url("[::1]")) as app:
        by_address = await app.deliver(a_message())

    assert [Delivered(), Delivered()] == [by_name, by_address]
    assert f"[::1]:{sink.port}" == sink.told[0].headers["host"]


async def test_a_name_that_changes_its_mind_is_not_asked_again_within_a_minute() -> None:
    clock, names = Standing(), Names(app_invalid=["127.0.0.1"])
    async with (
        sinking() as checked,
        sinking(host="127.0.0.2", port=checked.port) as rebound,
        telling(checked.url("app.invalid"), resolve=names, clock=clock) as app,
    ):
        await app.deliver(a_message(1))
        names.known["app.invalid"] = ["127.0.0.2"]
        clock.now += MINUTE - 1
        await app.deliver(a_message(2))
        within = (len(checked.told), len(rebound.told), len(names.asked))
        clock.now += 1
        await app.deliver(a_message(3))
        after = (len(checked.told), len(rebound.told), len(names.asked))

    assert (2, 0, 1) == within
    assert (2, 1, 2) == after


async def test_a_name_that_turns_private_is_told_nothing_more() -> None:
    names = Names(app_invalid=[])
    async with sinking() as sink, telling(sink.url("app.invalid", scheme="https"), private=False, resolve=names) as app:
        nowhere = await app.deliver(a_message())
        names.known["app.invalid"] = ["127.0.0.1"]
        turned = await app.deliver(a_message())

    assert TryAgain(reason="app.invalid could not be looked up: it has no address") == nowhere
    assert isinstance(turned, TryAgain)
    assert "not public" in turned.reason
    assert 0 == sink.connections


async def test_after_an_address_that_cannot_be_connected_to_the_next_is_taken() -> None:
    """And still after the name was looked up anew: its order is the same then."""
    clock, names = Standing(), Names(app_invalid=["127.0.0.2", "127.0.0.1"])
    async with sinking() as sink, telling(sink.url("app.invalid"), resolve=names, clock=clock) as app:
        first = await app.deliver(a_message())
        second = await app.deliver(a_message())
        clock.now += 2 * MINUTE
        third = await app.deliver(a_message())

    assert TryAgain(reason="cannot connect to 127.0.0.2: Connection refused") == first
    assert [Delivered(), Delivered()] == [second, third]
    assert 2 == len(names.asked)


async def test_an_unknown_name_is_tried_again_and_said() -> None:
    async with telling("https://unknown.invalid/") as app:
        attempt = await app.deliver(a_message())

    assert TryAgain(reason="unknown.invalid could not be looked up: Name or service not known") == attempt


async def test_a_name_no_dns_could_hold_is_tried_again_and_said() -> None:
    name = "a" * 70 + ".invalid"
    async with telling(f"https://{name}/", resolve=resolve_by_system) as app:
        attempt = await app.deliver(a_message())

    assert isinstance(attempt, TryAgain)
    assert attempt.reason.startswith(f"{name} could not be looked up")


async def test_the_systems_resolver_knows_this_machine() -> None:
    async with sinking() as sink, telling(sink.url("localhost"), resolve=resolve_by_system) as app:
        attempts = [await app.deliver(a_message()) for _ in range(2)]

    assert Delivered() in attempts  # ::1 may come first, where nobody listens


async def test_a_resolver_that_hangs_costs_one_thread_and_each_attempt_its_time_out() -> None:
    awake, asked = threading.Event(), []

    def hanging(host: str) -> Sequence[str]:
        asked.append(threading.get_ident())
        awake.wait(PATIENCE)
        return ["127.0.0.1"]

    async with sinking() as sink, telling(sink.url("app.invalid"), resolve=hanging, timeout="100ms") as app:
        async with watching() as watch:
            attempts = await asyncio.gather(*(app.deliver(a_message(position)) for position in range(30)))
            attempts += await asyncio.gather(*(app.deliver(a_message(position)) for position in range(30)))
        threads = [each for each in threading.enumerate() if each.name == "look-up of app.invalid"]
        awake.set()
        async with asyncio.timeout(PATIENCE):
            while (attempt := await app.deliver(a_message())) != Delivered():
                pass

    assert [TryAgain(reason="no whole answer within 0.1 s")] * 60 == attempts
    assert watch.seconds < 2
    assert 1 == len(threads)
    assert 1 == len(asked)
    assert Delivered() == attempt


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False
