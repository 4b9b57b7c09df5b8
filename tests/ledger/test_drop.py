"""A ledger that is dropped, as by a kill: what was committed is there, what was not is not, and nobody was told."""

from __future__ import annotations

import asyncio
from pathlib import Path

from receiver.ledger.sqlite import SqliteLedger
from tests.ledger.builders import NOW, OURS, THEIRS, opening


async def test_what_waited_is_gone_and_what_was_committed_stays(tmp_path: Path) -> None:
    ledger = await SqliteLedger.open(tmp_path / "ledger.db", now=NOW)
    await ledger.open_task(opening(OURS))
    waiting = asyncio.create_task(ledger.open_task(opening(THEIRS)))
    await asyncio.sleep(0)  # it is in the queue, and the writer has not looked yet

    await ledger.drop()
    is_told = waiting.done()
    waiting.cancel()
    again = await SqliteLedger.open(tmp_path / "ledger.db", now=NOW)
    found = [await again.record(name) is not None for name in (OURS, THEIRS)]
    await again.aclose()

    assert not is_told
    assert [True, False] == found


async def test_who_comes_next_need_not_wait_for_the_lock(tmp_path: Path) -> None:
    ledger = await SqliteLedger.open(tmp_path / "ledger.db", now=NOW)
    await ledger.drop()

    again = await SqliteLedger.open(tmp_path / "ledger.db", now=NOW)

    assert 0 == await again.newest_position()
    await again.aclose()
