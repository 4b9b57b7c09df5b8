"""keys add | list | revoke: who may use this receiver, for what, and whose tasks he sees."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.markup import escape
from rich.table import Table

from receiver.cli.desk import ask, desk
from receiver.cli.options import ConfigOption, JsonOption, load
from receiver.cli.output import MISUSED, CommandError, note, out, print_json
from receiver.cli.reading import read
from receiver.config import Config
from receiver.keyroutes import USUAL_SCOPES, key_json
from receiver.keys import KeyKind, Scope

app = typer.Typer(help="Give keys to apps and people, and take them back.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Lower-case letters, digits, - and _.")]


@app.command()
def add(
    context: typer.Context,
    name: Name,
    config: ConfigOption = None,
    scopes: Annotated[
        list[Scope] | None, typer.Option("--scope", help="What it is good for; submit and read if none is named.")
    ] = None,
    tenant: Annotated[
        str | None, typer.Option(help="Whose tasks it sees and submits; its own name if not given.")
    ] = None,
    is_operator: Annotated[bool, typer.Option("--operator", help="It sees everybody's tasks.")] = False,
    providers: Annotated[list[str] | None, typer.Option("--provider", help="Only this account; all if none.")] = None,
    quota: Annotated[int | None, typer.Option(min=1, help="How many tasks its tenant may have running.")] = None,
    passes_through: Annotated[
        bool, typer.Option("--pass-through", help="What the gateway does not know goes on to the provider.")
    ] = False,
    is_pair: Annotated[bool, typer.Option("--pair", help="An access key and a secret, as Kling has them.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a key, and show it this once."""
    if is_operator and tenant is not None:
        raise CommandError("--operator sees every tenant's tasks: leave --tenant out", code=MISUSED)
    wish: dict[str, Any] = {
        "name": name,
        "kind": KeyKind.PAIR if is_pair else KeyKind.BEARER,
        "scopes": list(scopes or USUAL_SCOPES),
        "tenant": None if is_operator else tenant or name,
        "providers": providers or [],
        "quota": quota,
        "pass_through": passes_through,
    }
    made = asyncio.run(_ask(load(context, config), "POST", "/v1/keys", json=wish))
    if as_json:
        print_json(made)
        return
    for word in ("key", "access_key", "secret_key", "webhook_secret"):
        if made.get(word):
            out.print(f"{word}: {made[word]}")
    note("it is shown this once: the ledger keeps nothing that opens")


@app.command("list")
def list_keys(
    context: typer.Context,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the keys that were made; never what opens."""
    shown = [key_json(each) for each in read(load(context, config), lambda reader: reader.keys())]
    if as_json:
        print_json({"keys": shown})
    else:
        out.print(_table(shown) if shown else "no keys but those of the configuration")


@app.command()
def revoke(
    context: typer.Context,
    name: Name,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Revoke a key, for good: its name is not given again."""
    revoked = asyncio.run(_ask(load(context, config), "DELETE", f"/v1/keys/{quote(name, safe='')}"))
    if as_json:
        print_json(revoked)
    else:
        out.print(f"{name} opens nothing any more")


async def _ask(config: Config, method: str, path: str, **options: Any) -> dict[str, Any]:
    async with desk(config) as client:
        return await ask(client, method, path, **options)


def _table(keys: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "kind", "tenant", "scopes", "providers", "quota", "access key", "created", "revoked"):
        table.add_column(column, overflow="fold", no_wrap=column in {"name", "kind"})
    for each in keys:
        table.add_row(
            escape(each["name"]),
            each["kind"] + (" (passes through)" if each["pass_through"] else ""),
            "(operator)" if each["tenant"] is None else escape(each["tenant"]),
            " ".join(each["scopes"]),
            escape(" ".join(each["providers"])) or "all",
            "" if each["quota"] is None else str(each["quota"]),
            each["access_key"] or "",
            each["created_at"][:19].replace("T", " "),
            (each["revoked_at"] or "")[:19].replace("T", " "),
        )
    return table
