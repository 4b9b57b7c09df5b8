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

from submitter.absence import FIRST_PAUSE, Absence, trouble_in, trouble_of
from submitter.blockstream import SILENCE, BlockStream
from submitter.closing import Closing
from submitter.errors import Unreadable, WatchError
from submitter.settings import is_loopback
from submitter.shown import ShownEvent, ShownTask, shown_event, shown_task
from submitter.sse import Block

HELD_AT_ONCE = 32  # answers: who waits for more tasks than that uses wait_all or wait_any, which take one connection
MOST_NAMED = 64  # tasks in a URL, which a receiver reads up to 8 KiB of; events of more are chosen here
PATIENCE = timedelta(minutes=2)  # with a receiver that does not answer: being deployed anew takes less

_SOON = httpx.Timeout(10, pool=30)
_HELD = httpx.Timeout(SILENCE, connect=10, pool=30)  # an answer that was held for HOLD


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
            task = await self._task(external_task_id, asked, _HELD)
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
        stream = BlockStream(self._http, find=lambda: self._root, headers=self._headers, absence=self._absence())
        async with aclosing(stream.blocks(query, after)) as blocks:
            await anext(blocks)  # says from where: what is committed from here on will be told
            async with aclosing(_events_in(blocks, chosen)) as events:
                yield events

    async def _task(self, external_task_id: str, query: dict[str, str], timeout: httpx.Timeout) -> ShownTask:
        path = f"{self._root}/v1/tasks/{quote(external_task_id, safe='')}"
        absence = self._absence()
        while True:
            try:
                response = await self._http.get(path, params=query, headers=self._headers, timeout=timeout)
                if response.status_code == 200:
                    return shown_task(_json(response.content))
                trouble = trouble_in(response)
            except httpx.HTTPError as error:
                trouble = trouble_of(error)
            except Unreadable as unreadable:
                raise WatchError(unreadable.reason, code="unreadable") from unreadable
            await absence.pause(trouble)

    def _absence(self) -> Absence:
        return Absence(f"the receiver at {self._root}", self._patience)


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
