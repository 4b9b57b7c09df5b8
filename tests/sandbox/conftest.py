"""Fixtures for the sandbox's own tests: a recorder that callbacks really reach, and a sandbox to play with."""

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import httpx
import pytest

from sandbox import RunningSandbox, SandboxSettings, run_sandbox
from tests.patience import PATIENCE

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One callback as it arrived."""

    at: float
    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, object]:
        return json.loads(self.raw)

    @property
    def status(self) -> object:
        return self.body.get("task_status")


@dataclass(slots=True)
class Recorder:
    """A real HTTP server that writes down what it is sent, and answers 200 or what it was told to."""

    base_url: str = ""
    heard: list[Heard] = field(default_factory=list)
    replies: list[int] = field(default_factory=list)

    def url(self, name: str) -> str:
        return f"{self.base_url}/callbacks/x/{name}/Token123"

    def of(self, name: str) -> list[Heard]:
        return [each for each in self.heard if f"/{name}/" in each.path]

    def statuses(self, name: str) -> list[object]:
        return [each.status for each in self.of(name)]

    async def until(self, name: str, count: int) -> list[Heard]:
        await eventually(lambda: len(self.of(name)) >= count)
        return self.of(name)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await self._one(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request_line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        raw = await reader.readexactly(int(headers.get("content-length", "0")))
        self.heard.append(Heard(at=time.time(), path=request_line.split()[1], headers=headers, raw=raw))
        reply = self.replies.pop(0) if self.replies else 200
        writer.write(f"HTTP/1.1 {reply} Told\r\ncontent-length: 2\r\n\r\nok".encode())
        await writer.drain()


@dataclass(slots=True)
class Clock:
    """A clock that stands where a test puts it."""

    now: float

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True, slots=True)
class Play:
    """A running sandbox, a client, and short ways to say what tests say often."""

    running: RunningSandbox
    client: httpx.AsyncClient
    recorder: Recorder

    def stopped_clock(self) -> Clock:
        """What the desk tells the time by from here on."""
        self.running.app.state.stage.clock = Clock(time.time())
        return self.running.app.state.stage.clock

    def images(self, gateway: str, endpoint: str = "omni-image") -> str:
        return f"{self.running.base_url}/{gateway}{'' if gateway == 'kling' else '/kling'}/v1/images/{endpoint}"

    async def create(self, gateway: str, prompt: str, name: str, **fields: object) -> httpx.Response:
        endpoint = str(fields.pop("endpoint", "omni-image"))
        body: dict[str, object] = {"prompt": prompt, "external_task_id": name, "callback_url": self.recorder.url(name)}
        if gateway == "powertokens" and endpoint == "omni-image":
            body["model_name"] = "kling-v3-omni"
        return await self.client.post(self.images(gateway, endpoint), json=body | fields)

    async def task_id(self, gateway: str, prompt: str, name: str, **fields: object) -> str:
        answer = await self.create(gateway, prompt, name, **fields)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]["task_id"]

    async def query(self, gateway: str, identity: str, endpoint: str = "omni-image") -> httpx.Response:
        return await self.client.get(f"{self.images(gateway, endpoint)}/{identity}")

    async def control(self, path: str) -> dict[str, object]:
        return (await self.client.get(f"{self.running.base_url}/sandbox/{path}")).json()

    async def counts(self) -> dict[str, dict[str, int]]:
        return await self.control("counts")

    async def truth(self, name: str) -> dict[str, object]:
        (task,) = (await self.control(f"tasks?external_task_id={name}"))["tasks"]
        return task

    async def until(self, holds: Callable[[], object]) -> None:
        await eventually(holds)

    async def until_status(self, http_status: int, ask: Callable[[], Awaitable[httpx.Response]]) -> None:
        """Ask until the answer has this status."""
        async with asyncio.timeout(PATIENCE):
            while True:
                if (await ask()).status_code == http_status:
                    return
                await asyncio.sleep(0.005)

    async def until_told(self, name: str, count: int) -> dict[str, object]:
        """The truth about a task, once its books show so many callbacks, lost ones included."""
        async with asyncio.timeout(PATIENCE):
            while True:
                task = await self.truth(name)
                if len(task["callbacks"]) >= count:
                    return task
                await asyncio.sleep(0.005)


async def eventually(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110  what is awaited happens on the other side of a socket
            await asyncio.sleep(0.005)


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    recording = Recorder()
    connections: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.create_task(recording.serve(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    recording.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield recording
    server.close()
    for connection in connections:
        connection.cancel()
    await asyncio.gather(*connections, return_exceptions=True)


@pytest.fixture
async def play(recorder: Recorder) -> AsyncIterator[Callable[..., Awaitable[Play]]]:
    """Start a sandbox whose tasks take a twentieth of a second, unless told otherwise."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(**settings: object) -> Play:
            told = {"task_seconds": 0.05, "pace": 0.05, "callback_timeout": PATIENCE, **settings}
            running = await stack.enter_async_context(run_sandbox(SandboxSettings(**told)))
            headers = {"authorization": "Bearer any"}
            # No TLS here: reading the roots for each test would take most of its time.
            client = httpx.AsyncClient(headers=headers, trust_env=False, timeout=PATIENCE, verify=NO_TLS)
            await stack.enter_async_context(client)
            return Play(running, client, recorder)

        yield start
