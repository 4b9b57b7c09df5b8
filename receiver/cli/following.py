"""Following a receiver's events at the command line: where it answers, over restarts, until somebody ends it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import signal
import stat
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx
import typer

from receiver.boot import sqlite_path
from receiver.cli.output import MISUSED, CommandError, note
from receiver.config import Config
from receiver.eventtype import types_matching
from receiver.ledger.sqlite.lock import holder_of, is_held
from submitter.absence import Absence, trouble_in, trouble_of
from submitter.blockstream import SOURCE_HEADER, BlockStream
from submitter.errors import WatchError
from submitter.settings import is_loopback, without_password
from submitter.sse import Block

FIRST_PATIENCE = 5.0  # seconds, with a receiver that never answered yet: it may just be starting

NOT_LET_IN = frozenset({"api_key_required", "key_malformed", "key_wrong", "local_only"})
LAST_POSITION = 10**18 - 1  # a receiver reads no longer number

ReceiverOption = Annotated[
    str | None,
    typer.Option(envvar="HOOKLEDGER_RECEIVER", help="The receiver, if it is not the one of the configuration here."),
]
ReceiverKeyOption = Annotated[
    str | None, typer.Option(envvar="HOOKLEDGER_RECEIVER_KEY", help="A key of that receiver.")
]
TypesOption = Annotated[
    list[str] | None, typer.Option("--type", help="Only events of this type, such as task.failed or 'task.*'.")
]


class Road:
    """The way to a receiver, and the name of its ledger. `find` says where it answers now, if anywhere."""

    def __init__(self, http: httpx.AsyncClient, find: Callable[[], str | None], key: str | None) -> None:
        self.source = ""
        self._http = http
        self._find = find
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    async def reach(self) -> None:
        """Wait until it answers for the first time. Raises CommandError where it does not, or refuses the key."""
        absence = Absence("the receiver", FIRST_PATIENCE, on_begin=_note_absence)
        while True:
            try:
                _, self.source = await self._page({"limit": "1"})
            except _NoAnswer as trouble:
                await absence.pause(str(trouble))
            else:
                return

    async def has_event(self, position: int) -> bool:
        """Whether the ledger came so far. Raises CommandError."""
        try:
            page, _ = await self._page({"after": str(position - 1), "limit": "1"})
        except _NoAnswer as trouble:
            raise CommandError(f"the receiver does not answer any more ({trouble})") from None
        return bool(page.get("events"))

    async def newest(self) -> int:
        """The position of the newest event. Raises WatchError."""
        async with aclosing(self.blocks({}, after=None)) as blocks:
            return int((await anext(blocks)).id or 0)

    def blocks(self, query: Mapping[str, Sequence[str]], *, after: int | None) -> AsyncGenerator[Block, None]:
        """The stream after a position, or from now on; breaks are bridged, and said. Raises WatchError."""
        absence = Absence("the receiver", math.inf, on_begin=_note_absence, on_end=_note_return)
        stream = BlockStream(
            self._http, find=self._find, headers=self._headers, absence=absence, source=self.source or None
        )
        return stream.blocks(query, after)

    async def _page(self, query: Mapping[str, str]) -> tuple[dict[str, Any], str]:
        root = self._find()
        if root is None:
            raise _NoAnswer("none runs on the ledger: start 'hookledger serve', or name one with --receiver")
        try:
            response = await self._http.get(f"{root}/v1/events", params=query, headers=self._headers, timeout=10)
        except httpx.HTTPError as error:
            raise _NoAnswer(f"at {root}: {trouble_of(error)}") from error
        if response.status_code >= 500 or response.headers.get("content-type") == "application/problem+json":
            raise _NoAnswer(f"at {root}: {trouble_in(response)}")
        with contextlib.suppress(ValueError):
            page = response.json()
            if response.status_code == 200 and isinstance(page, dict) and SOURCE_HEADER in response.headers:
                return page, response.headers[SOURCE_HEADER]
        raise CommandError(f"{root} does not answer as a hookledger receiver: is the address right?")


@asynccontextmanager
async def road_to(find: Callable[[], str | None], key: str | None) -> AsyncIterator[Road]:
    """The way to a receiver that has answered. A key that it refuses becomes a CommandError with the fix."""
    root = find()
    is_near = root is None or is_loopback(urlsplit(root).hostname)
    async with httpx.AsyncClient(follow_redirects=False, trust_env=not is_near) as http:
        road = Road(http, find, key)
        try:
            await road.reach()
            yield road
        except WatchError as error:
            if error.code in NOT_LET_IN:
                given = "the key is none of its keys" if key else "it asks for a key"
                raise CommandError(
                    f"{find() or 'the receiver'} lets nobody in: {given}; give one with --receiver-key, "
                    "or HOOKLEDGER_RECEIVER_KEY"
                ) from None
            raise


def named_receiver(url: str) -> Callable[[], str | None]:
    """Where a receiver elsewhere answers. Raises CommandError for what is no address."""
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        is_usable = is_usable and not (parts.username or parts.password or parts.query or parts.fragment)
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        is_usable = False
    if not is_usable:
        raise CommandError(
            f"--receiver {without_password(url)!r} is no address: write https://hooks.example.com, and its key apart",
            code=MISUSED,
        )
    return lambda: url.rstrip("/")


def local_receiver(config: Config) -> Callable[[], str | None]:
    """Where the process answers that holds the ledger of this configuration: looked up anew whenever it is asked."""
    path = sqlite_path(config)
    return lambda: holder_of(path)[1] if is_held(path) else None


def local_key(config: Config, given: str | None) -> str | None:
    """The key for our own receiver."""
    return given or (config.api.keys[0].get_secret_value() if config.api.keys else None)


def require_types(patterns: Sequence[str]) -> frozenset[str] | None:
    """The types that these choose, None for all. Raises CommandError for a pattern that names none."""
    try:
        types = types_matching(patterns)
    except ValueError as error:
        raise CommandError(f"--type {error}", code=MISUSED) from None
    return frozenset(map(str, types)) if patterns else None


def document_in(block: Block) -> dict[str, Any]:
    """The JSON object of a block. Raises WatchError."""
    try:
        document = json.loads(block.data or "")
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise WatchError("the receiver streams what is no event", code="unreadable")
    return document


def run_until_ended(doing: Coroutine[Any, Any, None]) -> None:
    """Run until it is done, a signal comes, or nobody reads what is printed. To be ended is its purpose: no error."""
    asyncio.run(_until_ended(doing))


async def _until_ended(doing: Coroutine[Any, Any, None]) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    with contextlib.suppress(OSError, ValueError):  # standard output may be closed, or no file
        if stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode):
            loop.add_reader(sys.stdout.fileno(), ended.set)  # a pipe's own end is readable once the other is closed
    task, ending = asyncio.create_task(doing), asyncio.create_task(ended.wait())
    await asyncio.wait({task, ending}, return_when=asyncio.FIRST_COMPLETED)
    ending.cancel()
    task.cancel()  # once: what is being closed is not interrupted by a second Ctrl-C
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _note_absence(trouble: str) -> None:
    note(f"the receiver is away ({trouble}): waiting for it")


def _note_return() -> None:
    note("the receiver is back: going on where it broke off")


class _NoAnswer(Exception):
    """Nothing yet, but there may be."""
