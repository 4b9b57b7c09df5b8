"""listen: a laptop pulls the events since its cursor, and tells a local app as a webhook would."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import SecretStr, ValidationError

from receiver.cli.cursor import CursorFile
from receiver.cli.following import (
    LAST_POSITION,
    ReceiverKeyOption,
    ReceiverOption,
    Road,
    TypesOption,
    document_in,
    local_key,
    local_receiver,
    named_receiver,
    require_types,
    road_to,
    run_until_ended,
)
from receiver.cli.options import ConfigOption, JsonOption, load
from receiver.cli.output import MISUSED, CommandError, note, out, print_json_line
from receiver.configdestinations import DestinationConfig
from receiver.outbox.destination import Delivered, TryAgain
from receiver.outbox.message import Message
from receiver.outbox.resolving import resolve_by_system
from receiver.outbox.webhook import WebhookDestination
from receiver.stream import Form
from submitter.blockstream import ANOTHER_LEDGER
from submitter.client import trusted_roots
from submitter.closing import Closing
from submitter.errors import WatchError
from submitter.moments import millis
from submitter.sse import Block
from submitter.submit import system_clock

CURSOR = Path(".hookledger-listen.json")
PAUSES = tuple(timedelta(seconds=seconds) for seconds in (0.5, 1, 2, 5, 10))


def listen(
    context: typer.Context,
    forward: Annotated[str, typer.Option(help="The app's URL, such as http://localhost:3000/hooks.", metavar="URL")],
    config: ConfigOption = None,
    receiver: ReceiverOption = None,
    receiver_key: ReceiverKeyOption = None,
    secret: Annotated[
        str | None, typer.Option(help="whsec_…: what to sign with. Else one is made, printed and kept with the cursor.")
    ] = None,
    types: TypesOption = None,
    after: Annotated[
        int | None,
        typer.Option(
            help="Where to begin the first time, else now; later the cursor counts.", min=0, max=LAST_POSITION
        ),
    ] = None,
    cursor: Annotated[Path, typer.Option(help="The file that remembers how far the app was told.")] = CURSOR,
    once: Annotated[bool, typer.Option("--once", help="End when nothing is left to tell.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Pull the events since the cursor, and post each, in order, to an app on this machine as a webhook would come.

    Nothing is lost while this was closed: an event that the app does not answer with 2xx is tried again until it does.

    The URL may be on this machine or in a private network: that is what it is for, and no rule keeps it out.
    """
    wanted = require_types(types or [])
    kept = CursorFile(cursor)
    find, key = named_receiver(receiver) if receiver else None, receiver_key
    if find is None:
        settings = load(context, config)
        find, key = local_receiver(settings), local_key(settings, receiver_key)
    app = _app_at(forward, secret, kept)
    plan = Plan(forward=forward, types=wanted, after=after, ends=once)
    listening = Listening(app, kept, plan, print_json_line if as_json else _print_told)
    run_until_ended(_listen(listening, find, key))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is wanted: where to, which, from where on the first time, and whether it ends with what is there now."""

    forward: str
    types: frozenset[str] | None
    after: int | None
    ends: bool


class Listening(Closing):
    """One app, told of one ledger after the other: whichever answers."""

    def __init__(
        self, app: WebhookDestination, cursor: CursorFile, plan: Plan, show: Callable[[dict[str, Any]], None]
    ) -> None:
        self._app = app
        self._cursor = cursor
        self._plan = plan
        self._show = show

    async def aclose(self) -> None:
        """Let go of the app's connections."""
        await self._app.aclose()

    async def follow(self, road: Road) -> None:
        """Tell of this ledger, where the cursor stands; with `ends` until nothing is left. Raises WatchError."""
        position = await self._begin(road)
        end = await road.newest() if self._plan.ends else None
        # Who waits for an end hears everything: past what is not wanted a stream says only now and then where it is.
        types = sorted(self._plan.types or ()) if end is None else []
        if end is not None and position >= end:
            return
        async with aclosing(road.blocks({"type": types, "as": [Form.CLOUDEVENTS]}, after=position)) as blocks:
            async for block in blocks:
                if block.data is not None:
                    await self._tell(message_in(block))
                reached = position_of(block, otherwise=position)
                if reached > position:
                    self._cursor.keep(road.source, self._plan.forward, reached)
                    position = reached
                if end is not None and position >= end:
                    return

    async def _begin(self, road: Road) -> int:
        known = self._cursor.position(road.source, self._plan.forward)
        if known is not None:
            if known > 0 and not await road.has_event(known):
                raise CommandError(
                    f"the ledger has no event {known}, which the app was told of: it was set back, as by a backup. "
                    "Name another --cursor, with --after the position up to which the app should not be told again"
                )
            note(f"going on after event {known}, as {self._cursor.path} says")
            return known
        begin = self._plan.after if self._plan.after is not None else await road.newest()
        self._cursor.keep(road.source, self._plan.forward, begin)  # closed now, it would miss nothing already
        note(f"beginning after event {begin}")
        return begin

    async def _tell(self, message: Message) -> None:
        """Until the app takes it."""
        if self._plan.types is not None and message.type not in self._plan.types:
            return
        said, tries = "", 0
        while True:
            began = asyncio.get_running_loop().time()
            attempt = await self._app.deliver(message)
            took = timedelta(seconds=asyncio.get_running_loop().time() - began)
            tries += 1
            if isinstance(attempt, Delivered):
                self._show(told_json(message, attempt.status, took))
                return
            if attempt.reason != said:
                said = attempt.reason
                note(f"event {message.position} is not taken: {said}; it is tried again until it is")
            await asyncio.sleep(pause_after(tries, attempt.after if isinstance(attempt, TryAgain) else None))


