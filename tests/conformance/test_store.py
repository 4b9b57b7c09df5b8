"""A store in trouble: nothing is acknowledged that is not kept, the service stays up, and recovers alone."""

import asyncio
import contextlib
import resource
import sqlite3
import struct
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx

from receiver.ledger.errors import Overloaded
from receiver.ledger.judging import Heard
from receiver.ledger.sqlite import writer
from receiver.task import Source
from submitter.providers.base import Trust
from submitter.report import ReportedStatus, StatusReport
from tests.conformance.scenes import (
    IMAGE,
    SECRET,
    SUCCEED,
    awaited,
    finals,
    held_up,
    in_effect,
    ledger_of,
    line_to,
    minted,
    numbered,
    post_all,
    post_of,
    rows,
    said,
    set_up_writer,
)
from tests.flows.builders import House, World, receiving, report
from tests.flows.lives import Life, living
from tests.patience import PATIENCE, free_port

HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("begin exclusive")
print("held", flush=True)
sys.stdin.read()
"""


async def test_on_a_full_disk_nothing_is_acknowledged_and_readiness_says_why_and_returns_alone(
    world: World, tmp_path: Path
) -> None:
    async with receiving(tmp_path, world, "powertokens") as house:
        path = await awaited(house, "powertokens", "full")
        await pages_left(house, 0)
        refused = await house.http.post(path, content=report("succeed", task_id="5", images=[IMAGE + "?" * 7_000]))
        unready, live = await house.http.get("/readyz"), await house.http.get("/livez")
        while_full = await house.task("full")
        await pages_left(house, 1_000_000)
        ready = await house.http.get("/readyz")
        retried = await house.http.post(path, content=SUCCEED)
        told = await finals(house, "full")

    assert_not_acknowledged(refused)
    assert "submitted" == while_full["state"]
    assert (503, "ledger_unavailable", True) == (*said(unready), "full" in unready.json()["detail"])
    assert (200, 200) == (live.status_code, ready.status_code)
    assert (200, "applied") == said(retried)
    assert ["task.succeeded"] == told


async def test_where_the_disk_takes_no_more_bytes_a_real_server_says_503_until_it_does(
    world: World, tmp_path: Path
) -> None:
    """The kernel refuses the server's writes beyond a size: an I/O error, in the midst of a commit."""
    port = free_port()
    ledger = tmp_path / "ledger.db"
    requests = numbered(0, 200)
    async with living(tmp_path, world, "cometapi", port=port, callbacks={"secrets": [SECRET]}) as life:
        before = await post_all(port, requests[:20])
        with no_file_larger_than(life, size_of(wal_of(ledger)) + 400_000):
            in_trouble = await post_all(port, requests)
            refused = await the_first_refused(life)
            unready, live = await life.http.get("/readyz"), await life.http.get("/livez")
        ready = await life.http.get("/readyz")
        kept = in_effect(ledger)
        again = await post_all(port, requests)
        heard = in_effect(ledger)

    acknowledged = {f"t-{number}" for number, status in enumerate(in_trouble) if status == 200}
    assert [200] * 20 == before
    assert {200, 503} == set(in_trouble)
    assert_not_acknowledged(refused)
    assert (503, "ledger_unavailable", True) == (*said(unready), "I/O" in unready.json()["detail"])
    assert (200, 200) == (live.status_code, ready.status_code)
    assert set() == acknowledged - kept.keys()
    assert [200] * 200 == again
    assert {1} == set(heard.values())
    assert set() == {f"t-{number}" for number in range(200)} - heard.keys()


async def test_while_another_process_holds_the_file_callbacks_are_503_and_reading_goes_on(
    world: World, tmp_path: Path
) -> None:
    async with receiving(tmp_path, world, "powertokens") as house:
        path = await awaited(house, "powertokens", "locked")
        async with held_by_another_process(ledger_of(house)):
            refused = await house.http.post(path, content=SUCCEED)
            while_locked = await house.task("locked")
            asking = asyncio.create_task(house.http.get("/readyz"))
            live = await house.http.get("/livez")
            unready = await asking
        ready = await house.http.get("/readyz")
        retried = await house.http.post(path, content=SUCCEED)
        told = await finals(house, "locked")

    assert_not_acknowledged(refused)
    assert "submitted" == while_locked["state"]
    assert (503, "ledger_unavailable", True) == (*said(unready), "locked" in unready.json()["detail"])
    assert (200, 200) == (live.status_code, ready.status_code)
    assert (200, "applied") == said(retried)
    assert ["task.succeeded"] == told


async def test_a_full_queue_says_503_before_the_body_is_read_and_forgets_nothing(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "powertokens") as house:
        path = await awaited(house, "powertokens", "crowded")
        async with held_up(house):
            waiting = await fill_the_queue(house)
            async with line_to(house.port) as line, asyncio.timeout(PATIENCE):
                line.writer.write(post_of(path, SUCCEED)[: -len(SUCCEED)])  # the head alone
                status, document = await line.answer()
            refused = await house.http.post(path, content=SUCCEED)
        await asyncio.gather(*waiting)
        retried = await house.http.post(path, content=SUCCEED)
        heard = rows(ledger_of(house), "select count(*) from tasks where adopted = 1 and reports_applied = 1")

    assert (503, True) == (status, b'"overloaded"' in document)
    assert (503, "overloaded") == said(refused)
    assert 1 <= int(refused.headers["retry-after"])
    assert (200, "applied") == said(retried)
    assert [(len(waiting),)] == heard
    assert len(waiting) <= writer.MAX_WAITING + writer.MAX_BATCH


