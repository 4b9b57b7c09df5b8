"""Webhooks over TLS: the name is verified, though the address is what is connected to."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence

import pytest
import trustme

from receiver.outbox.destination import Delivered, TryAgain
from tests.outbox.builders import Names, a_message, telling
from tests.outbox.sinks import sinking


class Authority:
    """A certificate authority of a test's own."""

    def __init__(self) -> None:
        self._ca = trustme.CA()
        self.roots = ssl.create_default_context()
        self._ca.configure_trust(self.roots)
        self.asked_for: list[str | None] = []

    def server(self, *names: str) -> ssl.SSLContext:
        """A server's side, with a certificate for these names; it notes which one it is asked for."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*names).configure_cert(context)
        context.sni_callback = lambda _socket, name, _context: self.asked_for.append(name)
        return context


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


async def test_the_name_is_verified_at_the_address_that_was_checked(authority: Authority) -> None:
    names = Names(app_invalid=["127.0.0.1"])
    async with (
        sinking(tls=authority.server("app.invalid")) as sink,
        telling(sink.url("app.invalid", scheme="https"), resolve=names, roots=authority.roots) as app,
    ):
        attempts = [await app.deliver(a_message()) for _ in range(3)]

    assert [Delivered()] * 3 == attempts
    assert "app.invalid" == authority.asked_for[-1]
    assert f"app.invalid:{sink.port}" == sink.told[0].headers["host"]
    assert 1 == sink.connections


async def test_a_name_with_a_dot_at_its_end_is_the_same_name(authority: Authority) -> None:
    names = Names()
    names.known["app.invalid."] = ["127.0.0.1"]
    async with (
        sinking(tls=authority.server("app.invalid")) as sink,
        telling(sink.url("app.invalid.", scheme="https"), resolve=names, roots=authority.roots) as app,
    ):
        assert Delivered() == await app.deliver(a_message())


async def test_an_address_in_the_url_is_verified_as_one(authority: Authority) -> None:
    async with (
        sinking(tls=authority.server("127.0.0.1")) as sink,
        telling(sink.url("127.0.0.1", scheme="https"), roots=authority.roots) as app,
    ):
        assert Delivered() == await app.deliver(a_message())


@pytest.mark.parametrize("certified", [["other.invalid"], ["127.0.0.1"], ["sub.app.invalid", "*.invalid.example"]])
async def test_a_certificate_for_another_name_is_refused(authority: Authority, certified: Sequence[str]) -> None:
    """One for the address too: it is not what was asked for."""
    names = Names(app_invalid=["127.0.0.1"])
    async with (
        sinking(tls=authority.server(*certified)) as sink,
        telling(sink.url("app.invalid", scheme="https"), resolve=names, roots=authority.roots) as app,
    ):
        attempt = await app.deliver(a_message())

    assert isinstance(attempt, TryAgain)
    assert attempt.reason.startswith("cannot connect to 127.0.0.1: its certificate is refused: Hostname mismatch")
    assert [] == sink.told


async def test_a_certificate_of_an_unknown_authority_is_refused(authority: Authority) -> None:
    names = Names(app_invalid=["127.0.0.1"])
    async with (
        sinking(tls=authority.server("app.invalid")) as sink,
        telling(sink.url("app.invalid", scheme="https"), resolve=names, roots=Authority().roots) as app,
    ):
        attempt = await app.deliver(a_message())

    assert isinstance(attempt, TryAgain)
    assert "its certificate is refused" in attempt.reason
    assert [] == sink.told


async def test_after_a_server_that_hangs_in_its_handshake_the_next_address_is_taken(authority: Authority) -> None:
    """It was accepted, and so the system calls it connected."""
    names = Names(app_invalid=["127.0.0.2", "127.0.0.1"])
    async with (
        sinking(tls=authority.server("app.invalid")) as sink,
        sinking(host="127.0.0.2", port=sink.port) as without_tls,
        telling(sink.url("app.invalid", scheme="https"), resolve=names, roots=authority.roots, timeout="6s") as app,
    ):
        first = await app.deliver(a_message())
        second = await app.deliver(a_message())

    assert TryAgain(reason="cannot connect to 127.0.0.2: it does not answer") == first
    assert Delivered() == second
    assert (1, 1) == (without_tls.connections, sink.connections)


async def test_a_server_that_answers_without_tls_is_a_failure_with_its_reason(authority: Authority) -> None:
    server = await asyncio.start_server(_answers_whatever_comes, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, telling(f"https://127.0.0.1:{port}/hook", roots=authority.roots) as app:
        attempt = await app.deliver(a_message())

    assert TryAgain(reason="cannot connect to 127.0.0.1: TLS failed: WRONG_VERSION_NUMBER") == attempt


async def _answers_whatever_comes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
    writer.close()
