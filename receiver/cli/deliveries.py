"""deliveries list | redeliver, and destinations: what was told to whom, and telling it anew."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from receiver.api import delivery_json
from receiver.cli.desk import IN_PROCESS, ask, desk
from receiver.cli.options import ConfigOption, JsonOption, load
from receiver.cli.output import MISUSED, CommandError, note, out, print_json
from receiver.cli.reading import read
from receiver.config import Config
from receiver.deliveries import destination_json
from receiver.eventtype import EventType
from receiver.ledger.deliveries import DeliveryQuery, DeliveryState

COLOURS = {"delivered": "green", "open": "cyan", "dead": "red", "superseded": "yellow", "disabled": "red"}
PAGE = 500

app = typer.Typer(help="Look at what was told to whom, and tell it anew.", no_args_is_help=True)
StateOption = Annotated[DeliveryState | None, typer.Option(help="Only deliveries in this state.")]
DestinationOption = Annotated[str | None, typer.Option(help="Only deliveries to this destination.")]
TypeOption = Annotated[EventType | None, typer.Option("--type", help="Only deliveries of events of this type.")]
TaskOption = Annotated[str | None, typer.Option("--task", help="Only deliveries about this task.")]


@app.command("list")
def list_deliveries(
    context: typer.Context,
    config: ConfigOption = None,
    state: StateOption = None,
    destination: DestinationOption = None,
    event_type: TypeOption = None,
    task: TaskOption = None,
    after: Annotated[int | None, typer.Option(help="The 'next' of an earlier page.", min=1)] = None,
    limit: Annotated[int, typer.Option(min=1, max=PAGE, help="How many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List deliveries, newest first; the dead letters with --state dead."""
    query = DeliveryQuery(
        state=state, destination=destination, type=event_type, external_task_id=task, after=after, limit=limit
    )
    page = read(load(context, config), lambda reader: reader.deliveries(query))
    shown = [delivery_json(each) for each in page.deliveries]
    if as_json:
        print_json({"deliveries": shown, "next": None if page.next is None else str(page.next)})
        return
    out.print(_table(shown) if shown else "no deliveries")
    if page.next is not None:
        out.print(f"more: --after {page.next}", style="dim")


@app.command()
def redeliver(
    context: typer.Context,
    keys: Annotated[
        list[int] | None, typer.Argument(metavar="[ID]...", min=1, max=2**62, help="As 'deliveries list' names them.")
    ] = None,
    config: ConfigOption = None,
    state: StateOption = None,
    destination: DestinationOption = None,
    event_type: TypeOption = None,
    task: TaskOption = None,
    is_dry: Annotated[bool, typer.Option("--dry-run", help="Only say how many there are.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Tell anew: some by their ids, or all that the options choose. Their destinations get another chance."""
    settings = load(context, config)
    given = {"state": state, "destination": destination, "type": event_type, "external_task_id": task}
    wanted = {name: str(value) for name, value in given.items() if value is not None}
    if bool(keys) == bool(wanted):
        raise CommandError(
            "name deliveries by their ids, or choose some by --state, --destination, --type or --task", code=MISUSED
        )
    if keys and is_dry:
        raise CommandError("--dry-run counts what options choose; you have named the deliveries yourself", code=MISUSED)
    done = asyncio.run(_redeliver(settings, keys or [], wanted, is_dry=is_dry))
    if as_json:
        print_json(done)
    else:
        out.print(f"{done['matching']} match" if is_dry else f"{done['redelivered']} to be told anew")


def destinations(
    context: typer.Context,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how each destination fares, and how much waits for it."""
    states = read(load(context, config), lambda reader: reader.destinations())
    shown = [destination_json(each) for each in states]
    if as_json:
        print_json({"destinations": shown})
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("destination", "state", "open", "dead", "failures", "since", "reason"):
        table.add_column(column, overflow="fold", no_wrap=column in {"destination", "state"})
    for each in shown:
        table.add_row(
            escape(each["name"]),
            f"[{'green' if each['state'] == 'closed' else 'red'}]{each['state']}[/]",
            str(each["open"]),
            str(each["dead"]),
            str(each["failures"]),
            (each["failing_since"] or "")[:19].replace("T", " "),
            escape(each["reason"]),
        )
    out.print(table if shown else "no destinations")


async def _redeliver(config: Config, keys: list[int], wanted: dict[str, str], *, is_dry: bool) -> dict[str, int]:
    done = {"matching": 0, "redelivered": 0}
    async with desk(config) as client:
        for key in keys:
            await ask(client, "POST", f"/v1/deliveries/{key}/redeliver")
            done = {name: count + 1 for name, count in done.items()}
        wish: dict[str, Any] | None = {**wanted, "dry_run": is_dry, "limit": PAGE} if wanted else None
        while wish is not None:
            page = await ask(client, "POST", "/v1/deliveries/redeliver", json=wish)
            done = {name: count + page[name] for name, count in done.items()}
            wish = None if page["next"] is None else {**wish, "after": page["next"]}
            if wish is not None:
                note(f"{done['redelivered']} so far, and more to come")
        if done["redelivered"] and client.base_url == IN_PROCESS:
            note("no receiver runs on this ledger: they are told when 'serve' or 'tick' runs")
    return done


def _table(deliveries: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("id", "event", "type", "destination", "state", "attempts", "next attempt", "reason"):
        table.add_column(column, overflow="fold", no_wrap=column in {"id", "event", "state"})
    for each in deliveries:
        table.add_row(
            str(each["id"]),
            each["event"],
            each["type"],
            escape(each["destination"]),
            f"[{COLOURS[each['state']]}]{each['state']}[/]",
            str(each["attempts"]),
            (each["next_at"] or "")[:19].replace("T", " "),
            escape(each["reason"] or ""),
        )
    return table
