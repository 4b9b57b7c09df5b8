"""One post to a callback URL, as a provider would make it, and what became of it."""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from urllib.parse import SplitResult, urlsplit

import httpx

from receiver.diagnosis import Answered, Attempt, Failure
from receiver.outbox.addresses import why_not_public
from receiver.outbox.resolving import Resolve, Resolving, Unresolved
from submitter.submit import system_clock

READ_AT_MOST = 4_096
TRIES = 4  # addresses of a name
_HEADERS = {"Content-Type": "application/json", "User-Agent": "hookledger"}
BODY = b'{"task_id":"probe","task_status":"processing"}'  # what a callback looks like (wire.md §4)
_OTHER_NAME = frozenset({62, 64})  # OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and IP_ADDRESS_MISMATCH
_NOT_TODAY = frozenset({9, 10})  # …CERT_NOT_YET_VALID and CERT_HAS_EXPIRED
_UNTRUSTED = frozenset({18, 19, 20, 21})  # …self-signed, alone or in its chain, and an issuer that is not known


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long each step may take, and after how long an answer counts as slow.

    How long providers wait is published nowhere (wire.md §4); others of their kind take five seconds.
    """

    connected: timedelta = timedelta(seconds=10)
    answered: timedelta = timedelta(seconds=30)
    slow: timedelta = timedelta(seconds=5)


async def probe(
    url: str, *, patience: Patience, roots: ssl.SSLContext, resolve: Resolve, stopwatch: Callable[[], float]
) -> Attempt:
    """Resolve, connect, greet, post. `stopwatch` shows seconds: whether an answer is slow is told by it."""
    parts = urlsplit(url)
    attempt = Attempt(url=url)
    try:
        addresses = await Resolving(parts.hostname or "", resolve=resolve, clock=system_clock).addresses()
    except Unresolved as error:
        return replace(attempt, failure=Failure.UNRESOLVED, detail=str(error))
    private = [str(each) for each in addresses if why_not_public(each) is not None]
    attempt = replace(attempt, addresses=tuple(map(str, addresses)), private=tuple(private))
    failure, detail = await _greet(parts, attempt.addresses[:TRIES], patience, roots)
    if failure is not None:
        return replace(attempt, failure=failure, detail=detail)
    return await _post(attempt, patience, roots, stopwatch)


async def _greet(
    parts: SplitResult, addresses: Sequence[str], patience: Patience, roots: ssl.SSLContext
) -> tuple[Failure | None, str]:
    """Connect, and speak TLS where the URL says so: apart from the post, so that each kind of failure has its name."""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    within = patience.connected.total_seconds()
    try:
        writer = await _connected(addresses, port, within=within)
    except (TimeoutError, OSError) as error:
        return _of_connecting(error)
    try:
        if parts.scheme == "https":
            async with asyncio.timeout(within):
                await writer.start_tls(roots, server_hostname=parts.hostname)
    except ssl.SSLCertVerificationError as error:
        return _of_certificate(error), error.verify_message
    except (TimeoutError, OSError) as error:
        return Failure.NO_TLS, _words(error)
    finally:
        writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                await writer.wait_closed()
    return None, ""


async def _connected(addresses: Sequence[str], port: int, *, within: float) -> asyncio.StreamWriter:
    """To the first that takes us, as clients do: many a name has an address of IPv6 that nobody listens at."""
    *others, last = addresses
    for address in others:
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(within):
                return (await asyncio.open_connection(address, port))[1]
    async with asyncio.timeout(within):
        return (await asyncio.open_connection(last, port))[1]


def _of_connecting(error: OSError | TimeoutError) -> tuple[Failure, str]:
    if isinstance(error, ConnectionRefusedError):
        return Failure.REFUSED, ""
    if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        return Failure.NO_CONNECTION, ""
    return Failure.UNREACHABLE, _words(error)


def _of_certificate(error: ssl.SSLCertVerificationError) -> Failure:
    if error.verify_code in _OTHER_NAME:
        return Failure.CERTIFICATE_OF_ANOTHER
    if error.verify_code in _NOT_TODAY:
        return Failure.CERTIFICATE_EXPIRED
    return Failure.CERTIFICATE_UNTRUSTED if error.verify_code in _UNTRUSTED else Failure.NO_TLS


async def _post(attempt: Attempt, patience: Patience, roots: ssl.SSLContext, stopwatch: Callable[[], float]) -> Attempt:
    """The post itself; once more at once where it was slow, to tell who wakes up from who is slow."""
    try:
        first = await _posted(attempt.url, patience, roots, stopwatch)
        if first.took >= patience.slow and first.status == 200:
            first = replace(first, again=(await _posted(attempt.url, patience, roots, stopwatch)).took)
    except (httpx.TimeoutException, TimeoutError):
        return replace(
            attempt, failure=Failure.NO_ANSWER, detail=f"nothing within {patience.answered.total_seconds():g} s"
        )
    except httpx.HTTPError as error:
        return replace(attempt, failure=Failure.NO_HTTP, detail=_words(error))
    return replace(attempt, answered=first)


async def _posted(url: str, patience: Patience, roots: ssl.SSLContext, stopwatch: Callable[[], float]) -> Answered:
    began = stopwatch()
    async with (
        asyncio.timeout(patience.answered.total_seconds()),
        httpx.AsyncClient(verify=roots, trust_env=False, follow_redirects=False, timeout=None) as http,  # noqa: S113
        http.stream("POST", url, content=BODY, headers=_HEADERS) as response,
    ):
        body = b""
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) >= READ_AT_MOST:
                break
        return Answered(
            status=response.status_code,
            took=timedelta(seconds=stopwatch() - began),
            body=body[:READ_AT_MOST],
            location=response.headers.get("Location", ""),
        )


def _words(error: BaseException) -> str:
    """The system's own words, without what they are about."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
