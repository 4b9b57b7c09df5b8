"""Runs the demo: real servers on free loopback ports, the real submitter, a bad callback path."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from receiver.app import create_app
from receiver.cli.demo.app import App, running_app
from receiver.cli.demo.plan import Planned, plan
from receiver.cli.demo.report import Tally, print_report, report_json, tally
from receiver.cli.output import CommandError, err, note, print_json
from receiver.config import Config, load_config
from receiver.logs import configure_logs
from receiver.runtime import Runtime
from receiver.serving import Server, bind
from sandbox import RunningSandbox, SandboxSettings, run_sandbox
from submitter.errors import Refused
from submitter.journal import HttpJournal
from submitter.request import read_request
from submitter.submit import Submitter

PACE = 0.08  # the provider's 8 to 45 s become 0.6 to 3.6
FIRST_AFTER_SECONDS = 90 * PACE
INTERVAL_SECONDS = 25 * PACE
PATIENCE_SECONDS = 50.0
SPREAD_SECONDS = 0.05  # between two submissions: a person's pace, sped up
WEBHOOK_SECRET = "whsec_aG9va2xlZGdlciBkZW1vIHNlY3JldA=="  # noqa: S105 - of a sandbox that lives for seconds
AT_REST = ("succeeded", "failed", "refused", "expired")


async def run_demo(*, tasks: int, seed: int, folder: Path, as_json: bool = False) -> bool:
    """The whole of it; whether every task settled and every count adds up."""
    _make_anew(folder)
    settings = SandboxSettings(seed=seed, pace=PACE, webhook_secret=WEBHOOK_SECRET)
    async with (
        _log(folder / "receiver.log"),
        run_sandbox(settings) as sandbox,
        running_app(WEBHOOK_SECRET) as app,
        _receiver(sandbox, app, folder) as (config, client),
    ):
        note(f"sandbox {sandbox.base_url} · receiver {config.public_url} · app {app.url}")
        note(f"{tasks} tasks over a bad callback path, told to an app that stumbles")
        planned = plan(tasks)
        submitting = asyncio.create_task(_submit_all(config, planned, seed))
        try:
            await _watch(client, tasks)
            await submitting
        finally:
            submitting.cancel()
        await _until_quiet(client, sandbox)
        await _until_told(client)
        counted = await tally(client, sandbox.base_url, planned, app, folder)
    if as_json:
        print_json(report_json(counted, pace=PACE))
        return counted.adds_up
    return _reported(counted, folder)


@contextlib.asynccontextmanager
async def _log(file: Path) -> AsyncIterator[None]:
    with file.open("w") as stream:
        configure_logs(format="json", level="info", stream=stream)
        yield


def _reported(counted: Tally, folder: Path) -> bool:
    print_report(counted, folder, pace=PACE, command=f"{_command()} tasks list --config {folder / 'config.toml'}")
    return counted.adds_up


def _make_anew(folder: Path) -> None:
    if folder.exists() and not (folder / "config.toml").exists() and any(folder.iterdir()):
        raise CommandError(f"{folder} holds other files: name an empty --folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


@contextlib.asynccontextmanager
async def _receiver(sandbox: RunningSandbox, app: App, folder: Path) -> AsyncIterator[tuple[Config, httpx.AsyncClient]]:
    """A receiver as `serve` runs it, on a free port, and a client of its API."""
    with bind("127.0.0.1", 0) as listener:
        public_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        file = folder / "config.toml"
        file.write_text(_config_text(sandbox, app, public_url, folder))
        config = load_config(str(file), environment={})
        runtime = await Runtime.open(config, address=public_url)
        server = Server(create_app(runtime), begin_stopping=runtime.begin_stopping)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            async with httpx.AsyncClient(base_url=public_url, timeout=30, trust_env=False) as client:
                await server.is_listening.wait()
                yield config, client
        finally:
            runtime.begin_stopping()
            server.should_exit = True
            await serving


def _config_text(sandbox: RunningSandbox, app: App, public_url: str, folder: Path) -> str:
    accounts = (
        ("kling", sandbox.kling_url, f'webhook_secrets = ["{WEBHOOK_SECRET}"]'),
        ("cometapi", sandbox.cometapi_url, ""),
        ("powertokens", sandbox.powertokens_url, "slots = 12"),
    )
    tables = "\n".join(
        f'[providers.{name}]\nkind = "{name}"\nbase_url = "{base_url}"\napi_key = "sandbox"\n{more}\n'
        for name, base_url, more in accounts
    )
    return (
        f'# Of the demo; its sandbox is gone, its ledger stays.\npublic_url = "{public_url}"\n\n'
        f"[server]\nport = {public_url.rpartition(':')[2]}\n\n"
        f'[ledger]\nurl = "sqlite:///{(folder / "ledger.db").absolute()}"\n\n'
        f'[polling]\nfirst_after = "{FIRST_AFTER_SECONDS * 1000:.0f}ms"\n'
        f'interval = "{INTERVAL_SECONDS * 1000:.0f}ms"\nbudget_per_minute = 600\n\n{tables}\n'
        f'[[destinations]]\nname = "app"\nurl = "{app.url}"\nsecret = "{WEBHOOK_SECRET}"\nprivate = true\n'
    )


async def _submit_all(config: Config, planned: list[Planned], seed: int) -> None:
    """Through the real submitter, which writes in the receiver's journal over HTTP."""
    async with (
        HttpJournal(config.public_url) as journal,
        Submitter(config.providers, journal=journal) as submitter,
        asyncio.TaskGroup() as group,
    ):
        for number, each in enumerate(planned, 1):
            group.create_task(_submit(submitter, each, f"demo-{seed}-{number:03d}"))
            await asyncio.sleep(SPREAD_SECONDS)


