"""Receivers that can be killed, and a road that can be held up: what restarts are tried with."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.flows.builders import NO_TLS, ONLY_CALLBACKS, House, Json, World, eventually
from tests.patience import PATIENCE

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Life(House):
    """A receiver in a process of its own: `python -m receiver serve`."""

    process: asyncio.subprocess.Process
    log: Path

    async def kill(self) -> None:
        """End it as a power cut does."""
        self.process.kill()
        await self.process.wait()


@contextlib.asynccontextmanager
async def living(
    directory: Path,
    world: World,
    *accounts: str,
    port: int,
    account: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    **tables: Any,
) -> AsyncIterator[Life]:
    """A receiver with these accounts at the sandbox, listening. Killed at the latest when the block is left."""
    file, log = directory / "config.toml", directory / "log.jsonl"
    settings: Json = {
        "public_url": f"http://127.0.0.1:{port}",
        "server": {"port": port},
        "ledger": {"url": f"sqlite:///{directory}/ledger.db"},
        "providers": {name: world.account(name, **(account or {})) for name in accounts},
        "polling": ONLY_CALLBACKS,
        **tables,
    }
    file.write_text(as_toml(settings))
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "receiver", "serve", "--config", str(file),
            cwd=ROOT, stderr=stderr, stdout=stderr, env={"PATH": os.environ["PATH"], "HOME": str(directory)},
        )  # fmt: skip
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}",
        trust_env=False,
        verify=NO_TLS,
        timeout=PATIENCE,
        headers=headers,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),  # lest it is ended just then
    ) as http:
        life = Life(None, http, port, process, log)  # type: ignore[arg-type]
        try:
            await eventually(lambda: is_live(life))
            yield life
        finally:
            if process.returncode is None:
                await life.kill()


async def is_live(life: Life) -> bool:
    assert life.process.returncode is None, life.log.read_text()
    try:
        return (await life.http.get("/livez")).status_code == 200
    except httpx.TransportError:
        return False


def as_toml(tables: Mapping[str, Any], path: str = "") -> str:
    """A nested mapping as TOML: JSON's scalars and lists are TOML's too. A list of tables stands at the top."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in tables.items() if not _has_tables(value)]
    below = [
        f"\n[{path}{key}]\n{as_toml(value, f'{path}{key}.')}"
        for key, value in tables.items()
        if isinstance(value, Mapping)
    ]
    listed = [
        f"\n[[{key}]]\n{as_toml(each)}"
        for key, value in tables.items()
        if isinstance(value, list) and _has_tables(value)
        for each in value
    ]
    return "\n".join([*lines, *below, *listed])


def _has_tables(value: Any) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list) and any(map(_has_tables, value)))


class Gate:
    """A road to a server on which requests can be held up, and answers lost."""

    def __init__(self, port: int) -> None:
        self.url = ""
        self.holds: bytes | None = None  # requests that begin so are held up
        self.held = asyncio.Event()
        self.losses = 0  # how many answers are still to be lost
        self._beyond = port
        self._opened = asyncio.Event()

    async def through(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
            head = await reader.readuntil(b"\r\n\r\n")
            if self.holds is not None and head.startswith(self.holds):
                self.held.set()
                await self._opened.wait()
            there, back = await asyncio.open_connection("127.0.0.1", self._beyond)
            with contextlib.closing(back):
                back.write(head)
                await self._pump(reader, writer, there, back)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        back: asyncio.StreamWriter,
    ) -> None:
        sending = asyncio.create_task(_copy(reader, back))
        try:
            if self.losses:
                self.losses -= 1
                await there.read(1)  # it was answered, and so it is on disk
                return
            await _copy(there, writer)
        finally:
            sending.cancel()


@contextlib.asynccontextmanager
async def gate(url: str) -> AsyncIterator[Gate]:
    """An open gate on the road to a base URL."""
    beyond = httpx.URL(url)
    road = Gate(beyond.port or 80)
    walking: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        walking.add(asyncio.create_task(road.through(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    road.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{beyond.path.rstrip('/')}"
    try:
        yield road
    finally:
        server.close()
        for each in walking:
            each.cancel()
        await asyncio.gather(*walking, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65536):
        writer.write(chunk)
        await writer.drain()
