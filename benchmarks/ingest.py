"""Durable ingest against an endpoint that keeps nothing, in one run: `make bench`, or with `--json`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from benchmarks.load import Load, post_all
from receiver.callback_url import mint_callback_url
from receiver.ledger.base import Opening
from receiver.ledger.sqlite import SqliteLedger
from submitter.ids import new_external_task_id
from submitter.submit import system_clock

CONNECTIONS = (1, 32, 64)
CALLBACKS = 3_000  # in each run, one for each of so many tasks
SECRET = "a secret of the benchmark's own"


async def main() -> None:
    """Measure, then print a table or JSON."""
    console = Console(stderr=True)
    results: dict[int, dict[str, Load]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for connections in CONNECTIONS:
            console.print(f"{connections} connections, {CALLBACKS} callbacks …", style="dim")
            results[connections] = {
                "no-op": await _measure_noop(connections),
                "durable": await _measure_durable(Path(folder) / f"{connections}.db", connections),
            }
    if "--json" in sys.argv:
        machine = {"python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count()}
        runs = {str(count): {name: asdict(load) for name, load in run.items()} for count, run in results.items()}
        sys.stdout.write(json.dumps({"machine": machine, "callbacks": CALLBACKS, "connections": runs}, indent=2) + "\n")
    else:
        Console().print(_table(results))


async def _measure_noop(connections: int) -> Load:
    port = _free_port()
    command = ["-m", "uvicorn", "benchmarks.noop:app", "--port", str(port), "--log-level", "warning"]
    async with _served(command, port, {}):
        url = f"http://127.0.0.1:{port}/callbacks/kling/t_1/token"
        return await post_all([(url, _body(number)) for number in range(CALLBACKS)], connections=connections)


async def _measure_durable(database: Path, connections: int) -> Load:
    """Every table and promise on: each callback moves a task of its own on."""
    ids = await _submitted(database)
    port = _free_port()
    settings = {
        "HOOKLEDGER_LEDGER__URL": f"sqlite:///{database}",
        "HOOKLEDGER_CALLBACKS__SECRETS": SECRET,
        "HOOKLEDGER_PROVIDERS__KLING__BASE_URL": "http://127.0.0.1:9/kling",
        "HOOKLEDGER_LOGGING__LEVEL": "warning",
    }
    async with _served(["-m", "receiver", "serve", "--port", str(port)], port, settings):
        root = f"http://127.0.0.1:{port}"
        urls = [mint_callback_url(root, provider="kling", external_task_id=each, secret=SECRET) for each in ids]
        callbacks = [(url, _body(number)) for number, url in enumerate(urls)]
        return await post_all(callbacks, connections=connections)


async def _submitted(database: Path) -> list[str]:
    now = system_clock()
    ledger = await SqliteLedger.open(database, now=now)
    ids = [new_external_task_id(now=now) for _ in range(CALLBACKS)]
    openings = (
        Opening(
            external_task_id=each,
            provider="kling",
            endpoint="omni-image",
            request='{"prompt":"a cat"}',
            request_digest=b"",
            images_asked=1,
            slots=1,
            slot_limit=None,
            now=now,
            deadline_at=now + 86_400_000,
            first_query_at=now + 86_400_000,
        )
        for each in ids
    )
    await asyncio.gather(*(ledger.open_task(opening) for opening in openings))
    await ledger.aclose()
    return ids


def _body(number: int) -> bytes:
    """A callback as the wire has it, each about a task of its own."""
    fields = {
        "task_id": str(867283741759000000 + number),
        "task_status": "processing",
        "task_status_msg": "",
        "created_at": 1782450245512,
        "updated_at": 1782450286078,
    }
    return json.dumps(fields).encode()


@contextlib.asynccontextmanager
async def _served(command: list[str], port: int, settings: dict[str, str]) -> AsyncIterator[None]:
    process = subprocess.Popen([sys.executable, *command], env=os.environ | settings)
    try:
        async with httpx.AsyncClient() as client:
            for _ in range(200):
                with contextlib.suppress(httpx.HTTPError):
                    await client.get(f"http://127.0.0.1:{port}/livez")
                    break
                await asyncio.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _table(results: dict[int, dict[str, Load]]) -> Table:
    table = Table(
        "connections", "endpoint", "per second", "p50 ms", "p99 ms", "failed", "of the no-op's rate", box=None
    )
    for connections, run in results.items():
        for name, load in run.items():
            ratio = load.per_second / run["no-op"].per_second
            table.add_row(
                str(connections),
                name,
                f"{load.per_second:.0f}",
                f"{load.p50_ms:.2f}",
                f"{load.p99_ms:.2f}",
                str(load.failed),
                f"{ratio:.2f}",
            )
    return table


if __name__ == "__main__":
    asyncio.run(main())