async def test_a_readers_snapshot_lets_the_wal_grow_and_loses_nothing(world: World, tmp_path: Path) -> None:
    count = 3_000
    async with receiving(tmp_path, world, "cometapi", callbacks={"secrets": [SECRET]}) as house:
        ledger = ledger_of(house)
        wal = wal_of(ledger)
        with snapshot_of(ledger) as seen:
            statuses = await post_all(house.port, numbered(0, count))
            grown, resets_while_read = size_of(wal), resets_of(wal)
            still_seen = seen()
        settled = resets_of(wal)
        while resets_of(wal) == settled and len(statuses) < count + 2_000:
            statuses += await post_all(house.port, numbered(len(statuses), 10), lines=1)
        begun_anew, size = resets_of(wal), size_of(wal)
        statuses += await post_all(house.port, numbered(len(statuses), 100))
        after = size_of(wal)
        heard = in_effect(ledger)
    left = size_of(wal)

    assert {200} == set(statuses)
    assert {f"t-{number}": 1 for number in range(len(statuses))} == heard
    assert 0 == still_seen
    assert resets_while_read == settled < begun_anew  # it could not begin anew while it was read, and then did
    assert 8 * 1024 * 1024 < grown
    assert (size, 0) == (after, left)


def assert_not_acknowledged(answer: httpx.Response) -> None:
    """503, when to come again, and a reason."""
    assert (503, "ledger_unavailable") == said(answer)
    assert 1 <= int(answer.headers["retry-after"])


async def the_first_refused(life: Life) -> httpx.Response:
    """A callback that alone does not fit any more: a batch may not have where one still does."""
    for number in range(1_000, 1_100):
        body = SUCCEED.replace(b'"5"', b'"%d"' % number)
        answer = await life.http.post(minted("cometapi", f"t-{number}"), content=body)
        if answer.status_code != 200:
            break
    return answer


async def pages_left(house: House, count: int) -> None:
    """So many more pages fit onto the disk."""
    [(used,)] = rows(ledger_of(house), "pragma page_count")
    await set_up_writer(house, f"pragma max_page_count = {used + count}")


@contextlib.contextmanager
def no_file_larger_than(life: Life, size: int) -> Iterator[None]:
    """The kernel lets this process write no file beyond so many bytes."""
    soft, hard = resource.prlimit(life.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(life.process.pid, resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.prlimit(life.process.pid, resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.asynccontextmanager
async def held_by_another_process(ledger: Path) -> AsyncIterator[None]:
    """Another process is in an exclusive transaction all the while."""
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, str(ledger), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    assert b"held\n" == await holder.stdout.readline()
    try:
        yield
    finally:
        await holder.communicate(b"")  # its standard input ends, and so does it


async def fill_the_queue(house: House) -> list[asyncio.Task[object]]:
    """Reports that wait for the disk, as many as the queue takes."""
    waiting: list[asyncio.Task[object]] = []
    while True:
        name = f"waiting-{len(waiting)}"
        said = StatusReport(
            provider="powertokens", provider_task_id=name, external_task_id=None, status=ReportedStatus.PROCESSING
        )
        heard = Heard(
            provider="powertokens",
            external_task_id=name,
            report=said,
            source=Source.CALLBACK,
            trust=Trust.TOKEN,
            now=house.runtime.clock(),
        )
        entering: asyncio.Task[object] = asyncio.create_task(house.runtime.ingest.hear(heard))
        await asyncio.sleep(0)
        if entering.done() and isinstance(entering.exception(), Overloaded):
            return waiting
        waiting.append(entering)
        assert len(waiting) <= writer.MAX_WAITING + writer.MAX_BATCH, "the queue has no bound"


@contextlib.contextmanager
def snapshot_of(ledger: Path) -> Iterator[Callable[[], int]]:
    """A reader that began now and does not end: how many tasks it sees."""
    reader = sqlite3.connect(f"file:{ledger}?mode=ro", uri=True, isolation_level=None)
    reader.execute("begin")

    def seen() -> int:
        [count] = reader.execute("select count(*) from tasks").fetchone()
        return int(count)

    seen()
    try:
        yield seen
    finally:
        reader.execute("rollback")
        reader.close()


def wal_of(ledger: Path) -> Path:
    """The log of writes beside the file."""
    return ledger.with_name(f"{ledger.name}-wal")


def size_of(file: Path) -> int:
    """In bytes; of a file that is not there, none."""
    return file.stat().st_size if file.exists() else 0


def resets_of(wal: Path) -> int:
    """How often this log was begun anew: the checkpoint sequence number in its header."""
    with wal.open("rb") as file:
        return int(struct.unpack(">I", file.read(16)[12:])[0])
