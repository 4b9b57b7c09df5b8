"""A receiver and the sandbox on real sockets, and short ways to say what flow tests say often."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from receiver.app import create_app
from receiver.boundedhttp import Limits
from receiver.config import Config
from receiver.runtime import Runtime
from receiver.serving import uvicorn_config
from sandbox import RunningSandbox, SandboxSettings, run_sandbox
from submitter.moments import Moment, millis
from submitter.submit import system_clock
from tests.patience import PATIENCE

Json = dict[str, Any]

WEBHOOK_SECRET = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # reading the roots would take most of a test's time
GLANCE = 0.005
IDLE = 3_600
STEP = 10  # milliseconds
UNHURRIED = 20.0  # seconds that a tick may take, and does not unless somebody hangs
AT_REST = {"succeeded", "failed", "refused", "expired"}
FINAL_EVENTS = {"task.succeeded", "task.failed", "task.refused", "task.expired"}

# The accounts of these tests, and the gateway that the sandbox plays for each. Kling signs for one of its two.
GATEWAYS = {"kling": "kling", "unsigned": "kling", "cometapi": "cometapi", "powertokens": "powertokens"}
TRUSTS = {"kling": "signed", "unsigned": "token", "cometapi": "token", "powertokens": "token"}
LOOKED_UP = ("unsigned", "powertokens")  # where the provider promises to find a task by our id

ONLY_CALLBACKS = {"learn": False, "first_after": "1h", "interval": "25s", "budget_per_minute": 10_000}
ASKING = {"learn": False, "first_after": "0s", "interval": "20ms", "budget_per_minute": 10_000}
UNHURRIED_LIMITS = Limits(head_seconds=PATIENCE, linger_seconds=PATIENCE)


class Clock:
    """A clock that goes while it is looked at, and that a test may jump: a machine that stands still moves it no more
    than a step."""

    def __init__(self) -> None:
        self._now = self._looked = system_clock()

    def __call__(self) -> Moment:
        looked, self._looked = self._looked, system_clock()
        self._now += min(max(self._looked - looked, 0), STEP)
        return self._now

    def jump(self, **duration: float) -> None:
        self._now += millis(timedelta(**duration))


@dataclass(frozen=True, slots=True)
class World:
    """The sandbox, and what it says really happened."""

    running: RunningSandbox
    http: httpx.AsyncClient

    @property
    def base_url(self) -> str:
        return self.running.base_url

    def account(self, name: str, **settings: Any) -> Json:
        """The configuration of one of the accounts above."""
        gateway = GATEWAYS[name]
        secrets = {"webhook_secrets": [WEBHOOK_SECRET]} if name == "kling" else {}
        return {"kind": gateway, "base_url": f"{self.base_url}/{gateway}", **secrets, **settings}

    async def counts(self) -> Json:
        return await self._get("counts")

    async def paid(self, external_task_id: str) -> int:
        """How often this task was accepted, and paid, anywhere."""
        counts = (await self.counts())["creates_by_external_id"]
        return sum(by_id.get(external_task_id, 0) for by_id in counts.values())

    async def requests(self, kind: str) -> list[Json]:
        """Every request of a kind (create, query, list) that reached a gateway."""
        return [each for each in (await self._get("requests"))["requests"] if each["kind"] == kind]

    async def tasks(self) -> list[Json]:
        return (await self._get("tasks"))["tasks"]

    async def truth(self, external_task_id: str) -> Json:
        [task] = (await self._get(f"tasks?external_task_id={external_task_id}"))["tasks"]
        return task

    async def until_told(self, external_task_id: str, count: int) -> Json:
        """The truth about a task, once its books show so many callbacks, lost ones included."""

        async def told() -> Json | None:
            tasks = (await self._get(f"tasks?external_task_id={external_task_id}"))["tasks"]
            return next((task for task in tasks if len(task["callbacks"]) >= count), None)

        return await eventually(told)

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[None]:
        """The provider's time stands: nothing that is in work there ends meanwhile, however long the block takes."""
        stage, now = self.running.app.state.stage, time.time()
        stage.clock = stage.postman._clock = lambda: now
        try:
            yield
        finally:
            stage.clock = stage.postman._clock = time.time

    @contextlib.contextmanager
    def silence(self) -> Iterator[None]:
        """The provider calls nobody back meanwhile: what is due by then comes afterwards."""
        postman, now = self.running.app.state.postman, time.time()
        postman._clock = lambda: now
        try:
            yield
        finally:
            postman._clock = time.time

    def let_go(self) -> None:
        """Whoever waits for a slow answer has it now."""
        self.running.app.state.stage.closing.set()

    async def callback(self, **wish: Any) -> Json:
        """One callback by hand, and how it was answered."""
        return (await self.http.post(f"{self.base_url}/sandbox/callback", json=wish)).json()

    async def _get(self, path: str) -> Json:
        return (await self.http.get(f"{self.base_url}/sandbox/{path}")).json()


