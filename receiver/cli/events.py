"""events tail: what happens, as it happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from receiver.boot import sqlite_path
from receiver.cli.following import (
    LAST_POSITION,
    ReceiverKeyOption,
    ReceiverOption,
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
from receiver.eventjson import event_json
from receiver.eventtype import EventType
from receiver.feed import Wish
from receiver.ledger.sqlite import SqliteReader
from submitter.errors import WatchError

COLOURS: Mapping[str, str] = {
    EventType.SUCCEEDED: "green",
    EventType.FAILED: "red",
    EventType.REFUSED: "red",
    EventType.EXPIRED: "yellow",
    EventType.CONFLICT: "magenta",
    EventType.IMAGE_ARCHIVED: "green",
    EventType.IMAGE_LOST: "red",
    EventType.PATH_DARK: "red",
    EventType.PATH_ALIVE: "green",
    EventType.DESTINATION_DISABLED: "bold red",
}
GLANCE = 0.5  # seconds between looks at a file that nobody holds
PAGE = 500
LONGEST_MESSAGE = 100
TYPE_WIDTH = max(map(len, EventType))

app = typer.Typer(help="Watch events.", no_args_is_help=True)


@app.callback()  # without one, typer would make the only command the group itself
def _group() -> None:
    """Watch events."""


@app.command()
def tail(
    context: typer.Context,
    config: ConfigOption = None,
    types: TypesOption = None,
    tasks: Annotated[list[str] | None, typer.Option("--task", help="Only events of this task.")] = None,
    after: Annotated[int | None, typer.Option(help="Begin after this position.", min=0, max=LAST_POSITION)] = None,
    from_start: Annotated[bool, typer.Option("--from-start", help="Begin with the first event.")] = False,
    receiver: ReceiverOption = None,
    receiver_key: ReceiverKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show events as they are committed, until Ctrl-C; with --json one document a line."""
    if from_start and after is not None:
        raise CommandError("--from-start is --after 0: give one of the two", code=MISUSED)
    wish = Wish(types=require_types(types or []), tasks=frozenset(tasks) if tasks else None)
    start = 0 if from_start else after
    if receiver:
        events = _streamed(named_receiver(receiver), receiver_key, wish, start)
    else:
        settings = load(context, config)
        find = local_receiver(settings)
        if find() is None:
            events = _read(sqlite_path(settings), wish, start)
        else:
            events = _streamed(find, local_key(settings, receiver_key), wish, start)
    run_until_ended(_show(events, print_json_line if as_json else _print_line))


def line_of(event: Mapping[str, Any]) -> Text:
    """An event for people, in one line: when, what, about whom, and in which words."""
    kind = str(event["type"])
    parts: list[str | tuple[str, str]] = [
        (str(event["time"])[:19].replace("T", " "), "dim"),
        "  ",
        (_printable(kind).ljust(TYPE_WIDTH), COLOURS.get(kind, "cyan")),
        *(f"  {_printable(part)}" for part in _subject(event) if part),
    ]
    return Text.assemble(*parts)


def _subject(event: Mapping[str, Any]) -> list[str]:
    task, destination, path = event.get("task"), event.get("destination"), event.get("path")
    if isinstance(task, Mapping):
        change = f"was {event['was']}, is {event['is']}" if "was" in event else task.get("state")
        return [str(part or "") for part in (task["external_task_id"], task["provider"], change, task.get("message"))]
    if isinstance(destination, Mapping):
        return [f"{destination.get('name')}", f"{destination.get('reason') or ''}"]
    if isinstance(path, Mapping):
        return [f"{path.get('provider')}", f"callbacks: {path.get('state')}"]
    return [str(event["id"])]


def _printable(text: str) -> str:
    """A provider's words may be long, and may hold what would move a terminal's cursor."""
    shown = "".join(character if character.isprintable() else " " for character in text[: LONGEST_MESSAGE + 1])
    return shown if len(shown) <= LONGEST_MESSAGE else shown[: LONGEST_MESSAGE - 1] + "…"


def _print_line(event: Mapping[str, Any]) -> None:
    out.print(line_of(event))


async def _show(events: AsyncGenerator[dict[str, Any], None], show: Callable[[Mapping[str, Any]], None]) -> None:
    async with aclosing(events):
        async for event in events:
            try:
                show(event)
            except (KeyError, TypeError) as error:
                raise WatchError("the receiver streams what is no event", code="unreadable") from error


async def _streamed(
    find: Callable[[], str | None], key: str | None, wish: Wish, after: int | None
) -> AsyncGenerator[dict[str, Any], None]:
    query = {"type": sorted(wish.types or ()), "task": sorted(wish.tasks or ())}
    async with road_to(find, key) as road, aclosing(road.blocks(query, after=after)) as blocks:
        await anext(blocks)  # says from where: what is committed from here on is shown
        note(f"following the receiver at {find()}")
        async for block in blocks:
            if block.data is not None:
                yield document_in(block)


async def _read(path: Path, wish: Wish, after: int | None) -> AsyncGenerator[dict[str, Any], None]:
    """From the file itself, for good: a receiver that starts meanwhile writes the same file."""
    reader = await SqliteReader.open(path)
    try:
        position = await reader.newest_position() if after is None else after
        note(f"no receiver runs on this ledger: reading {path}")
        while True:
            page = await reader.events_after(position, limit=PAGE)
            for event in page:
                position = event.position
                if wish.wants(event):
                    yield event_json(event)
            if len(page) < PAGE:
                await asyncio.sleep(GLANCE)
    finally:
        await reader.aclose()
