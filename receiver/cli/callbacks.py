"""callbacks list | show | replay: what came and could not be read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from receiver.callback_url import without_tokens
from receiver.cli.desk import ask, desk
from receiver.cli.options import ConfigOption, JsonOption, load
from receiver.cli.output import MISUSED, CommandError, note, out, print_json
from receiver.cli.reading import read
from receiver.config import Config
from receiver.ledger.reading import KeptUnreadable
from receiver.ledger.sqlite import SqliteReader
from receiver.replay import COUNTED, READ, CannotBeRead, Stays, accounts_of, read_again
from submitter.moments import iso

PAGE = 100

app = typer.Typer(help="Look at callbacks that could not be read, and read them again.", no_args_is_help=True)
UnreadableOption = Annotated[
    bool, typer.Option("--unreadable", help="Those that nobody could read: the ones that are kept by themselves.")
]


@app.command("list")
def list_callbacks(
    context: typer.Context,
    config: ConfigOption = None,
    is_unreadable: UnreadableOption = False,
    as_json: JsonOption = False,
) -> None:
    """List what nobody could read, oldest first."""
    _require_unreadable(is_unreadable)
    kept = read(load(context, config), _all)
    if as_json:
        print_json({"unreadable": [_listed(each) for each in kept]})
        return
    out.print(_table(kept) if kept else "nothing unreadable is kept")


@app.command()
def show(
    context: typer.Context,
    key: Annotated[
        int, typer.Argument(metavar="KEY", min=1, max=2**62, help="As 'callbacks list --unreadable' names it.")
    ],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one with its bytes: what cannot be printed as \\xNN, a backslash as two, callback tokens left out."""
    kept = read(load(context, config), lambda reader: reader.kept_unreadable(key))
    if kept is None:
        raise CommandError(f"nothing unreadable is kept under {key}: 'callbacks list --unreadable' shows what is")
    if as_json:
        print_json({**_listed(kept), "body": escaped(kept.body)})
        return
    for name, value in _listed(kept).items():
        out.print(f"{name} = {value!r}", markup=False)
    out.print(escaped(kept.body), markup=False)
    if kept.is_cut:
        note(f"the first {len(kept.body)} of {kept.size} bytes are kept")


@app.command()
def replay(
    context: typer.Context,
    config: ConfigOption = None,
    is_unreadable: UnreadableOption = False,
    is_dry: Annotated[bool, typer.Option("--dry-run", help="Only say what would be read; nothing is heard.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Read what nobody could read again, after an adapter was mended, and hear it. The rest stays, with its reason."""
    _require_unreadable(is_unreadable)
    settings = load(context, config)
    if is_dry:
        _print_dry_run(read(settings, _all), settings, as_json=as_json)
        return
    counts = asyncio.run(_replay(settings))
    if as_json:
        print_json(counts)
    else:
        out.print(", ".join(f"{count} {what.replace('_', ' ')}" for what, count in counts.items()))


def escaped(body: bytes) -> str:
    """The bytes as one line that no terminal obeys, and that says which bytes they are."""
    text = without_tokens(body.decode("utf-8", "surrogateescape"))
    return "".join(_escaped(character) for character in text)


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte that is no UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    if character == "\\":
        return "\\\\"
    if character.isprintable():  # control characters are not, nor those that turn the direction of what follows
        return character
    # Of U+0080 to U+00FF, which Python writes as \xNN too, the bytes are others.
    return character.encode("unicode_escape").decode() if character.isascii() else f"\\u{ord(character):04x}"


def _require_unreadable(is_unreadable: bool) -> None:  # noqa: FBT001 - the flag itself
    if not is_unreadable:
        raise CommandError(
            "add --unreadable: callbacks that were read are part of their task, and 'tasks show' has them", code=MISUSED
        )


async def _replay(config: Config) -> dict[str, int]:
    counts = dict.fromkeys(map(str, COUNTED), 0)
    after: int | None = 0
    async with desk(config) as client:
        while after is not None:
            page = await ask(client, "POST", "/v1/callbacks/replay", json={"after": after, "limit": PAGE})
            for name in counts:
                counts[name] += page[name]
            after = page["next"]
            if after is not None:
                stay = counts[Stays.STILL_UNREADABLE] + counts[Stays.CUT]
                note(f"{counts[READ]} read, {stay} not, and more to come")
    return counts


def _print_dry_run(kept: list[KeptUnreadable], config: Config, *, as_json: bool) -> None:
    accounts = accounts_of(config.providers)
    would: list[dict[str, Any]] = []
    for each in kept:
        if each.is_callback:
            try:
                outcome = {"would": READ, "status": str(read_again(each, accounts).status)}
            except CannotBeRead as error:
                outcome = {"would": str(error.stays), "reason": str(error)}
            would.append({**_listed(each), **outcome})
    if as_json:
        print_json({"dry_run": would})
        return
    for said in would:
        becomes = f"reads {said['status']!r}" if "status" in said else f"stays: {said['reason']}"
        out.print(f"{said['key']} {said['provider']} {said['external_task_id']} {becomes}", markup=False)
    count = sum(said["would"] == READ for said in would)
    out.print(f"{count} of {len(would)} would be read", markup=False)


def _listed(kept: KeptUnreadable) -> dict[str, Any]:
    """Everything but the bytes."""
    return {
        "key": kept.key,
        "time": iso(kept.heard_at),
        "provider": kept.provider,
        "external_task_id": kept.external_task_id,
        "trust": str(kept.trust),
        "reason": without_tokens(kept.reason),
        "size": kept.size,
        "kept": len(kept.body),
    }


def _table(kept: list[KeptUnreadable]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("key", "time", "provider", "task", "trust", "size", "reason"):
        table.add_column(column, overflow="fold", no_wrap=column in {"key", "task"})
    for each in map(_listed, kept):
        table.add_row(
            str(each["key"]),
            each["time"][:19].replace("T", " "),
            each["provider"],
            each["external_task_id"],
            each["trust"],
            str(each["size"]),
            escape(escaped(each["reason"].encode("utf-8", "surrogatepass"))),
        )
    return table


async def _all(reader: SqliteReader) -> list[KeptUnreadable]:
    """The whole drawer, which holds a thousand at most."""
    return [each async for each in _pages(reader)]


async def _pages(reader: SqliteReader) -> AsyncIterator[KeptUnreadable]:
    after = 0
    while page := await reader.unreadable(after, limit=PAGE):
        for each in page:
            yield each
        after = page[-1].key
