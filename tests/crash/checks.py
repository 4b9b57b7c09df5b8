"""What must hold of a ledger file after a crash, given the book: written from the promises, not from the code."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tests.crash.book import DUPLICATE, Book, Fact
from tests.crash.script import OPENED

STATE_OF = {"submitted": "submitted", "processing": "processing", "succeed": "succeeded", "failed": "failed"}
_FINALS = {"task.succeeded", "task.failed"}


class Kind(StrEnum):
    """What a crash can do to a ledger that does not keep its word."""

    LOST = "lost"  # acknowledged, and not there
    MISCOUNTED = "miscounted"  # there, and counted less often than acknowledged, or with another verdict
    DOUBLED = "doubled"  # in effect, counted or told more often than it came
    HALVED = "halved"  # a report without all of its effect, or an effect without its report
    BROKEN = "broken"  # the file, the chain, or an answer that should not be


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as promised."""

    kind: Kind
    about: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.about}"


@dataclass(frozen=True, slots=True)
class _Kept:
    """What the ledger holds, by task; reports by number, events by position."""

    tasks: Mapping[str, sqlite3.Row]
    reports: Mapping[str, Sequence[sqlite3.Row]]
    events: Mapping[str, Sequence[sqlite3.Row]]


def examine(ledger: Path, book: Book) -> list[Finding]:
    """Everything in the file that is not as promised. It may be in use: this reads only."""
    try:
        with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True, isolation_level=None)) as raw:
            raw.row_factory = sqlite3.Row
            raw.execute("begin")  # one moment for all that is read
            return list(_findings(raw, book))
    except sqlite3.DatabaseError as error:
        return [Finding(Kind.BROKEN, f"{ledger}: {error}")]


def _findings(raw: sqlite3.Connection, book: Book) -> Iterator[Finding]:
    kept = _read(raw)
    yield from (Finding(Kind.BROKEN, f"answered {answer}") for answer in book.unexpected)
    yield from _of_the_file(raw)
    yield from _of_acknowledgements(kept, book)
    yield from _of_counts(kept, book)
    yield from _of_deliveries(raw)
    for name, task in kept.tasks.items():
        reports, events = kept.reports.get(name, []), kept.events.get(name, [])
        yield from _of_chain(name, task, reports)
        yield from _of_effect(name, task, reports, events)
        yield from _of_events(name, task, events)


def _read(raw: sqlite3.Connection) -> _Kept:
    reports: dict[str, list[sqlite3.Row]] = {}
    events: dict[str, list[sqlite3.Row]] = {}
    for row in raw.execute(
        "select reports.*, external_task_id from reports join tasks on tasks.key = reports.task order by task, number"
    ):
        reports.setdefault(row["external_task_id"], []).append(row)
    for row in raw.execute("select * from events where external_task_id is not null order by position"):
        events.setdefault(row["external_task_id"], []).append(row)
    tasks = {row["external_task_id"]: row for row in raw.execute("select * from tasks")}
    return _Kept(tasks, reports, events)


def _of_the_file(raw: sqlite3.Connection) -> Iterator[Finding]:
    said = [row[0] for row in raw.execute("pragma integrity_check")]
    if said != ["ok"]:
        yield Finding(Kind.BROKEN, f"integrity_check says {said[:3]}")
    strays = raw.execute("pragma foreign_key_check").fetchall()
    if strays:
        yield Finding(Kind.BROKEN, f"{len(strays)} rows refer to rows that are not there")
    count, first, last = raw.execute("select count(*), min(position), max(position) from events").fetchone()
    if count and (first, last) != (1, count):
        yield Finding(Kind.BROKEN, f"{count} events stand at the positions {first} to {last}")


def _of_deliveries(raw: sqlite3.Connection) -> Iterator[Finding]:
    """Each event has its delivery, written with it; of a task's open ones the first is in turn, and no other."""
    untold = raw.execute(
        """
        select events.id from events left join deliveries using (position)
         where events.external_task_id is not null group by events.position having count(deliveries.key) <> 1
        """
    )
    yield from (Finding(Kind.HALVED, f"{row['id']}: an event without just one delivery") for row in untold)
    out_of_turn = raw.execute(
        """
        select external_task_id, min(position) as first, max(case when next_at is not null then position end) as in_turn
          from deliveries where state = 'open' group by external_task_id having first is not in_turn
        """
    )
    yield from (
        Finding(
            Kind.HALVED, f"{row['external_task_id']}: position {row['first']} is the first to tell, and not in turn"
        )
        for row in out_of_turn
    )


def _of_acknowledgements(kept: _Kept, book: Book) -> Iterator[Finding]:
    """Every acknowledged fact is there, as often as it was acknowledged, with the verdict that was given."""
    rows = _by_fact(kept)
    for fact, verdicts in book.verdicts.items():
        task, word = fact
        if word == OPENED:
            if task not in kept.tasks or kept.tasks[task]["request"] is None or kept.tasks[task]["sent_at"] is None:
                yield Finding(Kind.LOST, f"{task}: the opening was acknowledged")
        elif fact not in rows:
            yield Finding(Kind.LOST, f"{task} {word}: acknowledged as {verdicts}, and not there")
        else:
            yield from _of_verdicts(fact, verdicts, rows[fact])


