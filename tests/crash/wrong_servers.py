"""Receivers that break the promise on purpose, one way each: `python -m tests.crash.wrong_servers WAY serve …`."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import receiver.ledger.sqlite.ledger
import receiver.runtime
from receiver.cli import main
from receiver.ledger.errors import Refusal
from receiver.ledger.judging import Heard, Judge
from receiver.ledger.sqlite import SqliteLedger
from receiver.ledger.sqlite.connection import connect_writer, in_thread
from receiver.task import Decision, Verdict
from submitter.moments import Moment
from submitter.report import fingerprint

_IN_A_WHILE = 0.02  # seconds: what "in the background" means where nobody waits for it


def synchronous(level: str) -> Callable[[], None]:
    """The writer's connection as it is prepared, but for how it syncs."""

    async def connect(path: Path) -> Any:
        connection = await connect_writer(path)
        await in_thread(connection, lambda raw: raw.execute(f"pragma synchronous = {level}").close())
        return connection

    def arrange() -> None:
        receiver.ledger.sqlite.ledger.connect_writer = connect  # type: ignore[attr-defined]

    return arrange


class AnswersBeforeCommit(SqliteLedger):
    """Decides on what it can read, answers, and writes in a while."""

    async def apply(self, batch: Sequence[Heard], judge: Judge) -> list[Decision | Refusal]:
        asyncio.get_running_loop().call_later(_IN_A_WHILE, self._write_down, batch, judge)
        return [await self._guess(heard, judge) for heard in batch]

    async def _guess(self, heard: Heard, judge: Judge) -> Decision:
        record = await self.record(heard.external_task_id)
        return judge.decide(judge.adopt(heard) if record is None else record.task, heard, None)

    def _write_down(self, batch: Sequence[Heard], judge: Judge) -> None:
        writing = asyncio.ensure_future(super().apply(batch, judge))
        writing.add_done_callback(lambda done: done.cancelled() or done.exception())


class DeduplicatesOutside(SqliteLedger):
    """Remembers what it has seen in a file and a commit of its own; what was seen needs no effect any more."""

    _seen: sqlite3.Connection

    @classmethod
    async def open(
        cls, path: Path, *, now: Moment, address: str | None = None, lock_wait: timedelta = timedelta(0)
    ) -> SqliteLedger:
        ledger = await super().open(path, now=now, address=address, lock_wait=lock_wait)
        assert isinstance(ledger, DeduplicatesOutside)
        ledger._seen = sqlite3.connect(path.with_name("seen.db"), isolation_level=None)
        ledger._seen.execute("pragma synchronous = off")  # it is killed, and kept by the system all the same
        ledger._seen.execute("create table if not exists seen (fact blob primary key) without rowid")
        return ledger

    async def apply(self, batch: Sequence[Heard], judge: Judge) -> list[Decision | Refusal]:
        return [await self._apply_unseen(heard, judge) for heard in batch]

    async def aclose(self) -> None:
        self._seen.close()
        await super().aclose()

    async def _apply_unseen(self, heard: Heard, judge: Judge) -> Decision | Refusal:
        fact = fingerprint(heard.external_task_id, heard.report)
        is_new = self._seen.execute("insert or ignore into seen values (?)", (fact,)).rowcount
        if is_new:
            [outcome] = await super().apply([heard], judge)
            return outcome
        record = await self.record(heard.external_task_id)
        return Decision(verdict=Verdict.DUPLICATE, task=judge.adopt(heard) if record is None else record.task)


def instead(ledger: type[SqliteLedger]) -> Callable[[], None]:
    """The runtime with this ledger in the place of the right one."""

    def arrange() -> None:
        receiver.runtime.SqliteLedger = ledger  # type: ignore[attr-defined]

    return arrange


WAYS: dict[str, Callable[[], None]] = {
    "synchronous-off": synchronous("off"),
    "synchronous-normal": synchronous("normal"),
    "answer-before-commit": instead(AnswersBeforeCommit),
    "dedup-outside": instead(DeduplicatesOutside),
}

if __name__ == "__main__":
    WAYS[sys.argv.pop(1)]()
    main()
