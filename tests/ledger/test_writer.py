"""The one queue of writes: who shares a commit, who is told what, and how it gets over the store's trouble."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
import pytest_asyncio

from receiver.ledger.errors import LedgerUnavailable, NotPossible, Overloaded, Refusal
from receiver.ledger.reading import Query
from receiver.ledger.sqlite import SqliteLedger
from receiver.ledger.sqlite.connection import connect_writer, in_thread
from receiver.ledger.sqlite.reader import SqliteReader
from receiver.ledger.sqlite.writer import MAX_BATCH, MAX_BATCH_BYTES, MAX_WAITING, Single, Writer
from receiver.task import TaskState
from tests.ledger.builders import (
    JUDGE,
    NOW,
    OURS,
    PROCESSING,
    SUBMITTED,
    SUCCEED,
    THEIRS,
    callback,
    hear,
    image,
    opening,
    task_of,
)
from tests.patience import PATIENCE, watching


@pytest.fixture(params=[False, True], ids=["in the thread", "on the loop"], autouse=True)
def _where_it_runs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Note, "is_short", request.param)


class Note:
    """A write that adds what it is given, and remembers how many came in each call."""

    is_short = False

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def run(self, raw: sqlite3.Connection, items: Sequence[str]) -> Sequence[str | Refusal]:
        self.calls.append(list(items))
        raw.executemany("insert into notes (text) values (?)", [(item,) for item in items])
        return [item.upper() for item in items]


class Desk:
    """A writer over one table, with every commit that it made."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self.commits: list[list[Any]] = []
        self.connection = connection
        self.note = Note()
        self.writer = Writer(connection, on_commit=lambda outcomes: self.commits.append(list(outcomes)))

    async def texts(self) -> list[str]:
        return await in_thread(
            self.connection, lambda raw: [row[0] for row in raw.execute("select text from notes order by key")]
        )

    def add(self, text: str, *, size: int = 0) -> asyncio.Future[Any]:
        return self.writer.enqueue(self.note, text, size=size)


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    connection = await connect_writer(tmp_path / "notes.db")
    await in_thread(
        connection, lambda raw: raw.execute("create table notes (key integer primary key, text text not null) strict")
    )
    opened = Desk(connection)
    yield opened
    await opened.writer.aclose()
    await connection.close()


async def test_what_arrives_at_once_shares_one_commit_and_one_call(desk: Desk) -> None:
    outcomes = await asyncio.gather(*(desk.add(f"a{number}") for number in range(50)))

    assert [f"A{number}" for number in range(50)] == outcomes
    assert 1 == len(desk.commits) == len(desk.note.calls)


async def test_what_arrives_while_a_commit_runs_shares_the_next(desk: Desk) -> None:
    arrived: list[asyncio.Future[Any]] = []
    loop = asyncio.get_running_loop()

    def slow(raw: sqlite3.Connection) -> str:
        """In the writer's thread, inside its transaction: forty more arrive before it commits."""
        asyncio.run_coroutine_threadsafe(arrive(), loop).result(10)
        return "slow"

    async def arrive() -> None:
        arrived.extend(desk.add(f"{number}") for number in range(40))

    await desk.writer.write(Single(slow), None)
    await asyncio.gather(*arrived)

    assert [1, 40] == [len(commit) for commit in desk.commits]


async def test_order_is_kept_whatever_kinds_of_writes_come(desk: Desk) -> None:
    def single(text: str) -> Callable[[sqlite3.Connection], None]:
        return lambda raw: raw.execute("insert into notes (text) values (?)", (text,)) and None

    futures: list[asyncio.Future[Any]] = []
    for number in range(30):
        is_single = number % 4 == 0
        futures.append(desk.writer.enqueue(Single(single(f"{number}")), None) if is_single else desk.add(f"{number}"))
    await asyncio.gather(*futures)

    assert [f"{number}" for number in range(30)] == await desk.texts()
    assert 1 == len(desk.commits)
    assert ["1", "2", "3"] == desk.note.calls[0]


async def test_a_batch_is_bounded_in_count(desk: Desk) -> None:
    await asyncio.gather(*(desk.add("x") for _ in range(MAX_BATCH * 2 + 1)))

    assert [MAX_BATCH, MAX_BATCH, 1] == [len(commit) for commit in desk.commits]


async def test_a_batch_is_bounded_in_bytes(desk: Desk) -> None:
    half = MAX_BATCH_BYTES // 2

    await asyncio.gather(*(desk.add("x", size=half) for _ in range(5)))

    assert [2, 2, 1] == [len(commit) for commit in desk.commits]


async def test_an_entry_larger_than_a_batch_goes_alone(desk: Desk) -> None:
    await asyncio.gather(desk.add("x"), desk.add("y", size=MAX_BATCH_BYTES + 1), desk.add("z"))

    assert [1, 1, 1] == [len(commit) for commit in desk.commits]


async def test_the_queues_room_is_given_back_by_what_was_written(desk: Desk) -> None:
    for _ in range(3):
        await asyncio.gather(*(desk.add("x", size=1_000_000) for _ in range(200)))

    assert 600 == len(await desk.texts())
    assert 0 == desk.writer._waiting_bytes


