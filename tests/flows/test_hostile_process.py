"""The same over the receiver as it is really run: a process of its own, on its own event loop."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from receiver.callback_url import mint_callback_url
from tests.flows.builders import GATEWAYS, World, path_of, sandboxed
from tests.flows.lives import Life, living
from tests.flows.rawhttp import answers_to, line_to, request
from tests.flows.test_hostile_http import LIVE, PROCESSING, REFUSED
from tests.patience import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "a callback secret of this very test"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    async with sandboxed() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def life(world: World, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Life]:
    directory = tmp_path_factory.mktemp("life")
    async with living(directory, world, *GATEWAYS, port=free_port(), callbacks={"secrets": [SECRET]}) as running:
        yield running
        lines = [json.loads(line) for line in running.log.read_text().splitlines()]
        assert [] == [line for line in lines if line["level"] in {"error", "critical"} or "uvicorn" in line["logger"]]


async def expected(life: Life, name: str) -> str:
    """The path at which a task that runs for long is called back about."""
    await life.submit("cometapi", "a red fox [[drop_all,seconds=600]]", name)
    return path_of(mint_callback_url(life.url, provider="cometapi", external_task_id=name, secret=SECRET))


async def test_what_is_no_decent_http_is_refused(life: Life) -> None:
    for bytes_sent, status, code in REFUSED.values():
        async with line_to(life) as line:
            await line.send(bytes_sent)
            reply = await line.reply()
        assert reply is not None
        assert (status, code) == reply.said


@pytest.mark.parametrize("count", [1, 10])
async def test_who_has_said_all_and_still_listens_is_answered(life: Life, count: int) -> None:
    path = await expected(life, f"half-closed-{count}")
    async with line_to(life) as line:
        await line.send(request(path, PROCESSING) * count)
        line.hang_up_half()
        replies = await line.replies()

    assert [(200, "applied"), *[(200, "duplicate")] * (count - 1)] == [reply.said for reply in replies]


async def test_answers_that_are_owed_come_before_a_refusal(life: Life) -> None:
    path = await expected(life, "before-garbage")

    replies = await answers_to(life, LIVE + request(path, PROCESSING) + b"\x00garbage")

    assert [(200, ""), (200, "applied"), (400, "bad_http")] == [reply.said for reply in replies]


async def test_what_was_cut_short_changes_nothing(life: Life) -> None:
    path = await expected(life, "cut-short")
    async with line_to(life) as line:
        await line.send(request(path, PROCESSING)[:-1])
        line.hang_up_half()
        assert [] == await line.replies()

    assert "submitted" == (await life.task("cut-short"))["state"]


async def test_a_sender_that_is_too_loud_to_listen_still_hears_why(life: Life) -> None:
    path = await expected(life, "loud")
    async with line_to(life) as line:
        await line.send(request(path, b"", content_length=None, transfer_encoding="chunked"))
        await line.send(*[b"8000\r\n" + b"x" * 0x8000 + b"\r\n"] * 60)
        reply = await line.reply()

    assert reply is not None
    assert (413, "too_large") == reply.said


async def test_connections_that_are_dropped_at_any_moment_do_no_harm(life: Life) -> None:
    path = await expected(life, "dropped")
    sent = request(path, PROCESSING)

    async def dropped(cut_at: int) -> None:
        async with line_to(life) as line:
            await line.send(sent[:cut_at])
            line.writer.transport.abort()

    await asyncio.gather(*(dropped(cut_at) for cut_at in range(0, len(sent) - 1, 3)))

    assert "submitted" == (await life.task("dropped"))["state"]
    assert 200 == (await life.http.get("/readyz")).status_code
