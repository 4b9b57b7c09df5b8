"""One signed POST an attempt, to an address of an origin that was checked: what all webhooks out have in common."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from receiver.outbox.addresses import Address, why_not_public
from receiver.outbox.answers import MAX_ANSWER_BYTES, TOO_LONG, AnswerHead, attempt_of, try_again
from receiver.outbox.destination import Attempt, Delivered
from receiver.outbox.resolving import Resolve, Resolving, Unresolved
from submitter.closing import Closing
from submitter.moments import Moment
from submitter.signatures import sign

# httpx looks at every connection of a pool before and after each request, and asks the system about the idle ones: as
# many pools of one connection each take half the CPU.
_LIMITS = httpx.Limits(
    max_connections=1,
    max_keepalive_connections=1,
    keepalive_expiry=4,  # seconds: many servers close after five, and a request sent just then is lost
)
CONNECT_WITHIN = timedelta(seconds=5)  # and half the attempt at most, so that there is time for an answer
CLOSE_WITHIN = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How an origin is posted to: as what, for how long, and `at_once` at a time.

    `why_private` says of host and address why nothing is sent to one that is not public, for the reason that it is
    given; None where any will do.
    """

    content_type: str
    timeout: timedelta
    at_once: int
    why_private: Callable[[str, Address, str], str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """What is posted. `id` is the same at each attempt; the secrets sign it, each for itself."""

    url: httpx.URL
    id: str
    body: bytes
    secrets: Sequence[str]


class Origin(Closing):
    """Scheme, host and port of URLs that are posted to, with its connections."""

    def __init__(
        self, url: httpx.URL, rules: Rules, *, clock: Callable[[], Moment], resolve: Resolve, roots: ssl.SSLContext
    ) -> None:
        """`url` is any URL there; `roots` is whom TLS trusts."""
        self._under_way = 0
        self._host = url.raw_host.decode("ascii")
        self._rules = rules
        self._clock = clock
        self._resolving = Resolving(self._host, resolve=resolve, clock=clock)
        self._new_client = partial(_client, url, rules, roots)
        self._clients = {self._new_client() for _ in range(rules.at_once)}
        # Who was used last is used next: the others' connections end, where few are needed.
        self._idle: asyncio.LifoQueue[httpx.AsyncClient] = asyncio.LifoQueue()
        for client in self._clients:
            self._idle.put_nowait(client)

    @property
    def is_busy(self) -> bool:
        """Whether anything is under way to it."""
        return self._under_way > 0

    async def post(self, letter: Letter) -> Attempt:
        """One POST, within the time-out. Delivered is a 2xx whose body came to its end."""
        self._under_way += 1
        try:
            async with asyncio.timeout(self._rules.timeout.total_seconds()):
                return await self._attempt(letter)
        except TimeoutError:
            return try_again(f"no whole answer within {self._rules.timeout.total_seconds():g} s")
        finally:
            self._under_way -= 1

    async def aclose(self) -> None:
        """Close the kept connections."""
        await asyncio.gather(*map(_closed, self._clients))

    async def _attempt(self, letter: Letter) -> Attempt:
        try:
            addresses = await self._resolving.addresses()
        except Unresolved as error:
            return try_again(str(error))
        if refusal := _refusal(self._host, addresses, self._rules):
            return try_again(refusal)
        address = addresses[0]
        client = await self._idle.get()
        try:
            return await self._post(client, letter, address)
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

    async def _post(self, client: httpx.AsyncClient, letter: Letter, address: Address) -> Attempt:
        now = self._clock()
        async with client.stream(
            "POST",
            letter.url.copy_with(host=str(address)),
            content=letter.body,
            headers=_signed(letter, now),
            extensions={"sni_hostname": self._host.removesuffix(".")},  # TLS asks for the name, not for the address
        ) as response:
            attempt = attempt_of(_head(response), now=now)
            if isinstance(attempt, Delivered) and not await _ends(response):
                return TOO_LONG
            return attempt


def _signed(letter: Letter, now: Moment) -> dict[str, str]:
    """Standard Webhooks: one signature for each secret, so that an app may change its own at any moment."""
    headers = {"webhook-id": letter.id, "webhook-timestamp": str(now // 1000)}
    if letter.secrets:
        headers["webhook-signature"] = " ".join(
            sign(secret, message_id=letter.id, sent_at=now, body=letter.body) for secret in letter.secrets
        )
    return headers


async def _closed(client: httpx.AsyncClient) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_WITHIN.total_seconds()):
            await client.aclose()


def _client(url: httpx.URL, rules: Rules, roots: ssl.SSLContext) -> httpx.AsyncClient:
    connect = min(CONNECT_WITHIN, rules.timeout / 2).total_seconds()
    return httpx.AsyncClient(
        verify=roots,
        trust_env=False,  # a proxy would look the name up again, and connect where it likes
        follow_redirects=False,
        timeout=httpx.Timeout(None, connect=connect),  # the attempt as a whole has its own
        limits=_LIMITS,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # an app's cookies are not kept
        headers={
            "Host": url.netloc.decode("ascii"),
            "Content-Type": rules.content_type,
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


def _refusal(host: str, addresses: Iterable[Address], rules: Rules) -> str | None:
    """Why nothing is sent there: one private address among public ones is one too many."""
    if rules.why_private is None:
        return None
    for address in addresses:
        if why := why_not_public(address):
            return rules.why_private(host, address, why)
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
