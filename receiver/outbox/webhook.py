"""Webhooks out: one signed POST an attempt, to an address that was checked."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from receiver.configdestinations import DestinationConfig
from receiver.outbox.addresses import Address, why_not_public
from receiver.outbox.answers import MAX_ANSWER_BYTES, TOO_LONG, AnswerHead, attempt_of, try_again
from receiver.outbox.destination import Attempt, Delivered
from receiver.outbox.message import CONTENT_TYPE, Message
from receiver.outbox.resolving import Resolve, Resolving, Unresolved
from submitter.closing import Closing
from submitter.moments import Moment
from submitter.signatures import sign

_AT_ONCE = 16  # as many as the relay tells
# httpx looks at every connection of a pool before and after each request, and asks the system about the idle ones: as
# many pools of one connection each take half the CPU.
_LIMITS = httpx.Limits(
    max_connections=1,
    max_keepalive_connections=1,
    keepalive_expiry=4,  # seconds: many servers close after five, and a request sent just then is lost
)
CONNECT_WITHIN = timedelta(seconds=5)  # and half the attempt at most, so that there is time for an answer
CLOSE_WITHIN = timedelta(seconds=1)


class WebhookDestination(Closing):
    """An app's URL. It is told nothing unless every address its name has is public, or it is `private`."""

    def __init__(
        self, config: DestinationConfig, *, clock: Callable[[], Moment], resolve: Resolve, roots: ssl.SSLContext
    ) -> None:
        """`roots` is whom TLS trusts. Raises ValueError where `config.url` cannot be sent to."""
        self._url = _url(config)
        self._host = self._url.raw_host.decode("ascii")
        self._is_private = config.private
        self._timeout = config.timeout
        self._secrets = [each.get_secret_value() for each in (config.secret, *config.previous_secrets) if each]
        self._clock = clock
        self._resolving = Resolving(self._host, resolve=resolve, clock=clock)
        self._new_client = partial(_client, self._url, config.timeout, roots)
        self._clients = {self._new_client() for _ in range(_AT_ONCE)}
        # Who was used last is used next: the others' connections end, where few are needed.
        self._idle: asyncio.LifoQueue[httpx.AsyncClient] = asyncio.LifoQueue()
        for client in self._clients:
            self._idle.put_nowait(client)

    async def deliver(self, message: Message) -> Attempt:
        """One POST, within the destination's time-out. Delivered is a 2xx whose body came to its end."""
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                return await self._attempt(message)
        except TimeoutError:
            return try_again(f"no whole answer within {self._timeout.total_seconds():g} s")

    async def aclose(self) -> None:
        """Close the kept connections."""
        await asyncio.gather(*map(_closed, self._clients))

    async def _attempt(self, message: Message) -> Attempt:
        try:
            addresses = await self._resolving.addresses()
        except Unresolved as error:
            return try_again(str(error))
        if not self._is_private and (refusal := _refusal(self._host, addresses)):
            return try_again(refusal)
        address = addresses[0]
        client = await self._idle.get()
        try:
            return await self._post(client, message, address)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            self._resolving.put_last(address)
            return try_again(f"cannot connect to {address}: {_why_unconnected(error)}")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return try_again(_why_broken(error))
        except asyncio.CancelledError:
            client = await self._in_place_of(client)
            raise
        finally:
            self._idle.put_nowait(client)

    async def _in_place_of(self, client: httpx.AsyncClient) -> httpx.AsyncClient:
        """Another one: cancelled just before its first byte, httpcore leaves a connection in the pool for good."""
        self._clients.discard(client)
        another = self._new_client()
        self._clients.add(another)
        await _closed(client)
        return another

    async def _post(self, client: httpx.AsyncClient, message: Message, address: Address) -> Attempt:
        now = self._clock()
        async with client.stream(
            "POST",
            self._url.copy_with(host=str(address)),
            content=message.body,
            headers=self._signed(message, now),
            extensions={"sni_hostname": self._host.removesuffix(".")},  # TLS asks for the name, not for the address
        ) as response:
            attempt = attempt_of(_head(response), now=now)
            if isinstance(attempt, Delivered) and not await _ends(response):
                return TOO_LONG
            return attempt

    def _signed(self, message: Message, now: Moment) -> dict[str, str]:
        """Standard Webhooks: one signature for each secret, so that an app may change its own at any moment."""
        headers = {"webhook-id": message.id, "webhook-timestamp": str(now // 1000)}
        if self._secrets:
            headers["webhook-signature"] = " ".join(
                sign(secret, message_id=message.id, sent_at=now, body=message.body) for secret in self._secrets
            )
        return headers


async def _closed(client: httpx.AsyncClient) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_WITHIN.total_seconds()):
            await client.aclose()


def _url(config: DestinationConfig) -> httpx.URL:
    try:
        return httpx.URL(config.url)
    except httpx.InvalidURL as error:
        raise ValueError(f"destination {config.name}: its url cannot be sent to: {error}") from error


def _client(url: httpx.URL, timeout: timedelta, roots: ssl.SSLContext) -> httpx.AsyncClient:
    connect = min(CONNECT_WITHIN, timeout / 2).total_seconds()
    return httpx.AsyncClient(
        verify=roots,
        trust_env=False,  # a proxy would look the name up again, and connect where it likes
        follow_redirects=False,
        timeout=httpx.Timeout(None, connect=connect),  # the attempt as a whole has its own
        limits=_LIMITS,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # an app's cookies are not kept
        headers={
            "Host": url.netloc.decode("ascii"),
            "Content-Type": CONTENT_TYPE,
            "User-Agent": _user_agent(),
            "Accept": "*/*",
            "Accept-Encoding": "identity",
        },
    )


def _user_agent() -> str:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - reads mail headers, and so loads much

    try:
        return f"hookledger/{version('hookledger')}"
    except PackageNotFoundError:  # run from a checkout, as platforms do
        return "hookledger"


def _refusal(host: str, addresses: Iterable[Address]) -> str | None:
    """Why nothing is sent there: one private address among public ones is one too many."""
    for address in addresses:
        if why := why_not_public(address):
            where = f"{host} is {address}" if host != str(address) else host
            return f"{where}, which is not public ({why}): set private = true if it is meant to be told there"
    return None


def _head(response: httpx.Response) -> AnswerHead:
    headers = response.headers
    return AnswerHead(
        status=response.status_code,
        location=headers.get("location", ""),
        retry_after=headers.get("retry-after", ""),
        date=headers.get("date", ""),
    )


async def _ends(response: httpx.Response) -> bool:
    """Whether the body comes to its end within the bound. It is counted as it came, never unpacked."""
    size = 0
    async for chunk in response.aiter_raw():
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            return False
    return True


def _why_unconnected(error: httpx.TransportError) -> str:
    """The system's or TLS' own words, which lie at the bottom of a chain of wrappers."""
    if isinstance(error, httpx.ConnectTimeout):
        return "it does not answer"
    cause: BaseException = error
    while (deeper := cause.__cause__ or cause.__context__) is not None:
        cause = deeper
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed: {cause.reason or type(cause).__name__}"
    if isinstance(cause, OSError) and cause.errno is not None and cause.errno > 0:
        return os.strerror(cause.errno)
    return type(cause).__name__


def _why_broken(error: Exception) -> str:
    """In our words: the library's quote what the other side sent, which may be what we sent it."""
    match error:
        case httpx.RemoteProtocolError() if _is_hangup(error):
            return "hung up before its answer was whole"
        case httpx.RemoteProtocolError() | httpx.InvalidURL():  # the latter where it redirects to
            return "what it answered is no HTTP"
        case httpx.NetworkError():
            return "the connection broke before its answer was whole"
        case _:
            return f"it could not be sent: {type(error).__name__}"


def _is_hangup(error: httpx.RemoteProtocolError) -> bool:
    words = str(error)
    return words.startswith(("Server disconnected", "peer closed connection"))
