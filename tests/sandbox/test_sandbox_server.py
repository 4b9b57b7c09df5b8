"""The sandbox as a server: it comes, it goes, and it leaves nothing behind."""

import ast
import asyncio
import signal
from pathlib import Path

import httpx
import pytest

import sandbox
from sandbox import SandboxSettings, create_sandbox, run_sandbox
from tests.patience import watching

BEARER = {"authorization": "Bearer any"}
PURE = {
    "answers", "auth", "bodies", "dialects", "dice", "faults", "images", "page",
    "records", "script", "settings", "signing", "validation", "world",
}  # fmt: skip
IMPURE = {"asyncio", "httpx", "aiosqlite", "sqlite3", "starlette", "time", "random", "secrets", "os", "socket"}


def imports_of(name: str) -> set[str]:
    tree = ast.parse((Path(sandbox.__file__).parent / f"{name}.py").read_text())
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return found | {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


def test_exactly_the_public_names_are_exported():
    names = ["FaultPlan", "RunningSandbox", "SandboxSettings", "create_sandbox", "run_sandbox"]

    assert names == sandbox.__all__


@pytest.mark.parametrize("name", sorted(PURE))
def test_a_pure_module_imports_nothing_that_does(name):
    assert not {each.partition(".")[0] for each in imports_of(name)} & IMPURE


def test_it_shares_no_code_with_what_it_tests():
    names = [path.stem for path in Path(sandbox.__file__).parent.glob("*.py")]

    assert not {each.partition(".")[0] for name in names for each in imports_of(name)} & {"submitter", "receiver"}


async def test_it_goes_within_a_second_whatever_is_under_way(play):
    sandbox = await play()
    async with watching() as watch:
        async with run_sandbox(SandboxSettings(task_seconds=0, pace=10)) as running:
            url = f"{running.kling_url}/v1/images/omni-image"
            # The first task's callbacks are under way to nobody, the second one's create waits for its answer.
            await sandbox.client.post(url, json={"prompt": "a fox", "callback_url": "http://127.0.0.1:9/x"})
            slow = asyncio.create_task(sandbox.client.post(url, json={"prompt": "[[slow]]"}))
            await sandbox.until(lambda: len(list(running.app.state.world.newest_first())) == 2)
            began = watch.seconds
        gone = watch.seconds - began

    assert gone < 1
    assert 200 == (await slow).status_code


async def test_it_goes_when_it_is_cancelled():
    url = asyncio.get_running_loop().create_future()

    async def live() -> None:
        async with run_sandbox(SandboxSettings()) as running:
            url.set_result(running.base_url)
            await asyncio.Event().wait()

    living = asyncio.create_task(live())
    address = await url
    living.cancel()
    with pytest.raises(asyncio.CancelledError):
        await living

    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(address)


async def test_it_goes_when_its_user_fails():
    with pytest.raises(LookupError):
        async with run_sandbox(SandboxSettings()):
            raise LookupError


async def test_it_leaves_signals_and_tasks_alone():
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    tasks = asyncio.all_tasks()
    async with run_sandbox(SandboxSettings()):
        within = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]

    assert handlers == within
    assert tasks == asyncio.all_tasks()


async def test_a_taken_port_is_an_os_error():
    async with run_sandbox(SandboxSettings()) as running:
        with pytest.raises(OSError, match="in use"):
            async with run_sandbox(SandboxSettings(), port=int(running.base_url.rpartition(":")[2])):
                pass


async def test_two_sandboxes_live_side_by_side():
    async with run_sandbox(SandboxSettings()) as one, run_sandbox(SandboxSettings()) as other:
        assert one.base_url != other.base_url


async def test_the_base_urls_are_the_prefixes():
    async with run_sandbox(SandboxSettings()) as running:
        prefixes = [running.kling_url, running.cometapi_url, running.powertokens_url]

        assert [f"{running.base_url}/{name}" for name in ("kling", "cometapi", "powertokens")] == prefixes


async def test_under_another_server_a_hang_up_becomes_a_504():
    app = create_sandbox(SandboxSettings())
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://sandbox", headers=BEARER) as client,
    ):
        answer = await client.post("/kling/v1/images/omni-image", json={"prompt": "[[unanswered]]"})

    assert 504 == answer.status_code


@pytest.mark.parametrize(
    "settings",
    [
        {"pace": -1},
        {"slots": -1},
        {"task_seconds": -1},
        {"kling_access_key": "only one"},
        {"query_by_external_id": frozenset({"elsewhere"})},
    ],
)
def test_settings_that_cannot_be_are_refused(settings):
    with pytest.raises(ValueError, match="sandbox: "):
        SandboxSettings(**settings)
