"""Bytes that are no callback: refused, kept to be looked at, and harmful to no other."""

import asyncio
import contextlib
from pathlib import Path

from receiver.ledger.errors import Unwritable
from receiver.ledger.judging import Heard
from receiver.task import Source
from submitter.providers.base import Trust
from submitter.report import ReportedStatus, StatusReport
from tests.conformance.scenes import all_read, awaited, held_up, ledger_of, line_to, post_of, rows, said
from tests.flows.builders import World, path_of, receiving, report


async def test_a_malformed_body_is_refused_and_kept_and_the_next_good_one_is_heard(
    world: World, tmp_path: Path
) -> None:
    bodies = [
        *(b"", b"\xff\xfe", b"{", b"[]", b'"succeed"', b'{"task_status":null}', b'{"task_status":"succeed"'),
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        b'{"task_status":"succeed","created_at":NaN}',
        b"task_status=succeed&task_id=5",
    ]
    async with receiving(tmp_path, world, "cometapi") as house:
        path = await awaited(house, "cometapi", "malformed")
        before = await house.task("malformed")

        answers = [await house.http.post(path, content=body) for body in bodies]
        after = await house.task("malformed")
        heard = await house.http.post(path, content=report("processing"))
        kept = rows(ledger_of(house), "select body from unreadable order by key")

    assert [(422, "unreadable")] * len(bodies) == [said(answer) for answer in answers]
    assert [(body[:16_384],) for body in bodies] == kept
    assert before == after
    assert (200, "applied") == said(heard)


async def test_a_malformed_content_type_is_read_by_its_bytes(world: World, tmp_path: Path) -> None:
    types = ["application/json", "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ";;;="]
    types += ["application/json; charset=utf-99", "application/json, text/html", "a" * 2_000, "application/\tjson"]
    async with receiving(tmp_path, world, "cometapi") as house:
        path = await awaited(house, "cometapi", "typed")
        body = report("processing")
        async with line_to(house.port) as line:
            untyped = await line.ask(post_of(path, body))
            typed = [await line.ask(post_of(path, body, {"content-type": each})) for each in types]

    assert (200, b'{"verdict":"applied"}') == untyped
    assert [(200, b'{"verdict":"duplicate"}')] * len(types) == typed


async def test_in_a_batch_one_poisoned_report_fails_alone(world: World, tmp_path: Path) -> None:
    """Sixty-three good ones share a commit with one that no database can write."""
    names = [f"good-{number}" for number in range(64)]
    async with receiving(tmp_path, world, "cometapi") as house:
        posts = [
            post_of(path_of(house.runtime.journal.callback_url("cometapi", name)), report("processing", task_id=name))
            for name in names
        ]
        async with contextlib.AsyncExitStack() as stack:
            lines = [await stack.enter_async_context(line_to(house.port)) for _ in posts]
            async with held_up(house):
                for line, post in zip(lines[:32], posts, strict=False):
                    line.writer.write(post)
                await all_read(house.port)
                poisoned = asyncio.create_task(house.runtime.ingest.hear(poison("bad", now=house.runtime.clock())))
                for line, post in zip(lines[32:], posts[32:], strict=True):
                    line.writer.write(post)
                await all_read(house.port)
            answers = [await line.answer() for line in lines]
        [outcome] = await asyncio.gather(poisoned, return_exceptions=True)
        tasks = (await house.http.get("/v1/tasks?limit=100")).json()["tasks"]

    assert [(200, b'{"verdict":"applied"}')] * 64 == answers
    assert isinstance(outcome, Unwritable)
    assert {(name, "processing", 1) for name in names} == {
        (task["external_task_id"], task["state"], task["reports"]["applied"]) for task in tasks
    }


def poison(name: str, *, now: int) -> Heard:
    """A report that gets past the readers as none can: half a surrogate pair, which no database writes."""
    said = StatusReport(
        provider="cometapi",
        provider_task_id=None,
        external_task_id=None,
        status=ReportedStatus.PROCESSING,
        message="\ud800",
    )
    return Heard(
        provider="cometapi", external_task_id=name, report=said, source=Source.CALLBACK, trust=Trust.TOKEN, now=now
    )
