"""The receiver inside another app: mounted under a path, its lifespan entered by the host, its events handled there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from receiver.configerrors import ConfigError
from receiver.embedding import Receiver
from submitter import OmniImageRequest
from tests.flows import handling
from tests.flows.builders import NO_TLS, Clock, World, configuration, eventually, listening, served
from tests.patience import PATIENCE, free_port

HANDLER = "tests.flows.handling:on_event"
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    handling.heard.clear()
    handling.stumbles = 0
    yield
    handling.heard.clear()


@dataclass(frozen=True, slots=True)
class Host:
    """An app with a page of its own and the receiver under /tasks."""

    receiver: Receiver
    http: httpx.AsyncClient


@contextlib.asynccontextmanager
async def hosting(directory: Path, world: World, *, clock: Clock | None = None, **tables: Any) -> AsyncIterator[Host]:
    with listening() as listener:
        port: int = listener.getsockname()[1]
        config = configuration(
            directory, port, {"cometapi": world.account("cometapi")}, **{"handlers": [HANDLER], **tables}
        ).model_copy(update={"public_url": f"http://127.0.0.1:{port}/tasks"})
        receiver = Receiver(config) if clock is None else Receiver(config, clock=clock)

        @contextlib.asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            async with receiver.lifespan():
                yield

        app = Starlette(routes=[Route("/", page), Mount("/tasks", receiver)], lifespan=lifespan)
        async with (
            served(app, listener),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, verify=NO_TLS) as http,
        ):
            yield Host(receiver, http)


async def page(_: Request) -> Response:
    return PlainTextResponse("ours")


async def test_a_mounted_receiver_hears_callbacks_and_tells_the_hosts_handler(world: World, tmp_path: Path) -> None:
    async with hosting(tmp_path, world) as host:
        task = await host.receiver.submitter.submit("cometapi", OmniImageRequest(prompt="a red fox"))
        await eventually(lambda: heard_of(task.external_task_id, "task.succeeded"))
        shown = (await host.http.get(f"/tasks/v1/tasks/{task.external_task_id}")).json()
        ours = await host.http.get("/")

    assert "ours" == ours.text
    assert ("succeeded", "callback") == (shown["state"], shown["settled_by"])
    assert ["task.submitted", "task.processing", "task.succeeded"] == [each["type"] for each in handling.heard]
    assert shown["images"] == handling.heard[-1]["data"]["images"]


async def heard_of(task: str, type_: str) -> bool:
    return (task, type_) in {(each["subject"], each["type"]) for each in handling.heard}


async def test_a_handler_that_raises_is_told_again_of_the_same_event(
    world: World, clock: Clock, tmp_path: Path
) -> None:
    handling.stumbles = 1
    async with hosting(tmp_path, world, clock=clock) as host:
        task = await host.receiver.submitter.submit("cometapi", OmniImageRequest(prompt="a red fox"))

        async def told() -> bool:
            clock.jump(minutes=1)
            await host.http.post("/tasks/v1/tick")
            return await heard_of(task.external_task_id, "task.succeeded")

        await eventually(told)

    first, second = handling.heard[:2]
    assert first == second


async def test_without_its_lifespan_it_says_what_is_missing(world: World, tmp_path: Path) -> None:
    receiver = Receiver(configuration(tmp_path, 1, {}))
    app = Starlette(routes=[Mount("/tasks", receiver)])

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://host") as http:
        with pytest.raises(RuntimeError, match=r"async with receiver\.lifespan\(\)"):
            await http.get("/tasks/livez")


async def test_a_lifespan_may_be_entered_again(world: World, tmp_path: Path) -> None:
    receiver = Receiver(configuration(tmp_path, 1, {}))
    for _ in range(2):
        async with receiver.lifespan() as runtime:
            assert await runtime.ledger.events_after(0, limit=1) == []


async def test_what_serve_would_refuse_is_refused_here_too(tmp_path: Path) -> None:
    config = configuration(tmp_path, 1, {}).model_copy(update={"public_url": "https://hooks.example.com"})

    with pytest.raises(ConfigError, match=r"api\.keys"):
        async with Receiver(config).lifespan():
            pass


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        ("tests.flows.handling", "write 'package.module:function'"),
        ("tests.flows.missing:on_event", "cannot be imported"),
        ("tests.flows.handling:nobody", "no function of that module"),
        ("tests.flows.handling:not_async", "async def"),
    ],
)
async def test_a_handler_that_is_none_is_refused_at_boot(tmp_path: Path, handler: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        async with Receiver(configuration(tmp_path, 1, {}, handlers=[handler])).lifespan():
            pass


async def test_the_end_waits_for_the_handler_that_is_at_work(world: World, tmp_path: Path) -> None:
    async with hosting(tmp_path, world) as host:
        task = await host.receiver.submitter.submit("cometapi", OmniImageRequest(prompt="a red fox"))
        await eventually(lambda: heard_of(task.external_task_id, "task.submitted"))

    async with Receiver(host.receiver.config).lifespan() as runtime:
        history = await runtime.ledger.history(task.external_task_id)
        await asyncio.sleep(0)

    assert history is not None
    assert "delivered" == history.deliveries[0].state


async def test_the_documented_example_runs(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "embedding.md").read_text()
    code = text.partition("```python\n")[2].partition("```")[0]
    with listening() as listener:
        port = listener.getsockname()[1]
        config = (
            f"public_url = 'http://127.0.0.1:{port}/tasks'\n[providers.kling]\nbase_url = '{world.base_url}/kling'\n"
        )
        (tmp_path / "config.toml").write_text(config)
        monkeypatch.chdir(tmp_path)
        example: dict[str, Any] = {}
        exec(code, example)
        async with (
            served(example["app"], listener),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, verify=NO_TLS) as http,
        ):
            drawn = await http.post("/draw")
            task = (await http.get(f"/tasks/v1/tasks/{drawn.json()['task']}?wait=20")).json()

    assert 202 == drawn.status_code
    assert "succeeded" == task["state"]


async def test_a_signal_to_the_host_ends_the_streams_that_would_hold_it_up(tmp_path: Path) -> None:
    """Plain uvicorn waits for its last answer without end."""
    port = free_port()
    text = (ROOT / "docs" / "embedding.md").read_text()
    code = text.partition("```python\n")[2].partition("```")[0]
    (tmp_path / "config.toml").write_text(f"public_url = 'http://127.0.0.1:{port}/tasks'\n")
    (tmp_path / "host.py").write_text(f"{code}\nimport uvicorn\n\nuvicorn.run(app, port={port})\n")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "host.py",
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/tasks", trust_env=False, verify=NO_TLS) as http:

            async def is_live() -> bool:
                with contextlib.suppress(httpx.TransportError):
                    return (await http.get("/livez")).status_code == 200
                return False

            await eventually(is_live)
            async with http.stream("GET", "/v1/events", headers={"accept": "text/event-stream"}) as stream:
                lines = stream.aiter_lines()
                await anext(lines)
                process.terminate()
                async with asyncio.timeout(PATIENCE):
                    async for _ in lines:
                        pass
        async with asyncio.timeout(PATIENCE):
            code_at_end = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    assert code_at_end in {0, -signal.SIGTERM}
