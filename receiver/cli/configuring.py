"""config show | check, and migrate."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import typer
from pydantic import BaseModel, SecretStr

from receiver.boot import never_told, not_acted_on, problems_at_boot, public_url_of, sqlite_path
from receiver.cli.options import ConfigOption, JsonOption, load
from receiver.cli.output import MISUSED, out, print_json
from receiver.config import Config
from receiver.configerrors import ConfigError, ConfigProblem
from receiver.ledger.errors import LedgerLocked
from receiver.ledger.sqlite import SqliteLedger, SqliteReader
from receiver.ledger.sqlite.lock import holder_of, is_held
from receiver.outbox.opening import open_destinations
from submitter.settings import without_password
from submitter.submit import system_clock

app = typer.Typer(help="Look at the configuration in force.", no_args_is_help=True)


@app.command()
def show(
    context: typer.Context,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print every key with the value in force; secrets are masked."""
    settings = load(context, config)
    if as_json:
        print_json(shown(settings))
        return
    for key, value in _flat(shown(settings)):
        out.print(f"{key} = {value!r}", markup=False)


@app.command()
def check(
    context: typer.Context,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check everything that 'serve' would, and say what is wrong and how to mend it."""
    settings = load(context, config)
    found = [*problems_at_boot(settings, os.environ), *_problems_of_destinations(settings)]
    problems = list(dict.fromkeys(found))  # an extra that is missing is met by both
    notes = [*not_acted_on(settings), *never_told(settings)]
    if as_json:
        print_json({"ok": not problems, "problems": [str(each) for each in problems], "notes": notes})
        if problems:
            sys.exit(MISUSED)
        return
    if problems:
        raise ConfigError(problems)
    for each in notes:
        out.print(f"note: {each}", style="yellow", markup=False)
    accounts = ", ".join(sorted(settings.providers)) or "none yet"
    out.print(f"ok: callbacks go to {public_url_of(settings)}, accounts: {accounts}", markup=False)


def _problems_of_destinations(config: Config) -> Sequence[ConfigProblem]:
    """What is wrong with a destination or a handler, found by making each. Nothing is connected to."""
    try:
        open_destinations(config, clock=system_clock)
    except ConfigError as error:
        return error.problems
    return []


def migrate(
    context: typer.Context,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the ledger, or bring it up to this version. 'serve' does it too."""
    settings = load(context, config)
    asyncio.run(_migrate(settings))
    path = str(sqlite_path(settings))
    if as_json:
        print_json({"ledger": path, "current": True})
    else:
        out.print(f"{path} is up to date", markup=False)


async def _migrate(config: Config) -> None:
    path = sqlite_path(config)
    is_served = is_held(path) and holder_of(path)[1] is not None
    lock_wait = timedelta(0) if is_served else config.ledger.lock_wait
    try:
        ledger = await SqliteLedger.open(path, now=system_clock(), lock_wait=lock_wait)
    except LedgerLocked:
        reader = await SqliteReader.open(path)  # raises LedgerOutdated unless its holder has migrated it
        await reader.aclose()
    else:
        await ledger.aclose()


_HELD = (BaseModel, dict, tuple, SecretStr)  # what may hold a secret; the rest is shown as JSON writes it


def shown(value: Any) -> Any:
    """The configuration as JSON in its own words, with every secret masked."""
    if isinstance(value, SecretStr):
        return "********"
    if isinstance(value, BaseModel):
        texts = value.model_dump(mode="json")
        return {
            name: shown(each if isinstance(each := getattr(value, name), _HELD) else texts[name])
            for name in type(value).model_fields
        }
    if isinstance(value, dict):
        return {name: shown(each) for name, each in value.items()}
    if isinstance(value, str):
        return without_password(value)
    if isinstance(value, tuple):
        return [shown(each) for each in value]
    return value


def _flat(value: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    lines: list[tuple[str, Any]] = []
    for name, each in value.items():
        if isinstance(each, dict) and each:
            lines += _flat(each, f"{prefix}{name}.")
        else:
            lines.append((prefix + name, each))
    return lines