async def test_a_full_queue_turns_away_and_forgets_nothing(desk: Desk) -> None:
    futures = [desk.add(f"{number}") for number in range(MAX_WAITING)]

    with pytest.raises(Overloaded, match="waiting for the disk"):
        desk.add("one too many")
    await asyncio.gather(*futures)

    assert MAX_WAITING == len(await desk.texts())


@pytest.mark.parametrize("culprits", [{0}, {63}, {17}, {0, 1, 62}, set(range(0, 64, 2)), set(range(64))])
async def test_culprits_stand_alone_and_the_others_are_written_in_order(culprits: set[int], desk: Desk) -> None:
    futures = [desk.add("\ud800" if number in culprits else f"{number}") for number in range(64)]

    outcomes = await asyncio.gather(*futures, return_exceptions=True)

    assert culprits == {number for number, each in enumerate(outcomes) if isinstance(each, Exception)}
    assert [f"{number}" for number in range(64) if number not in culprits] == await desk.texts()
    assert desk.writer.trouble is None


async def test_one_culprit_costs_a_logarithm_of_commits(desk: Desk) -> None:
    futures = [desk.add("\ud800" if number == 100 else "x") for number in range(256)]

    await asyncio.gather(*futures, return_exceptions=True)

    assert 8 == len(desk.commits)


@pytest.mark.parametrize("error", [KeyError("x"), RecursionError("x"), MemoryError("x")])
async def test_whatever_an_entry_raises_is_raised_to_its_caller_alone(error: Exception, desk: Desk) -> None:
    def stumble(raw: sqlite3.Connection) -> None:
        raw.execute("insert into notes (text) values ('half done')")
        raise error

    before, culprit, after = desk.add("a"), desk.writer.enqueue(Single(stumble), None), desk.add("b")
    outcomes = await asyncio.gather(before, culprit, after, return_exceptions=True)

    assert ["A", error, "B"] == outcomes
    assert ["a", "b"] == await desk.texts()


async def test_a_refusal_is_one_entrys_answer_and_costs_no_other_a_commit(desk: Desk) -> None:
    def refuse(raw: sqlite3.Connection) -> None:
        raise NotPossible("no")

    before = desk.add("a")
    with pytest.raises(NotPossible):
        await desk.writer.write(Single(refuse), None)

    assert "A" == await before
    assert 1 == len(desk.commits)


async def test_a_refusal_in_a_batch_writes_nothing_of_its_own(ledger: SqliteLedger) -> None:
    await ledger.open_task(opening())
    before = await task_of(ledger)

    outcomes = await asyncio.gather(
        ledger.refuse("t_none", "no", fence=None, now=NOW),
        ledger.send_again("t_none", now=NOW),
        hear(ledger, callback(SUBMITTED, task=THEIRS)),
        return_exceptions=True,
    )

    assert [True, True, False] == [isinstance(each, Refusal) for each in outcomes]
    assert before == await task_of(ledger)


async def test_a_caller_that_went_away_leaves_no_warning_behind(desk: Desk) -> None:
    futures = [desk.add("\ud800"), desk.add("x")]
    futures[1].cancel()
    await asyncio.wait(futures)

    await desk.add("y")

    assert ["x", "y"] == await desk.texts()


async def test_closing_commits_what_waits(tmp_path: Path) -> None:
    opened = await SqliteLedger.open(tmp_path / "ledger.db", now=NOW)
    waiting = [
        asyncio.create_task(opened.apply([callback(SUBMITTED, task=f"t_{number}")], JUDGE)) for number in range(600)
    ]
    await asyncio.sleep(0)

    await opened.aclose()
    await asyncio.gather(*waiting)
    with sqlite3.connect(tmp_path / "ledger.db") as raw:
        [(count,)] = raw.execute("select count(*) from tasks").fetchall()
    raw.close()

    assert 600 == count


async def test_closing_commits_what_came_before_the_writers_first_turn(desk: Desk) -> None:
    writer = Writer(desk.connection, on_commit=lambda _outcomes: None)
    waiting = writer.enqueue(desk.note, "x")

    await writer.aclose()

    assert waiting.done()
    assert ["x"] == await desk.texts()


async def test_a_closing_writer_takes_no_more(desk: Desk) -> None:
    first = desk.add("x")
    closing = asyncio.create_task(desk.writer.aclose())
    await asyncio.sleep(0)

    with pytest.raises(LedgerUnavailable, match="shutting down"):
        desk.add("y")
    await closing

    assert "X" == await first


async def test_who_gives_up_closing_leaves_nobody_without_an_answer(desk: Desk) -> None:
    entries = [desk.add(f"{number}") for number in range(MAX_BATCH + 1)]
    closing = asyncio.create_task(desk.writer.aclose())
    await asyncio.sleep(0)
    closing.cancel()

    assert [f"{number}" for number in range(MAX_BATCH + 1)] == await asyncio.wait_for(
        asyncio.gather(*entries), PATIENCE
    )
    with pytest.raises(asyncio.CancelledError):
        await closing


