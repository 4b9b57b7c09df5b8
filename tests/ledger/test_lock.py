"""One writing process at a time: a second one is refused by name, and the dead hold nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from receiver.ledger.errors import LedgerLocked, LedgerUnusable
from receiver.ledger.sqlite import SqliteLedger
from receiver.ledger.sqlite.lock import holder_of, lock_path
from tests.ledger.builders import NOW, SUBMITTED, callback, hear, task_of
from tests.patience import PATIENCE, watching

HOLD = """
import asyncio, sys
from pathlib import Path
from receiver.ledger.sqlite import SqliteLedger

async def hold():
    ledger = await SqliteLedger.open(Path(sys.argv[1]), now=0, address="http://127.0.0.1:8080")
    print("open", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await ledger.aclose()

asyncio.run(hold())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest_asyncio.fixture
async def holder(path: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Another process that has the ledger open until it is told a line, or killed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLD, str(path), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert b"open\n" == await asyncio.wait_for(process.stdout.readline(), PATIENCE)
    yield process
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.stdin.close()
    await process.wait()


async def test_a_second_process_is_refused_with_the_holders_pid_and_address(
    path: Path, holder: asyncio.subprocess.Process
) -> None:
    with pytest.raises(LedgerLocked) as refused:
        await SqliteLedger.open(path, now=NOW)

    assert f"process {holder.pid}," in str(refused.value)
    assert "answers at http://127.0.0.1:8080" in str(refused.value)
    assert str(path) in str(refused.value)
    assert "http://127.0.0.1:8080" == refused.value.holder


async def test_a_second_process_waits_as_long_as_it_was_told_before_it_is_refused(
    path: Path, holder: asyncio.subprocess.Process
) -> None:
    began = time.monotonic()
    async with watching() as watch:
        with pytest.raises(LedgerLocked):
            await SqliteLedger.open(path, now=NOW, lock_wait=timedelta(seconds=0.3))

    assert 0.3 <= time.monotonic() - began
    assert watch.seconds < 5


async def test_a_second_process_that_waits_gets_it_when_the_first_ends(
    path: Path, holder: asyncio.subprocess.Process
) -> None:
    """A rolling deploy."""
    waiting = asyncio.create_task(SqliteLedger.open(path, now=NOW, lock_wait=timedelta(seconds=PATIENCE)))
    await asyncio.sleep(0)
    assert holder.stdin is not None
    holder.stdin.write(b"\n")

    opened = await asyncio.wait_for(waiting, PATIENCE)
    await opened.aclose()

    assert 0 == await holder.wait()


async def test_the_lock_of_a_process_that_was_killed_is_free(path: Path, holder: asyncio.subprocess.Process) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    await holder.wait()

    opened = await SqliteLedger.open(path, now=NOW, address="http://127.0.0.1:9090")
    named = holder_of(path)
    await hear(opened, callback(SUBMITTED))
    task = await task_of(opened)
    await opened.aclose()

    assert (os.getpid(), "http://127.0.0.1:9090") == named
    assert 1 == task.version


async def test_the_same_process_cannot_open_it_twice(ledger: SqliteLedger, path: Path) -> None:
    with pytest.raises(LedgerLocked, match=f"process {os.getpid()}"):
        await SqliteLedger.open(path, now=NOW)


async def test_a_holder_without_an_address_is_named_by_its_pid_alone(ledger: SqliteLedger, path: Path) -> None:
    with pytest.raises(LedgerLocked) as refused:
        await SqliteLedger.open(path, now=NOW)

    assert refused.value.holder is None
    assert "answers at" not in str(refused.value)


async def test_another_name_of_the_same_file_is_the_same_ledger(ledger: SqliteLedger, tmp_path: Path) -> None:
    """A link to the file has its own folder, and would have its own lock: two writers on one WAL corrupt it."""
    (tmp_path / "elsewhere").mkdir()
    alias = tmp_path / "elsewhere" / "alias.db"
    alias.symlink_to(tmp_path / "ledger.db")
    opened: SqliteLedger | None = None

    try:
        with pytest.raises(LedgerLocked):
            opened = await SqliteLedger.open(alias, now=NOW)
    finally:
        if opened is not None:
            await opened.aclose()


async def test_a_closed_ledger_lets_go_and_names_nobody(path: Path) -> None:
    opened = await SqliteLedger.open(path, now=NOW, address="http://127.0.0.1:8080")
    await opened.aclose()

    assert (None, None) == holder_of(path)
    assert lock_path(path).exists()  # removing it would let two processes lock two files of one name
    await (await SqliteLedger.open(path, now=NOW)).aclose()


async def test_a_ledger_that_could_not_be_opened_lets_go(tmp_path: Path) -> None:
    folder = tmp_path / "folder.db"
    os.mkdir(folder)  # noqa: PTH102 - one call of a test
    with pytest.raises(LedgerUnusable):
        await SqliteLedger.open(folder, now=NOW)

    os.rmdir(folder)  # noqa: PTH106 - and another
    reopened = await SqliteLedger.open(folder, now=NOW)
    await reopened.aclose()

    assert (None, None) == holder_of(folder)


@pytest.mark.parametrize("said", ["", "{", "[1]", "null", "\udcff", '{"pid": 7}'])
def test_a_lock_that_cannot_be_read_names_whom_it_can(said: str, path: Path) -> None:
    lock_path(path).write_bytes(said.encode("utf-8", "surrogateescape"))

    pid, address = holder_of(path)

    assert (None if said != '{"pid": 7}' else 7, None) == (pid, address)
