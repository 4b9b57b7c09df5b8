"""The watch on a receiver elsewhere, over HTTP: held answers for one task, a stream of events for many."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from submitter.closing import Closing
from submitter.errors import Unreadable, WatchError
from submitter.settings import is_loopback
from submitter.shown import ShownEvent, ShownTask, shown_event, shown_task
from submitter.sse import Block, BlockReader

HELD_AT_ONCE = 32  # answers: who waits for more tasks than that uses wait_all or wait_any, which take one connection
MOST_NAMED = 64  # tasks in a URL, which a receiver reads up to 8 KiB of; events of more are chosen here
FIRST_PAUSE = 0.1  # seconds, then twice as long each time
LONGEST_PAUSE = 4.0
PATIENCE = timedelta(minutes=2)  # with a receiver that does not answer: being deployed anew takes less

_SOON = httpx.Timeout(10, pool=30)
_SILENCE = 45.0  # seconds: three heartbeats of a stream, or an answer that was held for HOLD


class HttpWatch(Closing):
    """Looks at tasks and listens to events by a receiver's `/v1`. Bears with one that is away, for `patience`."""

    def __init__(
        self,
        receiver_url: str,
        *,
        api_key: str | None = None,
        http: httpx.AsyncClient | None = None,
        patience: timedelta = PATIENCE,
    ) -> None:
        self._root = receiver_url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = http or httpx.AsyncClient(
            follow_redirects=False, trust_env=not is_loopback(urlsplit(receiver_url).hostname)
        )
        self._patience = patience.total_seconds()
        self._holding = asyncio.Semaphore(HELD_AT_ONCE)

    async def aclose(self) -> None:
        """Close the connections to the receiver."""
        await self._http.aclose()

    async def look(self, external_task_id: str) -> ShownTask:
        """As Watch.look."""
        return await self._task(external_task_id, {}, _SOON)

    async def at_rest(self, external_task_id: str, *, within: timedelta) -> ShownTask:
        """As Watch.at_rest. The receiver holds its answer for 25 s at most."""
        loop = asyncio.get_running_loop()
        asked = {"wait": f"{within.total_seconds():g}"}
        async with self._holding:
            began = loop.time()
            task = await self._task(external_task_id, asked, httpx.Timeout(_SILENCE, connect=10, pool=30))
        if not task.is_at_rest and loop.time() - began < FIRST_PAUSE < within.total_seconds():
            await asyncio.sleep(FIRST_PAUSE)  # it lets everybody go, and will be away in a moment
        return task

    @asynccontextmanager
    async def listening(
        self, *, tasks: Collection[str] | None = None, types: Collection[str] | None = None, after: int | None = None
    ) -> AsyncIterator[AsyncIterator[ShownEvent]]:
        """As Watch.listening."""
        chosen = None if tasks is None else frozenset(tasks)
        named = sorted(chosen) if chosen is not None and len(chosen) <= MOST_NAMED else []
        query = {"task": named, "type": sorted(types or ())}
        async with aclosing(self._blocks(query, after)) as blocks:
            await anext(blocks)  # says from where: what is committed from here on will be told
            async with aclosing(_events_in(blocks, chosen)) as events:
                yield events

    async def _task(self, external_task_id: str, query: dict[str, str], timeout: httpx.Timeout) -> ShownTask:
        path = f"{self._root}/v1/tasks/{quote(external_task_id, safe='')}"
        absence = _Absence(self._root, self._patience)
        while True:
            try:
                response = await self._http.get(path, params=query, headers=self._headers, timeout=timeout)
                if response.status_code == 200:
                    return shown_task(_json(response.content))
                trouble = _trouble(response)
            except httpx.HTTPError as error:
                trouble = _named(error)
            except Unreadable as unreadable:
                raise WatchError(unreadable.reason, code="unreadable") from unreadable
            await absence.pause(trouble)

    async def _blocks(self, query: dict[str, list[str]], after: int | None) -> AsyncGenerator[Block, None]:
        """What the receiver streams, over as many connections as it takes: each goes on where the last one broke."""
        path = f"{self._root}/v1/events"
        position = None if after is None else str(after)
        absence = _Absence(self._root, self._patience)
        while True:
            headers = self._headers | {"Accept": "text/event-stream"}
            if position is not None:
                headers["Last-Event-ID"] = position
            try:
                timeout = httpx.Timeout(_SILENCE, connect=10)
                async with self._http.stream("GET", path, params=query, headers=headers, timeout=timeout) as response:
                    trouble = "the stream ended"
                    if response.status_code != 200:
                        await response.aread()
                        trouble = _trouble(response)
                    elif not response.headers.get("content-type", "").startswith("text/event-stream"):
                        raise WatchError(
                            f"{self._root} does not stream: is it a hookledger receiver?", code="unreadable"
                        )
                    else:
                        reader = BlockReader()
                        async for chunk in response.aiter_bytes():
                            for block in reader.read(chunk):
                                absence.is_over()
                                position = block.id or position
                                yield block
            except httpx.HTTPError as error:
                trouble = _named(error)
            except Unreadable as unreadable:
                raise WatchError(unreadable.reason, code="unreadable") from unreadable
            await absence.pause(trouble)


class _Absence:
    """How long a receiver has been away, and when to try again."""

    def __init__(self, root: str, patience: float) -> None:
        self._root = root
        self._patience = patience
        self._began: float | None = None
        self._pause = FIRST_PAUSE

    async def pause(self, trouble: str) -> None:
        """Wait, each time longer. Raises WatchError once it has been too long."""
        now = asyncio.get_running_loop().time()
        if self._began is None:
            self._began = now
        if now - self._began > self._patience:
            raise WatchError(f"the receiver at {self._root} cannot be reached ({trouble})", code="unreachable")
        await asyncio.sleep(self._pause)
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def is_over(self) -> None:
        """It has answered."""
        self._began = None
        self._pause = FIRST_PAUSE


async def _events_in(blocks: AsyncIterator[Block], chosen: frozenset[str] | None) -> AsyncGenerator[ShownEvent, None]:
    async for block in blocks:
        if block.data is None:
            continue
        try:
            event = shown_event(_json(block.data))
        except Unreadable as unreadable:
            raise WatchError(unreadable.reason, code="unreadable") from unreadable
        if chosen is None or (event.task is not None and event.task.external_task_id in chosen):
            yield event


def _json(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Unreadable(f"this is not JSON: {error}") from error


def _trouble(response: httpx.Response) -> str:
    """What an answer that is none says, where trying again may help. Raises WatchError where it cannot."""
    try:
        document = response.json()
    except ValueError:
        document = {}
    fields = document if isinstance(document, dict) else {}
    if response.status_code < 500:
        code = str(fields.get("code", response.status_code))
        raise WatchError(str(fields.get("detail", f"HTTP {response.status_code}")), code=code)
    return f"HTTP {response.status_code}"


def _named(error: httpx.HTTPError) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")
