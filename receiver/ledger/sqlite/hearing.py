"""Reports in: look, decide, write, for a whole batch inside one transaction."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from receiver.ledger.base import Heard, Judge
from receiver.ledger.errors import ForeignTask, Refusal
from receiver.ledger.sqlite.rows import TaskRow, forget_pictures, insert_events, insert_task, row_of, update_tasks
from receiver.ledger.sqlite.unreadable import KEPT_BYTES
from receiver.task import Decision, Event, ReportCounts, Task, TaskState, Verdict
from submitter.moments import Moment
from submitter.providers.base import Trust
from submitter.report import fingerprint

# A task has a handful of reports; more are a leaked URL's holder at play. They are judged and counted, not kept.
KEPT_REPORTS = 256


class Hear:
    """The write that every report is: create answers, callbacks and query answers alike."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    def run(self, raw: sqlite3.Connection, items: Sequence[Heard]) -> Sequence[Decision | Refusal]:
        """A decision for each report in order, or the Refusal that it deserves."""
        batch = _Batch(raw, items, self.judge)
        outcomes = [batch.hear(heard) for heard in items]
        batch.write()
        return outcomes


@dataclass(slots=True)
class _Link:
    """One row of `reports`, new or heard again."""

    fingerprint: bytes
    heard: Heard
    verdict: Verdict
    number: int
    previous_hash: bytes | None
    hash: bytes
    key: int
    last_heard_at: Moment
    count: int = 1