async def test_an_idle_writer_closes_at_once(desk: Desk) -> None:
    async with watching() as watch:
        await desk.writer.aclose()

    assert watch.seconds < 1
    assert [] == desk.commits


@contextmanager
def held_exclusively(path: Path) -> Iterator[None]:
    """Another connection writes, and does not let go."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin immediate")
    try:
        yield
    finally:
        other.execute("rollback")
        other.close()


async def impatient(ledger: SqliteLedger) -> None:
    """The same patience with a locked file, in milliseconds instead of seconds."""
    await in_thread(ledger._connection, lambda raw: raw.execute("pragma busy_timeout = 20"))


async def full(ledger: SqliteLedger) -> None:
    """A disk without another page."""

    def fill(raw: sqlite3.Connection) -> None:
        pages = raw.execute("pragma page_count").fetchone()[0]
        raw.execute(f"pragma max_page_count = {pages}")

    await in_thread(ledger._connection, fill)


async def emptied(ledger: SqliteLedger) -> None:
    """Room again."""
    await in_thread(ledger._connection, lambda raw: raw.execute("pragma max_page_count = 1000000").fetchone())


def large(external_task_id: str) -> Any:
    """An opening that needs pages of its own."""
    return opening(external_task_id, request='{"prompt":"' + "x" * 100_000 + '"}')


async def test_a_locked_file_is_the_stores_trouble_and_passes(ledger: SqliteLedger, tmp_path: Path) -> None:
    await impatient(ledger)

    with held_exclusively(tmp_path / "ledger.db"):
        with pytest.raises(LedgerUnavailable, match="database is locked"):
            await ledger.open_task(opening())
        trouble = ledger.trouble
    await ledger.open_task(opening())

    assert trouble is not None
    assert ledger.trouble is None
    assert TaskState.PENDING is (await task_of(ledger)).state


async def test_a_full_disk_is_the_stores_trouble_and_passes(ledger: SqliteLedger) -> None:
    await ledger.open_task(opening(OURS))
    await full(ledger)

    with pytest.raises(LedgerUnavailable, match="full"):
        await ledger.open_task(large(THEIRS))
    while_full = (ledger.trouble, await ledger.record(THEIRS))
    await emptied(ledger)
    await ledger.open_task(large(THEIRS))

    assert while_full[0] is not None
    assert while_full[1] is None
    assert ledger.trouble is None


async def test_a_full_disk_fails_the_whole_commit_and_none_is_acknowledged(ledger: SqliteLedger) -> None:
    """Not halved: what one could still squeeze in would only hide the trouble."""
    await full(ledger)

    outcomes = await asyncio.gather(
        ledger.apply([callback(SUBMITTED)], JUDGE), ledger.open_task(large(THEIRS)), return_exceptions=True
    )

    assert [LedgerUnavailable, LedgerUnavailable] == [type(each) for each in outcomes]
    assert (None, None) == (await ledger.record(OURS), await ledger.record(THEIRS))


async def test_what_was_not_acknowledged_in_trouble_is_applied_once_when_it_comes_again(
    ledger: SqliteLedger, tmp_path: Path
) -> None:
    await ledger.open_task(opening())
    await hear(ledger, callback(SUBMITTED))
    await impatient(ledger)

    with held_exclusively(tmp_path / "ledger.db"), pytest.raises(LedgerUnavailable):
        await ledger.apply([callback(SUCCEED, image())], JUDGE)
    await hear(ledger, callback(PROCESSING), callback(SUCCEED, image()))

    assert [1, 2, 3] == [event.position for event in await ledger.events_after(0, limit=10)]
    assert 3 == (await task_of(ledger)).reports.applied


async def test_the_health_check_writes_and_says_when_it_cannot(ledger: SqliteLedger, tmp_path: Path) -> None:
    await impatient(ledger)
    await ledger.check()

    with held_exclusively(tmp_path / "ledger.db"), pytest.raises(LedgerUnavailable):
        await ledger.check()
    await ledger.check()

    assert ledger.trouble is None


async def test_reading_goes_on_while_the_store_takes_no_writes(ledger: SqliteLedger, tmp_path: Path) -> None:
    await ledger.open_task(opening())

    with held_exclusively(tmp_path / "ledger.db"):
        task = await task_of(ledger)

    assert TaskState.PENDING is task.state


async def test_a_damaged_file_is_the_stores_trouble_for_those_who_read(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    opened = await SqliteLedger.open(path, now=NOW)
    await asyncio.gather(*(opened.open_task(opening(f"t_{number}")) for number in range(200)))
    await opened.aclose()
    with sqlite3.connect(path) as raw:
        [(root,)] = raw.execute("select rootpage from sqlite_master where name = 'tasks'").fetchall()
    raw.close()
    with path.open("r+b") as file:
        file.seek(4096 * (root - 1))
        file.write(b"\xa5" * 4096)

    reader = await SqliteReader.open(path)
    try:
        with pytest.raises(LedgerUnavailable, match="malformed"):
            await reader.tasks(Query())
    finally:
        await reader.aclose()
