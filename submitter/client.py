"""The only file that talks HTTP to a provider: sends what a dialect described, and says what became of it."""

from __future__ import annotations

import asyncio
import functools
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

import httpx

from submitter.closing import Closing
from submitter.errors import Deferred, Refusal, Refused, SubmitterError, Unanswered
from submitter.moments import Moment
from submitter.providers import Call, Provider, provider_for
from submitter.request import Endpoint, ImageRequest
from submitter.retryafter import moment_of, pause_asked
from submitter.settings import ProviderSettings

MAX_ANSWER_BYTES = 8 * 1024 * 1024  # a list page of 500 tasks with nine images each is about 2 MiB
MAX_PAUSE = timedelta(hours=1)  # a longer Retry-After is taken as this
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a provider answered, unread. `retry_after` is its header, where it made sense."""

    http_status: int
    body: bytes
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A provider's answer to a request that was passed on: for whoever asked, and not for us."""

    http_status: int
    body: bytes
    content_type: str | None
    retry_after: str | None


class ProviderClient(Closing):
    """One account, over HTTP. Redirects are not followed, answers are bounded, each call has a time-out.

    A create goes out on a connection of its own: one kept from earlier may be half closed, and a create
    lost on it would count as unanswered. Queries share kept connections, for asking again costs nothing.
    """

    def __init__(self, name: str, settings: ProviderSettings, *, clock: Callable[[], Moment]) -> None:
        self.provider: Provider = provider_for(name, settings)
        self._settings = settings
        self._clock = clock
        self._creates = _http(settings, httpx.Limits(max_connections=256, max_keepalive_connections=0))
        self._queries = _http(settings, httpx.Limits(max_connections=32, max_keepalive_connections=8))

    async def aclose(self) -> None:
        """Close the kept connections."""
        await self._creates.aclose()
        await self._queries.aclose()

    async def create(self, request: ImageRequest, *, external_task_id: str, callback_url: str) -> Answer:
        """Send the create. Raises InvalidRequest (not sent), Deferred (never left) or Unanswered."""
        call = self.provider.create_call(request, external_task_id=external_task_id, callback_url=callback_url)
        return await self._send(self._creates, call)

    async def query(self, *, endpoint: Endpoint, provider_task_id: str | None, external_task_id: str) -> Answer:
        """Ask about one task. Raises ValueError where it cannot be asked about, Deferred or Unanswered."""
        call = self.provider.query_call(
            endpoint=endpoint, provider_task_id=provider_task_id, external_task_id=external_task_id
        )
        return await self._send(self._queries, call)

    async def list_page(self, *, endpoint: Endpoint, page: int, page_size: int) -> Answer:
        """One page of the account's tasks. Raises ValueError where there is no list, Deferred or Unanswered."""
        call = self.provider.list_call(endpoint=endpoint, page=page, page_size=page_size)
        return await self._send(self._queries, call)

    async def pass_on(self, method: str, target: str, *, headers: Mapping[str, str], body: bytes) -> Passed:
        """Somebody else's request as it is, with the account's credentials; `target` is a path that stays below ours.

        Raises Deferred (it never left) or Unanswered.
        """
        signed = self.provider.authorize(Call(method="GET", path=target), now=self._clock())
        url = self._settings.origin + target
        http = self._queries if method == "GET" else self._creates
        content = body or None
        async with (
            self._reaching(http),
            http.stream(method, url, headers={**headers, **signed.headers}, content=content) as response,
        ):
            return Passed(
                http_status=response.status_code,
                body=await _bounded_body(response),
                content_type=response.headers.get("Content-Type"),
                retry_after=response.headers.get("Retry-After"),
            )

    async def batch(self, provider_task_ids: Sequence[str]) -> Answer:
        """Several tasks by their ids. Raises ValueError where they cannot be asked about, Deferred or Unanswered."""
        return await self._send(self._queries, self.provider.batch_call(provider_task_ids=provider_task_ids))

    async def _send(self, http: httpx.AsyncClient, call: Call) -> Answer:
        now = self._clock()
        answer, served_at = await self._exchange(http, self.provider.authorize(call, now=now))
        if served_at is None or not self._is_about_token_time(answer):
            return answer
        # Our clock and theirs disagree: sign once more, by theirs (wire.md §5, codes 1003 and 1004).
        again, _ = await self._exchange(http, self.provider.authorize(call, now=served_at))
        return again

    async def _exchange(self, http: httpx.AsyncClient, call: Call) -> tuple[Answer, Moment | None]:
        content = None if call.json is None else await asyncio.to_thread(_encoded, call.json)
        headers = {**call.headers, **({} if content is None else {"Content-Type": "application/json"})}
        async with (
            self._reaching(http),
            http.stream(call.method, call.path, headers=headers, content=content) as response,
        ):
            body = await _bounded_body(response)
            answer = Answer(http_status=response.status_code, body=body, retry_after=_retry_after(response))
            return answer, _moment_of_date(response)

    @asynccontextmanager
    async def _reaching(self, http: httpx.AsyncClient) -> AsyncIterator[None]:
        """Within the account's time-out. What fails is said in our terms."""
        try:
            async with asyncio.timeout(self._settings.timeout.total_seconds()):
                yield
        except _NOT_SENT as error:
            raise Deferred(f"cannot connect to {http.base_url.host}: {error}") from error
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise Unanswered(f"{type(error).__name__}: {error}".rstrip(": ")) from error

    def _is_about_token_time(self, answer: Answer) -> bool:
        if answer.http_status != 401:
            return False
        try:
            self.provider.read_answer(answer.http_status, answer.body)
        except Refused as refused:
            return refused.kind is Refusal.TOKEN_TIME
        except SubmitterError:
            return False
        return False


class Connect(Protocol):
    """What makes the client of an account."""

    def __call__(self, name: str, settings: ProviderSettings, *, clock: Callable[[], Moment]) -> ProviderClient:
        """The client; nothing is sent yet."""


def _encoded(fields: Mapping[str, Any]) -> bytes:
    """In a thread of its own: a request with ten pictures of 10 MB takes a second."""
    return json.dumps(fields, separators=(",", ":")).encode()


@functools.cache
def trusted_roots() -> ssl.SSLContext:
    """Whom TLS trusts. Read once: it takes 25 ms, and every account has two clients."""
    return httpx.create_ssl_context()


def _http(settings: ProviderSettings, limits: httpx.Limits) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=settings.origin,
        verify=trusted_roots(),
        trust_env=not settings.is_on_loopback,  # a proxy of the environment does not reach this machine's own servers
        follow_redirects=False,
        timeout=httpx.Timeout(settings.timeout.total_seconds(), connect=min(10.0, settings.timeout.total_seconds())),
        limits=limits,
        headers={"User-Agent": "hookledger", "Accept": "application/json"},
    )


async def _bounded_body(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise Unanswered(f"the answer exceeds {MAX_ANSWER_BYTES} bytes")
    return bytes(body)


def _retry_after(response: httpx.Response) -> timedelta | None:
    header = response.headers.get("Retry-After", "")
    return pause_asked(header, served_at=_moment_of_date(response), longest=MAX_PAUSE)


def _moment_of_date(response: httpx.Response) -> Moment | None:
    return moment_of(response.headers.get("Date", ""))