@dataclass(frozen=True, slots=True)
class House:
    """A running receiver and a client of it."""

    runtime: Runtime
    http: httpx.AsyncClient
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def submit(
        self, provider: str, prompt: str, name: str, *, endpoint: str = "omni-image", **fields: Any
    ) -> httpx.Response:
        request = {"prompt": prompt, **fields}
        body = {"provider": provider, "endpoint": endpoint, "request": request, "external_task_id": name}
        return await self.http.post("/v1/tasks", json=body)

    async def task(self, name: str, **query: Any) -> Json:
        return (await self.http.get(f"/v1/tasks/{name}", params=query)).json()

    async def history(self, name: str) -> Json:
        return (await self.http.get(f"/v1/tasks/{name}/history")).json()

    async def events(self, name: str) -> list[str]:
        """The types of a task's events, in their order."""
        return [event["type"] for event in (await self.history(name))["events"]]

    async def told(self, name: str) -> list[Json]:
        """A task's events as apps are told them, snapshots included."""
        events = (await self.http.get("/v1/events", params={"limit": 500})).json()["events"]
        return [event for event in events if event["task"] and event["task"]["external_task_id"] == name]

    async def tick(self, *, seconds: float = UNHURRIED) -> Json:
        """A pass of the worker: until all that is due was done, or the seconds are up."""
        return (await self.http.post("/v1/tick", params={"seconds": seconds})).json()

    async def at_rest(self, name: str, *, within: float = PATIENCE) -> Json:
        """The task, once it is at rest and nothing about it is in doubt. The worker's turns are taken here."""

        async def rested() -> Json | None:
            await self.tick()
            task = await self.task(name)
            return task if task["state"] in AT_REST and task["doubt"] is None else None

        return await eventually(rested, within=within)

    async def until(self, name: str, holds: Callable[[Json], object], *, within: float = PATIENCE) -> Json:
        """The task, once this holds of it. Nobody's turn is taken."""

        async def held() -> Json | None:
            task = await self.task(name)
            return task if holds(task) else None

        return await eventually(held, within=within)

    async def at_rest_in_time(self, name: str, clock: Clock, *, most: int = 40) -> Json:
        """The task at rest: while its create is not answered the clock jumps, by minutes, `most` times in all."""
        for _ in range(most):
            await self.tick()
            task = await self.task(name)
            if task["state"] != "pending":
                return await self.at_rest(name)
            clock.jump(minutes=1)
        raise AssertionError(f"{name} is still pending: {await self.task(name)}")


async def until_waited_for(house: House, name: str, *, count: int = 1) -> None:
    """Until so many wait for this task."""

    async def waited_for() -> bool:
        return len(house.runtime.waiting._waiting.get(name, ())) >= count

    await eventually(waited_for)


async def eventually(look: Callable[[], Any], *, within: float = PATIENCE) -> Any:
    """What the look finds, once it finds something."""
    async with asyncio.timeout(within):
        while True:
            found = await look()
            if found:
                return found
            await asyncio.sleep(GLANCE)


