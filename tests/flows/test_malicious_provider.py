"""A provider that means harm: its answers are bounded, lead nowhere, and touch no task but its own."""

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from submitter.client import MAX_ANSWER_BYTES
from tests.flows.builders import World, path_of, receiving, report

Answering = Callable[[asyncio.StreamWriter], Awaitable[None]]
PROVIDER_KEY = "sk-a-key-for-this-gateway-alone"


class Gateway:
    """A server that gives one answer to whatever comes, and remembers what that was."""

    def __init__(self, answer: Answering) -> None:
        self.url = ""
        self.heads: list[str] = []
        self._answer = answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head.decode())
            await self._answer(writer)
            await writer.drain()


@contextlib.asynccontextmanager
async def gateway(answer: Answering) -> AsyncIterator[Gateway]:
    """Such a server on a port of its own."""
    there = Gateway(answer)
    server = await asyncio.start_server(there.serve, "127.0.0.1", 0)
    there.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield there
    finally:
        server.close()


async def nothing(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    for _ in range(4 * MAX_ANSWER_BYTES // 65_536):
        writer.write(b"10000\r\n" + b" " * 65_536 + b"\r\n")
        await writer.drain()


async def blown_up(writer: asyncio.StreamWriter) -> None:
    body = gzip.compress(b" " * (8 * MAX_ANSWER_BYTES))
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)


@pytest.mark.parametrize("answer", [endless, blown_up])
async def test_an_answer_without_end_is_cut_and_its_task_is_unanswered(
    world: World, tmp_path: Path, answer: Answering
) -> None:
    async with gateway(answer) as there:
        account = {"base_url": there.url, "api_key": PROVIDER_KEY}
        async with receiving(tmp_path, world, "cometapi", account=account) as house:
            answered = await house.submit("cometapi", "a red fox", "endless")

    assert (202, "pending") == (answered.status_code, answered.json()["state"])
    assert str(MAX_ANSWER_BYTES) in answered.json()["message"]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_leads_nowhere_and_takes_no_key_along(world: World, tmp_path: Path, status: int) -> None:
    async with gateway(nothing) as elsewhere:

        async def sent_away(writer: asyncio.StreamWriter) -> None:
            head = f"HTTP/1.1 {status} Elsewhere\r\nlocation: {elsewhere.url}/v1\r\ncontent-length: 0\r\n\r\n"
            writer.write(head.encode())

        async with gateway(sent_away) as there:
            account = {"base_url": there.url, "api_key": PROVIDER_KEY}
            async with receiving(tmp_path, world, "cometapi", account=account) as house:
                await house.submit("cometapi", "a red fox", "sent-away")
                state = (await house.task("sent-away"))["state"]

    assert [] == elsewhere.heads
    assert 1 == len(there.heads)
    assert f"Bearer {PROVIDER_KEY}" in there.heads[0]
    assert state in {"pending", "refused"}


async def test_one_account_cannot_speak_of_anothers_tasks(world: World, tmp_path: Path) -> None:
    """Neither at the other's URL with its own token, nor by naming the other's ids at its own."""
    async with receiving(tmp_path, world, "cometapi", "powertokens") as house:
        for account in ("cometapi", "powertokens"):
            await house.submit(account, "a red fox [[drop_all,seconds=600]]", f"at-{account}")
        before = await house.task("at-powertokens")
        own = path_of(house.runtime.journal.callback_url("cometapi", "at-cometapi"))
        token = own.rpartition("/")[2]
        names_it = report("failed", task_info={"external_task_id": "at-powertokens"})
        answers = [
            await house.http.post(f"/callbacks/powertokens/at-powertokens/{token}", content=report("failed")),
            await house.http.post(f"/callbacks/cometapi/at-powertokens/{token}", content=report("failed")),
            await house.http.post(own, content=names_it),
        ]
        after = await house.task("at-powertokens")

    assert [404, 404, 422] == [answer.status_code for answer in answers]
    assert "at-powertokens" not in json.dumps([answer.json() for answer in answers])
    assert before == after
