"""The checks after a crash: each way in which a ledger can be wrong is found, and a right one is left in peace."""

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from tests.crash.book import Book
from tests.crash.checks import Kind, examine
from tests.crash.load import Load
from tests.crash.script import Script
from tests.crash.servers import started

ACKNOWLEDGED = 150

# A statement that makes a right ledger wrong, and what that is called.
WRONGS = {
    "delete from reports where number = 1": Kind.LOST,
    "update tasks set request = null": Kind.LOST,
    "update reports set count = 1": Kind.MISCOUNTED,
    "update reports set verdict = 'stale' where verdict = 'applied'": Kind.MISCOUNTED,
    "update reports set count = count + 9": Kind.DOUBLED,
    "insert into events (id, type, external_task_id, time, task) "
    "select id || '-again', type, external_task_id, time, task from events": Kind.DOUBLED,
    "delete from events where position = (select max(position) from events)": Kind.HALVED,
    "update tasks set state = 'submitted', settled_at = null where state = 'succeeded'": Kind.HALVED,
    "update tasks set reports_applied = reports_applied + 1": Kind.HALVED,
    "update tasks set images = '[]'": Kind.HALVED,
    "update tasks set doubt = null, doubt_since = null": Kind.HALVED,
    "update tasks set chain = null": Kind.HALVED,
    "update reports set first_heard_at = first_heard_at + 1": Kind.BROKEN,
    "delete from events where position = 1": Kind.BROKEN,
    "update events set id = 'x' || id": Kind.BROKEN,
    "delete from deliveries where position = (select max(position) from deliveries)": Kind.HALVED,
    "update deliveries set next_at = null, is_leased = 0": Kind.HALVED,
}  # fmt: skip


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Book]:
    """A ledger that the real server filled, and its book."""
    folder, book = tmp_path_factory.mktemp("right") / "ledger", Book()
    folder.mkdir()

    async def live() -> None:
        load = Load(Script(1, name="right"), book, dice=Random(1), until=ACKNOWLEDGED)
        async with started(folder) as server:
            posting = asyncio.create_task(load.run(await server.listens()))
            await load.enough.wait()
            await server.stop()
            await posting

    asyncio.run(live())
    return folder / "ledger.db", book


def test_a_right_ledger_is_left_in_peace(right: tuple[Path, Book]) -> None:
    ledger, book = right

    assert [] == examine(ledger, book)
    assert ACKNOWLEDGED <= book.acknowledged


@pytest.mark.parametrize("wrong", WRONGS)
def test_a_wrong_ledger_is_found_out(wrong: str, right: tuple[Path, Book], tmp_path: Path) -> None:
    ledger, book = Path(shutil.copy(right[0], tmp_path / "ledger.db")), right[1]
    with closing(sqlite3.connect(ledger)) as raw, raw:
        raw.execute(wrong)

    assert WRONGS[wrong] in {finding.kind for finding in examine(ledger, book)}


def test_a_file_that_is_damaged_is_found_out(right: tuple[Path, Book], tmp_path: Path) -> None:
    ledger, book = Path(shutil.copy(right[0], tmp_path / "ledger.db")), right[1]
    content = bytearray(ledger.read_bytes())
    content[4096:] = bytes(len(content) - 4096)
    ledger.write_bytes(content)

    assert {Kind.BROKEN} == {finding.kind for finding in examine(ledger, book)}


def test_an_answer_that_should_not_be_is_found_out(right: tuple[Path, Book]) -> None:
    book = right[1].copy()
    book.unexpected.append("t_1 succeed: 500")

    assert [Kind.BROKEN] == [finding.kind for finding in examine(right[0], book)]