class _Batch:
    """What a batch knows while it is decided: the tasks it touches, and what was heard of them before."""

    def __init__(self, raw: sqlite3.Connection, items: Sequence[Heard], judge: Judge) -> None:
        self._raw = raw
        self._judge = judge
        ids = json.dumps(list({heard.external_task_id for heard in items}))
        self._rows = _rows_by_id(raw, ids)
        self._tombstones = _tombstones(raw, ids) if len(self._rows) < len(items) else {}
        self._facts = {id(heard): fingerprint(heard.external_task_id, heard.report) for heard in items}
        identities = {
            (self._rows[heard.external_task_id].key, self._facts[id(heard)])
            for heard in items
            if heard.external_task_id in self._rows
        }
        self._trusts, self._numbers = _heard_before(raw, self._rows, sorted(identities))
        self._links: dict[tuple[int, bytes, str, str], _Link] = {}
        self._repeats: dict[tuple[int, bytes, str, str], tuple[int, int]] = {}
        self._events: list[Event] = []
        self._changed: dict[int, TaskRow] = {}
        self._answered: set[str] = set()
        self._new_ids: dict[tuple[str, str], str] = {}  # of this batch: they are not in the table yet

    def hear(self, heard: Heard) -> Decision | Refusal:
        """Decide one report against what the reports before it left."""
        other = self._owner_of_ids(heard)
        if other is not None:
            return ForeignTask(heard.external_task_id, other)
        row = self._rows.get(heard.external_task_id)
        if row is None and heard.external_task_id in self._tombstones:
            return Decision(verdict=Verdict.STALE, task=self._tombstones[heard.external_task_id])
        if row is not None and row.task.provider != heard.provider:
            # The id was refused there and submitted anew elsewhere: news of its earlier life.
            return Decision(verdict=Verdict.STALE, task=row.task)
        row = row or self._adopt(heard)
        fact = self._facts[id(heard)]
        before = row.task
        decision = self._judge.decide(before, heard, self._best_trust(row.key, fact))
        if decision.verdict is not None:
            self._remember(row, fact, heard, decision.verdict)
        if before.state is TaskState.PENDING and decision.task.state is not TaskState.PENDING:
            self._answered.add(before.external_task_id)
        row.task = decision.task
        for known in (row.task.task_id, row.task.upstream_task_id):
            if known is not None:
                self._new_ids.setdefault((row.task.provider, known), row.task.external_task_id)
        row.query_at = self._judge.query_after_news(decision, row.query_at, now=heard.now)
        self._changed[row.key] = row
        self._events.extend(decision.events)
        return decision

    def write(self) -> None:
        """All of it, in a handful of statements."""
        update_tasks(self._raw, list(self._changed.values()))
        self._write_links()
        insert_events(self._raw, self._events)
        if self._answered:
            forget_pictures(self._raw, list(self._answered))

    def _adopt(self, heard: Heard) -> TaskRow:
        task = self._judge.adopt(heard)
        key = insert_task(self._raw, task)
        row = TaskRow(
            key=key,
            task=task,
            query_at=None,
            send_at=None,
            sends=1,
            misses=0,
            missed_since=None,
            fence=0,
            chain=None,
            report_count=0,
        )
        self._rows[task.external_task_id] = row
        return row

    def _owner_of_ids(self, heard: Heard) -> str | None:
        """The other task of this ledger that the report's ids belong to, if any."""
        row = self._rows.get(heard.external_task_id)
        named, said = heard.report.external_task_id, heard.report.provider_task_id
        if named is not None and named != heard.external_task_id and self._exists(named):
            return named
        if said is None or (row is not None and said in {row.task.task_id, row.task.upstream_task_id}):
            return None
        owner = self._new_ids.get((heard.provider, said), heard.external_task_id)
        return owner if owner != heard.external_task_id else self._owner_of_provider_id(heard, said)

    def _exists(self, external_task_id: str) -> bool:
        found = self._raw.execute("select 1 from tasks where external_task_id = ?", (external_task_id,))
        return found.fetchone() is not None

    def _owner_of_provider_id(self, heard: Heard, said: str) -> str | None:
        found = self._raw.execute(
            """
            select external_task_id from tasks
             where provider = :provider and task_id = :said and external_task_id <> :ours
             union all
            select external_task_id from tasks
             where provider = :provider and upstream_task_id = :said and external_task_id <> :ours
             limit 1
            """,
            {"provider": heard.provider, "said": said, "ours": heard.external_task_id},
        ).fetchone()
        return None if found is None else str(found["external_task_id"])

    def _best_trust(self, key: int, fact: bytes) -> Trust | None:
        trusts = self._trusts.get((key, fact))
        if not trusts:
            return None
        return next((trust for trust in trusts if trust.is_proof), Trust.TOKEN)

    def _remember(self, row: TaskRow, fact: bytes, heard: Heard, verdict: Verdict) -> None:
        """Link a new fact into the task's chain, or count one that was heard by this very road before."""
        identity = (row.key, fact, str(heard.source), str(heard.trust))
        trusts = self._trusts.setdefault((row.key, fact), [])
        if identity in self._links:
            link = self._links[identity]
            link.count += 1
            link.last_heard_at = max(link.last_heard_at, heard.now)
        elif identity in self._numbers.known:
            count, last = self._repeats.get(identity, (0, 0))
            self._repeats[identity] = (count + 1, max(last, heard.now))
        elif self._numbers.latest.get(row.key, 0) < KEPT_REPORTS:
            number = self._numbers.latest.get(row.key, 0) + 1
            self._numbers.latest[row.key] = number
            link = _Link(
                fingerprint=fact,
                heard=heard,
                verdict=verdict,
                number=number,
                previous_hash=row.chain,
                hash=_hash(row.chain, fact, heard, verdict, number),
                key=row.key,
                last_heard_at=heard.now,
            )
            self._links[identity] = link
            row.chain = link.hash
            row.report_count = number
            trusts.append(heard.trust)

    def _write_links(self) -> None:
        self._raw.executemany(
            """
            insert into reports (task, fingerprint, source, trust, number, verdict, status, provider_task_id,
                                 message, body, first_heard_at, last_heard_at, count, previous_hash, hash)
            values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            [
                (
                    link.key,
                    link.fingerprint,
                    link.heard.source,
                    link.heard.trust,
                    link.number,
                    link.verdict,
                    str(link.heard.report.status),
                    link.heard.report.provider_task_id,
                    link.heard.report.message,
                    link.heard.body[:KEPT_BYTES],
                    link.heard.now,
                    link.last_heard_at,
                    link.count,
                    link.previous_hash,
                    link.hash,
                )
                for link in self._links.values()
            ],
        )
        self._raw.executemany(
            """
            update reports set count = count + ?, last_heard_at = max(last_heard_at, ?)
             where task = ? and fingerprint = ? and source = ? and trust = ?
            """,
            [(count, at, *identity) for identity, (count, at) in self._repeats.items()],
        )


@dataclass(slots=True)
class _Numbers:
    """Which report rows exist, and the latest number of each task's."""

    known: set[tuple[int, bytes, str, str]]
    latest: dict[int, int]


def _rows_by_id(raw: sqlite3.Connection, ids: str) -> dict[str, TaskRow]:
    found = raw.execute("select * from tasks where external_task_id in (select value from json_each(?))", (ids,))
    return {row["external_task_id"]: row_of(row) for row in found}


def _tombstones(raw: sqlite3.Connection, ids: str) -> dict[str, Task]:
    found = raw.execute("select * from tombstones where external_task_id in (select value from json_each(?))", (ids,))
    return {
        row["external_task_id"]: Task(
            external_task_id=row["external_task_id"],
            provider=row["provider"],
            endpoint=None,
            created_at=0,
            deadline_at=0,
            state=TaskState(row["state"]),
            version=row["version"],
            settled_at=row["settled_at"],
            reports=ReportCounts(),
        )
        for row in found
    }


def _heard_before(
    raw: sqlite3.Connection, rows: dict[str, TaskRow], identities: Sequence[tuple[int, bytes]]
) -> tuple[dict[tuple[int, bytes], list[Trust]], _Numbers]:
    trusts: dict[tuple[int, bytes], list[Trust]] = {}
    numbers = _Numbers(known=set(), latest={})
    places = ", ".join(["(?, ?)"] * len(identities)) or "(null, null)"
    found = raw.execute(
        f"select task, fingerprint, source, trust from reports where (task, fingerprint) in (values {places})",  # noqa: S608
        [value for identity in identities for value in identity],
    )
    for row in found:
        key, fact = row["task"], row["fingerprint"]
        trusts.setdefault((key, fact), []).append(Trust(row["trust"]))
        numbers.known.add((key, fact, row["source"], row["trust"]))
    numbers.latest = {row.key: row.report_count for row in rows.values()}
    return trusts, numbers


def _hash(previous: bytes | None, fact: bytes, heard: Heard, verdict: Verdict, number: int) -> bytes:
    """The link's hash over its predecessor's and what it says; docs/architecture.md gives the recipe."""
    said = "\0".join((str(number), heard.source, heard.trust, verdict, str(heard.now)))
    return hashlib.sha256((previous or b"") + fact + said.encode()).digest()
