"""Any bytes as a body: through every dialect's reader, the fingerprint, the rules and a real ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from receiver.ingest import LedgerJudge
from receiver.ledger.errors import ForeignTask
from receiver.ledger.judging import Heard
from receiver.ledger.sqlite import SqliteLedger
from receiver.schedule import QueryPlan
from receiver.task import Decision, Rules, Source, Task, TaskState
from receiver.taskjson import snapshot
from submitter.errors import SubmitterError, Unreadable
from submitter.providers.base import Provider, Trust
from submitter.report import StatusReport, fingerprint
from tests.pure.builders import MINUTE, NOW, OURS, provider, received

KINDS = ("cometapi", "kling", "powertokens")
TASKS = 50  # so many share what is written: each hears many reports


class Bodies:
    """Hears one body after the other. Whatever is raised is a finding."""

    def __init__(self, ledger: SqliteLedger, loop: asyncio.AbstractEventLoop) -> None:
        self.readable = 0
        self.written = 0
        self._ledger = ledger
        self._loop = loop
        self._providers = [provider(kind) for kind in KINDS]
        self._judge = LedgerJudge(
            rules={
                each.name: Rules(callback_id_is_task_id=each.capabilities.callback_id_is_task_id)
                for each in self._providers
            },
            plan=QueryPlan(),
        )

    def hear(self, body: bytes, *, write_every: int = 1) -> None:
        """Read it as each provider's callback, and as an answer; judge what it says; write every so manieth."""
        for dialect in self._providers:
            try:
                report, trust = dialect.read_callback(received(body), now=NOW)
            except Unreadable:
                continue
            self.readable += 1
            heard = _heard(dialect, report, trust, body, name=f"t_{self.readable % TASKS}_{dialect.name}")
            self._judged(heard)
            if self.readable % write_every == 0:
                self._write(heard)
        with suppress(SubmitterError):
            self._providers[self.readable % len(KINDS)].read_answer(200, body)

    def _judged(self, heard: Heard) -> None:
        assert 32 == len(fingerprint(OURS, heard.report))
        for state in (TaskState.PENDING, TaskState.PROCESSING, TaskState.SUCCEEDED, TaskState.EXPIRED):
            first = self._judge.decide(_task(heard, state), heard, None)
            second = self._judge.decide(first.task, heard, heard.trust)
            snapshot(second.task).encode("ascii")
            assert not second.events, "heard again, a report told news again"

    def _write(self, heard: Heard) -> None:
        self.written += 1
        [outcome] = self._loop.run_until_complete(self._ledger.apply([heard], self._judge))
        assert isinstance(outcome, Decision | ForeignTask), f"the store cannot hold it: {outcome}"
        record = self._loop.run_until_complete(self._ledger.record(heard.external_task_id))
        if isinstance(outcome, Decision):
            assert record is not None
            assert snapshot(outcome.task) == snapshot(record.task), "what is kept is not what was decided"


@contextmanager
def bodies(directory: Path) -> Iterator[Bodies]:
    """A hearer with a ledger in this directory."""
    loop = asyncio.new_event_loop()
    ledger = loop.run_until_complete(SqliteLedger.open(directory / "fuzz.db", now=NOW))
    try:
        yield Bodies(ledger, loop)
    finally:
        loop.run_until_complete(ledger.aclose())
        loop.close()


def _heard(dialect: Provider, report: StatusReport, trust: Trust, body: bytes, *, name: str) -> Heard:
    return Heard(
        provider=dialect.name,
        external_task_id=name,
        report=report,
        source=Source.CALLBACK,
        trust=trust,
        now=NOW,
        body=body,
    )


def _task(heard: Heard, state: TaskState) -> Task:
    return Task(
        external_task_id=heard.external_task_id,
        provider=heard.provider,
        endpoint="omni-image",
        created_at=NOW - MINUTE,
        deadline_at=NOW + MINUTE,
        state=state,
        sent_at=NOW - MINUTE,
    )
