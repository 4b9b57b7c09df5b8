"""The probe meets real servers in every kind of trouble, and says which it was."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from receiver.callback_url import PROBE
from receiver.diagnosis import Finding, Trouble, diagnose
from receiver.outbox.resolving import resolve_by_system
from receiver.probe import Patience, probe
from tests.flows.builders import receiving, sandboxed
from tests.outbox.misbehaving import drips, hangs_at_once, hangs_up, speaks_no_http
from tests.outbox.sinks import Answering, sinking, status
from tests.patience import PATIENCE, free_port

# A busy machine is no trouble of the path: whoever hangs is waited for briefly where it hangs, and nowhere else.
LONG = timedelta(seconds=PATIENCE)
PATIENT = Patience(connected=LONG, answered=LONG, slow=timedelta(seconds=5))
UNCONNECTED = replace(PATIENT, connected=timedelta(milliseconds=300))
UNANSWERED = replace(PATIENT, answered=timedelta(milliseconds=300))
PATH = "/callbacks/kling/probe/a-token"
PROBED = b'{"verdict":"probe"}'
NOW = datetime.now(UTC)

authority = trustme.CA()


def roots() -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def certified(
    *names: str, by: trustme.CA | None = None, not_before: datetime | None = None, not_after: datetime | None = None
) -> ssl.SSLContext:
    """A server's side of TLS, with a certificate for these names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer = authority if by is None else by
    issuer.issue_cert(*names, not_before=not_before, not_after=not_after).configure_cert(context)
    return context


async def found(
    url: str,
    *,
    patience: Patience = PATIENT,
    stopwatch: Callable[[], float] = lambda: 0.0,
    resolve: Callable[[str], Sequence[str]] = resolve_by_system,
    is_private: bool = False,
) -> Finding:
    """What the doctor would say of this URL. Everything here is on loopback, which is not what is looked for."""
    attempt = await probe(url, patience=patience, roots=roots(), resolve=resolve, stopwatch=stopwatch)
    return diagnose(attempt if is_private else replace(attempt, private=()))


async def test_a_receiver_is_known_by_its_verdict(tmp_path: Path) -> None:
    async with sandboxed() as world, receiving(tmp_path, world, "kling") as house:
        finding = await found(house.runtime.journal.callback_url("kling", PROBE))

    assert finding.trouble is None
    assert "is this receiver" in finding.says


async def test_another_receiver_does_not_know_the_token(tmp_path: Path) -> None:
    async with sandboxed() as world, receiving(tmp_path, world, "kling") as house:
        finding = await found(f"{house.url}{PATH}")

    assert Trouble.OTHER_RECEIVER is finding.trouble


async def test_a_receiver_behind_another_path_is_told_from_a_wrong_host(tmp_path: Path) -> None:
    async with sandboxed() as world, receiving(tmp_path, world, "kling") as house:
        finding = await found(f"{house.url}/hooks{PATH}")

    assert Trouble.WRONG_PATH is finding.trouble


async def test_a_receiver_that_is_stopping_is_its_own_trouble(tmp_path: Path) -> None:
    async with sandboxed() as world, receiving(tmp_path, world, "kling") as house:
        house.runtime.is_stopping = True
        finding = await found(house.runtime.journal.callback_url("kling", PROBE))

    assert Trouble.OWN is finding.trouble
    assert "shutting_down" in finding.says


def nobody(_host: str) -> Sequence[str]:
    raise OSError(-2, "Name or service not known")


async def test_a_name_without_an_address() -> None:
    finding = await found(f"https://hooks.example.invalid{PATH}", resolve=nobody)

    assert Trouble.NAME is finding.trouble
    assert "could not be looked up: Name or service not known" in finding.says


async def test_a_name_that_leads_into_a_private_network() -> None:
    async with sinking() as sink:
        finding = await found(sink.url("localhost", path=PATH), is_private=True, resolve=lambda _host: ["127.0.0.1"])

    assert Trouble.PRIVATE is finding.trouble
    assert "127.0.0.1" in finding.says


async def test_a_port_where_nobody_listens() -> None:
    assert Trouble.REFUSED is (await found(f"http://127.0.0.1:{free_port()}{PATH}")).trouble


async def test_an_address_that_refuses_is_passed_over_for_one_that_does_not() -> None:
    async with sinking(status(200, body=PROBED)) as sink:
        finding = await found(sink.url("localhost", path=PATH), resolve=lambda _host: ["127.0.0.2", "127.0.0.1"])

    assert finding.trouble is None


