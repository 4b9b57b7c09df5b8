"""A receiver's stream of events, block by block, over as many connections as it takes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing

import httpx

from submitter.absence import Absence, trouble_in, trouble_of
from submitter.errors import Unreadable, WatchError
from submitter.sse import Block, BlockReader

SOURCE_HEADER = "Hookledger-Source"  # the ledger's own name, as CloudEvents' `source` has it
SILENCE = 45.0  # seconds: three heartbeats
ANOTHER_LEDGER = "another_ledger"


class BlockStream:
    """Each connection goes on where the last one broke, as long as the same ledger is behind it."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        find: Callable[[], str | None],
        headers: Mapping[str, str],
        absence: Absence,
        source: str | None = None,
    ) -> None:
        """`find` says where the receiver answers now: after a restart it may be elsewhere, or nowhere yet."""
        self._http = http
        self._find = find
        self._headers = headers
        self._absence = absence
        self._source = source

    async def blocks(self, query: Mapping[str, Sequence[str]], after: int | None) -> AsyncGenerator[Block, None]:
        """What is streamed after a position, else from now on: the first block says from where. Raises WatchError."""
        position = None if after is None else str(after)
        while True:
            try:
                async with aclosing(self._connection(query, position)) as connection:
                    async for block in connection:
                        self._absence.is_over()
                        position = block.id or position or "0"  # only the beginning of a ledger is not named
                        yield block
                trouble = "the stream ended"
            except _Broken as broken:
                trouble = str(broken)
            await self._absence.pause(trouble)

    async def _connection(
        self, query: Mapping[str, Sequence[str]], position: str | None
    ) -> AsyncGenerator[Block, None]:
        """One connection. Raises _Broken where another may do better, WatchError where none will."""
        root = self._find()
        if root is None:
            raise _Broken("no receiver runs on the ledger")
        headers = {**self._headers, "Accept": "text/event-stream"}
        if position is not None:
            headers["Last-Event-ID"] = position
        try:
            async with self._http.stream(
                "GET", f"{root}/v1/events", params=query, headers=headers, timeout=httpx.Timeout(SILENCE, connect=10)
            ) as response:
                self._require_same_ledger(root, response.headers)
                if response.status_code != 200:
                    await response.aread()
                    raise _Broken(trouble_in(response))
                _require_stream(root, response.headers)
                reader = BlockReader()
                async for chunk in response.aiter_bytes():
                    for block in reader.read(chunk):
                        yield block
        except httpx.HTTPError as error:
            raise _Broken(trouble_of(error)) from error
        except Unreadable as unreadable:
            raise WatchError(unreadable.reason, code="unreadable") from unreadable

    def _require_same_ledger(self, root: str, headers: Mapping[str, str]) -> None:
        source = headers.get(SOURCE_HEADER)
        if self._source is not None and source is not None and source != self._source:
            raise WatchError(f"{root} has another ledger now, whose events are others", code=ANOTHER_LEDGER)
        self._source = self._source or source


def _require_stream(root: str, headers: Mapping[str, str]) -> None:
    if not headers.get("content-type", "").startswith("text/event-stream"):
        raise WatchError(f"{root} does not stream: is it a hookledger receiver?", code="unreadable")


class _Broken(Exception):
    """The connection came to nothing, or to its end."""
