"""The rows of `reports`: one for each fact heard of a task by one road at one trust, linked into the task's chain."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, TypeAlias

from receiver.ledger.judging import Heard
from receiver.ledger.sqlite.rows import TaskRow
from receiver.ledger.sqlite.sets import insert_rows, select_in
from receiver.ledger.sqlite.unreadable import KEPT_BYTES
from receiver.task import Source, Verdict
from submitter.moments import Moment
from submitter.providers.base import Trust

# A task has a handful of reports; more are a leaked URL's holder at play. Of the first, the bodies are kept; of
# more, their fingerprints, so that they are known again; what comes after these is judged and counted on the task.
KEPT_BODIES = 32
KEPT_REPORTS = 256

Identity: TypeAlias = tuple[int, bytes, str, str]
"""The task's key, the fact's fingerprint, its source, its trust: a row's primary key."""

_COLUMNS = (
    "task",
    "fingerprint",
    "source",
    "trust",
    "number",
    "verdict",
    "status",
    "provider_task_id",
    "message",
    "body",
    "first_heard_at",
    "last_heard_at",
    "count",
    "previous_hash",
    "hash",
)


@dataclass(slots=True)
class _Link:
    """A row that is new."""

    heard: Heard
    verdict: Verdict
    number: int
    previous_hash: bytes | None
    hash: bytes
    last_heard_at: Moment
    count: int = 1


class Links:
    """What was heard before of a batch's tasks, and what the batch adds to it."""

    def __init__(self, raw: sqlite3.Connection, facts: Collection[tuple[int, bytes]]) -> None:
        """`facts` are the batch's, each with its task's key."""
        self._raw = raw
        self._new: dict[Identity, _Link] = {}
        self._known: set[Identity] = set()
        self._repeats: dict[Identity, tuple[int, Moment]] = {}
        self._trusts: dict[tuple[int, bytes], list[Trust]] = {}
        found = select_in(raw, "task, fingerprint, source, trust", "reports", ("task", "fingerprint"), sorted(facts))
        for row in found:
            key, fact, source, trust = row
            self._known.add((key, fact, source, trust))
            self._trusts.setdefault((key, fact), []).append(Trust(trust))

    def best_trust(self, key: int, fact: bytes) -> Trust | None:
        """The best trust with which this very fact was heard, by whatever road."""
        trusts = self._trusts.get((key, fact))
        if not trusts:
            return None
        return next((trust for trust in trusts if trust.is_proof), Trust.TOKEN)

    def is_known_from(self, source: Source, key: int, fact: bytes) -> bool:
        """Whether this very fact was heard by this road."""
        known = ((key, fact, str(source), str(trust)) for trust in self._trusts.get((key, fact), ()))
        return any(identity in self._known or identity in self._new for identity in known)

    def remember(self, row: TaskRow, fact: bytes, heard: Heard, verdict: Verdict) -> None:
        """Link a new fact into the task's chain, or count one that was heard by this very road before."""
        identity = (row.key, fact, str(heard.source), str(heard.trust))
        if identity in self._new:
            link = self._new[identity]
            link.count += 1
            link.last_heard_at = max(link.last_heard_at, heard.now)
        elif identity in self._known:
            count, last = self._repeats.get(identity, (0, 0))
            self._repeats[identity] = (count + 1, max(last, heard.now))
        elif row.report_count < KEPT_REPORTS:
            row.report_count += 1
            link = _Link(
                heard=heard,
                verdict=verdict,
                number=row.report_count,
                previous_hash=row.chain,
                hash=_hash(row.chain, fact, heard, verdict, row.report_count),
                last_heard_at=heard.now,
            )
            self._new[identity] = link
            row.chain = link.hash
            self._trusts.setdefault((row.key, fact), []).append(heard.trust)

    def write(self) -> None:
        """The new rows, and the counts of the others."""
        insert_rows(self._raw, "reports", _COLUMNS, [_values(*each) for each in self._new.items()])
        if self._repeats:
            self._raw.executemany(
                """
                update reports set count = count + ?, last_heard_at = max(last_heard_at, ?)
                 where task = ? and fingerprint = ? and source = ? and trust = ?
                """,
                [(count, at, *identity) for identity, (count, at) in self._repeats.items()],
            )


def _values(identity: Identity, link: _Link) -> tuple[Any, ...]:
    report = link.heard.report
    return (
        *identity,
        link.number,
        str(link.verdict),
        str(report.status),
        report.provider_task_id,
        report.message,
        link.heard.body[:KEPT_BYTES] if link.number <= KEPT_BODIES else None,
        link.heard.now,
        link.last_heard_at,
        link.count,
        link.previous_hash,
        link.hash,
    )


def _hash(previous: bytes | None, fact: bytes, heard: Heard, verdict: Verdict, number: int) -> bytes:
    """The link's hash over its predecessor's and what it says; docs/architecture.md gives the recipe."""
    said = "\0".join((str(number), heard.source, heard.trust, verdict, str(heard.now)))
    return hashlib.sha256((previous or b"") + fact + said.encode()).digest()