async def test_a_name_that_resolves_to_nothing_has_no_address() -> None:
    assert Trouble.NAME is (await found(f"http://hooks.example.invalid{PATH}", resolve=lambda _host: [])).trouble


async def test_a_port_that_lets_nobody_in() -> None:
    """As behind a firewall that drops: the queue of those who connect is full, and nobody takes them."""
    async with full() as port:
        finding = await found(f"http://127.0.0.1:{port}{PATH}", patience=UNCONNECTED)

    assert Trouble.FIREWALL is finding.trouble


@pytest.mark.parametrize(
    ("tls", "trouble"),
    [
        (certified("localhost", not_before=NOW - timedelta(9), not_after=NOW - timedelta(2)), Trouble.EXPIRED),
        (certified("www.example.com"), Trouble.OTHER_NAME),
        (certified("localhost", by=trustme.CA()), Trouble.UNTRUSTED),
    ],
    ids=["expired", "another name", "unknown authority"],
)
async def test_a_certificate_that_providers_refuse(tls: ssl.SSLContext, trouble: Trouble) -> None:
    async with sinking(status(200, body=PROBED), tls=tls) as sink:
        finding = await found(sink.url("localhost", scheme="https", path=PATH))

    assert trouble is finding.trouble
    assert [] == sink.told


async def test_a_certificate_for_another_address() -> None:
    async with sinking(status(200, body=PROBED), tls=certified("127.0.0.2")) as sink:
        assert Trouble.OTHER_NAME is (await found(sink.url(scheme="https", path=PATH))).trouble


async def test_a_certificate_that_is_good() -> None:
    async with sinking(status(200, body=PROBED), tls=certified("localhost")) as sink:
        assert (await found(sink.url("localhost", scheme="https", path=PATH))).trouble is None


async def test_a_port_without_tls_behind_https() -> None:
    server = await asyncio.start_server(_answers_whatever_comes, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        finding = await found(f"https://127.0.0.1:{port}{PATH}")

    assert Trouble.TLS is finding.trouble


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        (status(301, "location: https://127.0.0.1/callbacks"), Trouble.REDIRECT),
        (status(308, f"location: {PATH}/"), Trouble.REDIRECT),
        (status(404, body=b"<h1>Not Found</h1>"), Trouble.WRONG_HOST),
        (status(200, body=b"<title>You are about to visit a tunnel</title>"), Trouble.WRONG_HOST),
        (status(401, 'www-authenticate: Basic realm="staging"'), Trouble.LOGIN),
        (status(403, body=b"Attention Required! | Cloudflare"), Trouble.FILTERED),
        (status(502, body=b"Bad Gateway"), Trouble.NOTHING_BEHIND),
        (hangs_up, Trouble.NO_HTTP),
        (speaks_no_http, Trouble.NO_HTTP),
    ],
    ids=["https", "slash", "another site", "interstitial", "login", "waf", "gateway", "hangs up", "no http"],
)
async def test_what_answers_is_not_this_receiver(answer: Answering, trouble: Trouble) -> None:
    async with sinking(answer) as sink:
        finding = await found(sink.url(path=PATH))

    assert trouble is finding.trouble
    assert "a-token" not in finding.says
    assert "POST" == sink.told[0].line.partition(" ")[0]
    assert "application/json" == sink.told[0].headers["content-type"]


@pytest.mark.parametrize("answer", [hangs_at_once, drips])
async def test_a_server_that_takes_connections_and_never_ends_its_answer(answer: Answering) -> None:
    async with sinking(answer) as sink:
        assert Trouble.HANGS is (await found(sink.url(path=PATH), patience=UNANSWERED)).trouble


async def test_a_server_that_must_be_woken_is_told_from_a_slow_one() -> None:
    seconds = [0.0, 5.0, 5.0, 5.1, 10.0, 15.0, 15.0, 20.0]  # as each answer is waited for, and has come
    async with sinking(status(200, body=PROBED)) as sink:
        waking = await found(sink.url(path=PATH), stopwatch=iter(seconds[:4]).__next__)
        slow = await found(sink.url(path=PATH), stopwatch=iter(seconds[4:]).__next__)

    assert Trouble.COLD_START is waking.trouble
    assert Trouble.SLOW is slow.trouble


async def _answers_whatever_comes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
    writer.close()


@asynccontextmanager
async def full() -> AsyncIterator[int]:
    """A port whose queue of connections is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as waiting:
        for _ in range(4):
            each = waiting.enter_context(socket.socket())
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