def _of_verdicts(fact: Fact, verdicts: Sequence[str], row: sqlite3.Row) -> Iterator[Finding]:
    """Of a fact's hearings the first has a verdict of its own, and each later one is a duplicate."""
    firsts = [verdict for verdict in verdicts if verdict != DUPLICATE]
    heard = len(verdicts) + (not firsts)  # where only duplicates were acknowledged, one came before them
    if row["count"] < heard:
        yield Finding(Kind.MISCOUNTED, f"{fact}: acknowledged as {verdicts}, and counted {row['count']} times")
    if len(firsts) > 1:
        yield Finding(Kind.DOUBLED, f"{fact}: acknowledged as {firsts}")
    elif firsts and firsts[0] != row["verdict"]:
        yield Finding(Kind.MISCOUNTED, f"{fact}: acknowledged as {firsts[0]}, and kept as {row['verdict']}")


def _of_counts(kept: _Kept, book: Book) -> Iterator[Finding]:
    """Nothing is counted more often than it was sent, and nothing is there that nobody sent."""
    for fact, row in _by_fact(kept).items():
        if row["count"] > book.sent[fact]:
            yield Finding(Kind.DOUBLED, f"{fact}: sent {book.sent[fact]} times, and counted {row['count']} times")
    for name, rows in kept.reports.items():
        words = [row["status"] for row in rows]
        if len(words) > len(set(words)):
            yield Finding(Kind.DOUBLED, f"{name}: one fact has more than one row in {words}")


def _by_fact(kept: _Kept) -> dict[Fact, sqlite3.Row]:
    return {(name, row["status"]): row for name, rows in kept.reports.items() for row in rows}


def _of_chain(name: str, task: sqlite3.Row, reports: Sequence[sqlite3.Row]) -> Iterator[Finding]:
    """The recipe of docs/architecture.md: a report that is missing or was altered breaks the chain."""
    previous: bytes | None = None
    for number, row in enumerate(reports, start=1):
        parts = (str(row["number"]), row["source"], row["trust"], row["verdict"], str(row["first_heard_at"]))
        link = hashlib.sha256((previous or b"") + row["fingerprint"] + "\0".join(parts).encode()).digest()
        if (row["number"], row["previous_hash"], row["hash"]) != (number, previous, link):
            yield Finding(Kind.BROKEN, f"{name}: the chain breaks at its report {number}")
            return
        previous = link
    if (task["chain"], task["report_count"]) != (previous, len(reports)):
        yield Finding(Kind.HALVED, f"{name}: its row knows {task['report_count']} reports, and it has {len(reports)}")


def _of_effect(
    name: str, task: sqlite3.Row, reports: Sequence[sqlite3.Row], events: Sequence[sqlite3.Row]
) -> Iterator[Finding]:
    """Task, counts and events say what the reports say: each applied report moved the task once and was told once.

    That is so for this load: callbacks known by token, no question asked, no deadline near.
    """
    applied = [row["status"] for row in reports if row["verdict"] == "applied"]
    expected = {
        verdict: sum(row["verdict"] == verdict for row in reports) for verdict in ("applied", "stale", "conflict")
    }
    expected[DUPLICATE] = sum(row["count"] - 1 for row in reports)
    counted = {verdict: task[f"reports_{verdict}"] for verdict in expected}
    if counted != expected:
        yield Finding(Kind.HALVED, f"{name}: the task counts {counted}, its reports say {expected}")
    state = STATE_OF[applied[-1]] if applied else "pending"
    if task["state"] != state:
        yield Finding(Kind.HALVED, f"{name}: is {task['state']}, its reports say {state}")
    told, to_tell = [row["type"] for row in events], [f"task.{STATE_OF[status]}" for status in applied]
    if told != to_tell:
        kind = Kind.DOUBLED if len(told) > len(to_tell) else Kind.HALVED
        yield Finding(kind, f"{name}: told {told}, its reports say {to_tell}")
    if task["state"] == "succeeded" and f"{name}.png" not in task["images"]:
        yield Finding(Kind.HALVED, f"{name}: succeeded without its image")
    if expected["conflict"] and task["doubt"] is None:
        yield Finding(Kind.HALVED, f"{name}: a contradiction left no doubt")


def _of_events(name: str, task: sqlite3.Row, events: Sequence[sqlite3.Row]) -> Iterator[Finding]:
    """Each event is the task at a version of its own, in their order, and one final is told."""
    versions = [json.loads(row["task"])["version"] for row in events]
    if versions != sorted(set(versions)) or any(version > task["version"] for version in versions):
        yield Finding(Kind.DOUBLED, f"{name}: is at version {task['version']}, and its events are of {versions}")
    if [row["id"] for row in events] != [f"{name}.{version}" for version in versions]:
        yield Finding(Kind.BROKEN, f"{name}: its events are called {[row['id'] for row in events]}")
    if sum(row["type"] in _FINALS for row in events) > 1:
        yield Finding(Kind.DOUBLED, f"{name}: its end was told more than once")