@contextlib.asynccontextmanager
async def sandboxed(*, port: int = 0, **settings: Any) -> AsyncIterator[World]:
    """A sandbox whose tasks take a twentieth of a second, unless told otherwise."""
    told = {
        "pace": 0.02,
        "task_seconds": 0.05,
        "webhook_secret": WEBHOOK_SECRET,
        "callback_timeout": PATIENCE,
        **settings,
    }
    async with (
        run_sandbox(SandboxSettings(**told), port=port) as running,
        httpx.AsyncClient(trust_env=False, verify=NO_TLS, timeout=PATIENCE) as http,
    ):
        yield World(running, http)


def configuration(directory: Path, port: int, providers: Mapping[str, Json], **tables: Any) -> Config:
    """A receiver's configuration, as a file would hold it."""
    return Config.model_validate(
        {
            "public_url": f"http://127.0.0.1:{port}",
            "server": {"port": port},
            "ledger": {"url": f"sqlite:///{directory}/ledger.db"},
            "providers": dict(providers),
            "polling": ONLY_CALLBACKS,
            **tables,
        }
    )


@contextlib.asynccontextmanager
async def receiving(
    directory: Path,
    world: World,
    *accounts: str,
    clock: Callable[[], Moment] = system_clock,
    with_worker: bool = False,
    port: int = 0,
    account: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    **tables: Any,
) -> AsyncIterator[House]:
    """A receiver with these accounts at the sandbox, until the block is left; then it stops in order.

    Without the worker nothing is sent, asked or expired but by `/v1/tick`: tests say when.
    """
    with listening(port) as listener:
        taken: int = listener.getsockname()[1]
        providers = {name: world.account(name, **(account or {})) for name in accounts}
        config = configuration(directory, taken, providers, **tables)
        runtime = await Runtime.open(config, clock=clock)
        async with (
            served(create_app(runtime, with_worker=with_worker), listener, limits=limits),
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{taken}",
                trust_env=False,
                verify=NO_TLS,
                timeout=PATIENCE,
                headers=headers,
                limits=httpx.Limits(max_connections=None, keepalive_expiry=None),  # and see `served`
            ) as http,
        ):
            yield House(runtime, http, taken)


@contextlib.asynccontextmanager
async def served(app: Any, listener: socket.socket, *, limits: Limits | None = None) -> AsyncIterator[None]:
    """A real uvicorn on this socket, in this loop. It ends no idle connection just when a slow test uses it again."""
    config = uvicorn_config(app, limits=limits or UNHURRIED_LIMITS)
    config.timeout_keep_alive = IDLE
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await server.ready.wait()
        yield
    finally:
        server.leave()
        await serving


class _Server(uvicorn.Server):
    """uvicorn as a guest: it leaves the signals to the host, and goes without a poll's delay."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()
        self._leave = asyncio.Event()

    def leave(self) -> None:
        self.should_exit = True
        self._leave.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # As uvicorn's, which takes a tenth of a second at least: too much for a suite of some hundred receivers.
        for listener in sockets or []:  # Python 3.11 forgets, unclosed, what was accepted just before a server closes
            asyncio.get_running_loop().remove_reader(listener)
        await asyncio.sleep(GLANCE)
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110  it tells nobody
            await asyncio.sleep(GLANCE)
        await self.lifespan.shutdown()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self._leave.wait()


@contextlib.contextmanager
def listening(port: int = 0) -> Iterator[socket.socket]:
    """A bound socket; asyncio spares its connections Nagle's 40 ms only if the protocol is named."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        yield listener


def report(status: str, *, task_id: str = "867283741759111202", images: Sequence[str] = (), **more: Any) -> bytes:
    """The bytes of a callback as wire.md §3 has it."""
    now = time.time_ns() // 1_000_000
    said: Json = {"task_id": task_id, "task_status": status, "task_status_msg": "", "created_at": now}
    if images:
        said["task_result"] = {"images": [{"index": index, "url": url} for index, url in enumerate(images)]}
    return json.dumps(said | more).encode()


def path_of(url: str) -> str:
    """A callback URL without the host: what a client of the receiver posts to."""
    return httpx.URL(url).raw_path.decode()