async def _submit(submitter: Submitter, planned: Planned, external_task_id: str) -> None:
    """Under an id of the demo's own: the sandbox's dice are thrown by seed and id, so every demo has the same luck."""
    request = read_request(planned.endpoint, planned.fields)
    with contextlib.suppress(Refused):  # it is in the ledger
        await submitter.submit(planned.provider, request, external_task_id=external_task_id)


async def _watch(client: httpx.AsyncClient, expected: int) -> None:
    """Live progress until every task is at rest. Raises CommandError when patience ends."""
    loop = asyncio.get_running_loop()
    until = loop.time() + PATIENCE_SECONDS
    progress = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=err
    )
    bar = progress.add_task("tasks at rest", total=expected)
    with Live(progress, console=err, refresh_per_second=8):
        while loop.time() < until:
            states = Counter(task["state"] for task in await tasks_of(client))
            done = sum(states[state] for state in AT_REST)
            progress.update(bar, completed=done, description=_described(states))
            if done == expected:
                return
            await asyncio.sleep(0.2)
    raise CommandError(f"after {PATIENCE_SECONDS:.0f} s not every task is at rest; see the log in the demo's folder")


async def tasks_of(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """Every task of the demo's ledger."""
    listed: list[dict[str, Any]] = (await client.get("/v1/tasks", params={"limit": 500})).json()["tasks"]
    return listed


def _described(states: Counter[str]) -> str:
    return " ".join(f"{count} {state}" for state, count in sorted(states.items())) or "submitting"


async def _until_quiet(client: httpx.AsyncClient, sandbox: RunningSandbox) -> None:
    """Until the provider has sent its last late callback."""
    before = None
    for _ in range(100):
        counts = (await client.get(f"{sandbox.base_url}/sandbox/counts")).json()
        if counts == before:
            return
        before = counts
        await asyncio.sleep(0.6)
    err.print("the sandbox is still sending callbacks", style="yellow")


async def _until_told(client: httpx.AsyncClient) -> None:
    """Until the app has what it stumbled over: a second attempt comes after five seconds."""
    for _ in range(60):
        [state] = (await client.get("/v1/destinations")).json()["destinations"]
        if not state["open"]:
            return
        await asyncio.sleep(0.25)
    err.print("the app was not told of everything", style="yellow")


def _command() -> str:
    return "hookledger" if sys.argv[0].endswith("__main__.py") else sys.argv[0]