def pause_after(tries: int, asked: timedelta | None) -> float:
    """Seconds until the next attempt: ever longer, or as long as the app asks, within the longest."""
    return max(PAUSES[min(tries, len(PAUSES)) - 1], min(asked or timedelta(), PAUSES[-1])).total_seconds()


def told_json(message: Message, status: int | None, took: timedelta) -> dict[str, Any]:
    """An event that the app has taken, as --json prints it; `ms` is how long the app took."""
    ms = round(took / timedelta(milliseconds=1), 1)
    return {"position": message.position, "id": message.id, "type": message.type, "status": status, "ms": ms}


def position_of(block: Block, *, otherwise: int) -> int:
    """Where a block says that the stream is."""
    return int(block.id) if block.id and block.id.isdecimal() else otherwise


def message_in(block: Block) -> Message:
    """The event of a block as destinations are told it: the very bytes that the receiver made. Raises WatchError."""
    document = document_in(block)
    try:
        return Message(
            id=str(document["id"]),
            type=str(document["type"]),
            position=int(block.id or ""),
            time=millis(datetime.fromisoformat(document["time"]) - datetime.fromisoformat("1970-01-01T00:00:00Z")),
            external_task_id=document.get("subject"),
            body=(block.data or "").encode(),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise WatchError("the receiver streams what is no CloudEvent", code="unreadable") from error


async def _listen(listening: Listening, find: Callable[[], str | None], key: str | None) -> None:
    async with listening:
        while True:
            try:
                async with road_to(find, key) as road:
                    note(f"listening to the receiver at {find()}")
                    await listening.follow(road)
                    return
            except WatchError as error:
                if error.code != ANOTHER_LEDGER:
                    raise
                note(str(error))


def _app_at(url: str, secret: str | None, cursor: CursorFile) -> WebhookDestination:
    """The app as a destination of ours, so that it is told just as one. Raises CommandError."""
    try:
        destination = DestinationConfig(
            name="listen", url=url, secret=SecretStr(secret) if secret else None, private=True
        )
        if secret is None:
            destination = destination.model_copy(update={"secret": SecretStr(_secret_in(cursor))})
        return WebhookDestination(destination, clock=system_clock, resolve=_resolve, roots=trusted_roots())
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise CommandError(f"--forward or --secret: {problem}", code=MISUSED) from None
    except ValueError as error:
        raise CommandError(f"--forward: {error}", code=MISUSED) from None


def _resolve(host: str) -> Sequence[str]:
    """IPv4 first: apps that are developed listen on 127.0.0.1, or on both, where 'localhost' may be ::1 first."""
    return sorted(resolve_by_system(host), key=lambda address: ":" in address)


def _secret_in(cursor: CursorFile) -> str:
    secret, is_new = cursor.secret()
    if is_new:
        note(f"signing with {secret}\nGive it to the app; {cursor.path} keeps it.")
    else:
        note(f"signing with the secret in {cursor.path}")
    return secret


def _print_told(told: dict[str, Any]) -> None:
    words = f"{told['position']}  {told['type']}  {told['id']}  {told['status']}  {told['ms']:g} ms"
    out.print(words, markup=False)
