"""sandbox and demo: the whole thing without an account."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from receiver.cli.demo.run import run_demo
from receiver.cli.options import JsonOption
from receiver.cli.output import FAILED, MISUSED, CommandError, note, out, print_json
from sandbox import FaultPlan, RunningSandbox, SandboxSettings, run_sandbox


def sandbox(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 takes any that is free.", min=0, max=65535)] = 8090,
    seed: Annotated[int, typer.Option(help="The same seed and ids give the same troubles.")] = 0,
    pace: Annotated[float, typer.Option(help="0.1 is ten times as fast as the real ones (8 to 45 s a task).")] = 1.0,
    task_seconds: Annotated[float | None, typer.Option(help="Every task takes just so long.")] = None,
    faults: Annotated[
        str, typer.Option(help="Which troubles, how often: drop=0.2,duplicate=0.1 (see --list-faults).")
    ] = "",
    api_key: Annotated[str | None, typer.Option(help="The only key that is let in; without it, any is.")] = None,
    webhook_secret: Annotated[str | None, typer.Option(help="whsec_…: Kling's callbacks are signed with it.")] = None,
    slots: Annotated[int, typer.Option(help="Images in work at once per gateway; 0 is no limit.", min=0)] = 0,
    powertokens_wraps: Annotated[
        bool,
        typer.Option(
            "--powertokens-wraps/--powertokens-plain",
            help="PowerTokens wraps its query answers, as is inferred, or has the documented envelope.",
        ),
    ] = True,
    list_faults: Annotated[bool, typer.Option("--list-faults", help="Print what can go wrong, and stop.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Play Kling, CometAPI and PowerTokens, bad days included: to try an app without an account."""
    if list_faults:
        _print_faults(as_json=as_json)
        return
    try:
        settings = SandboxSettings(
            seed=seed,
            pace=pace,
            task_seconds=task_seconds,
            faults=FaultPlan.parse(faults),
            api_key=api_key,
            webhook_secret=webhook_secret,
            slots=slots,
            powertokens_wraps_queries=powertokens_wraps,
        )
    except ValueError as error:
        raise CommandError(str(error), code=MISUSED) from None
    try:
        asyncio.run(_run(settings, host, port, as_json=as_json))
    except OSError as error:
        raise CommandError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another --port", code=MISUSED
        ) from None


def demo(
    tasks: Annotated[int, typer.Option(help="How many tasks.", min=9, max=500)] = 36,
    seed: Annotated[int, typer.Option(help="Which troubles befall which task.")] = 7,
    folder: Annotated[Path, typer.Option(help="Where the ledger, the log and the images go; made anew.")] = Path(
        ".demo"
    ),
    as_json: JsonOption = False,
) -> None:
    """A sandbox, a receiver, and a few dozen tasks over a callback path that loses, doubles and reorders."""
    if not asyncio.run(run_demo(tasks=tasks, seed=seed, folder=folder, as_json=as_json)):
        raise CommandError("the demo's counts do not add up: the table says which", code=FAILED)


async def _run(settings: SandboxSettings, host: str, port: int, *, as_json: bool) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with run_sandbox(settings, host=host, port=port) as running:
        _print_addresses(running, as_json=as_json)
        await stopped.wait()
    note("stopped")


def _print_addresses(running: RunningSandbox, *, as_json: bool) -> None:
    if as_json:
        print_json({"sandbox": running.base_url, "base_urls": _addresses(running)})
        return
    out.print(f"The sandbox answers at {running.base_url} (open it for what it can do). In config.toml:\n")
    for name, base_url in _addresses(running).items():
        out.print(f'[providers.{name}]\nkind = "{name}"\nbase_url = "{base_url}"\napi_key = "any"', markup=False)
    out.print("\nCtrl-C stops it.")


def _addresses(running: RunningSandbox) -> dict[str, str]:
    return {"kling": running.kling_url, "cometapi": running.cometapi_url, "powertokens": running.powertokens_url}


def _print_faults(*, as_json: bool) -> None:
    if as_json:
        print_json(FaultPlan.describe())
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, meaning in FaultPlan.describe().items():
        table.add_row(f"[bold]{name}[/]", meaning.replace("[", "\\["))
    out.print(table)
    out.print("\nIn a prompt, \\[\\[drop]] or \\[\\[duplicate,reorder]] applies just these to that task.")
