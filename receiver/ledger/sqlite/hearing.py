"""Reports in: look, decide, write, for a whole batch inside one transaction."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from receiver.ledger.errors import ForeignTask, Refusal
from receiver.ledger.evidence import path_after
from receiver.ledger.judging import Heard, Judge
from receiver.ledger.sqlite.events import insert_events
from receiver.ledger.sqlite.links import Links
from receiver.ledger.sqlite.paths import Paths
from receiver.ledger.sqlite.rows import TaskRow, forget_pictures, insert_task, rows_by_id, update_tasks
from receiver.ledger.sqlite.sets import select_in
from receiver.ledger.sqlite.timings import Timings
from receiver.pathhealth import PathHealth, PathState
from receiver.task import Decision, Event, ReportCounts, Source, Task, TaskState, Verdict
from receiver.timing import Known, finish_of
from submitter.report import fingerprint

_Id: TypeAlias = tuple[str, str]  # a provider, and what it calls a task
_NOT_RUNNING = frozenset({TaskState.PENDING, TaskState.REFUSED, TaskState.EXPIRED})
_PROOF = frozenset({Source.ANSWER, Source.QUERY})


class Hear:
    """The write that every report is: create answers, callbacks and query answers alike."""

    is_short = True

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    def run(self, raw: sqlite3.Connection, items: Sequence[Heard]) -> Sequence[Decision | Refusal]:
        """A decision for each report in order, or the Refusal that it deserves."""
        batch = _Batch(raw, items, self.judge)
        outcomes = [batch.hear(heard) for heard in items]
        batch.write()
        return outcomes


class _Batch:
    """What a batch knows while it is decided: the tasks it touches, and what was heard of them before."""

    def __init__(self, raw: sqlite3.Connection, items: Sequence[Heard], judge: Judge) -> None:
        self._raw = raw
        self._judge = judge
        self._paths = Paths(raw, judge)
        self._latest = max(heard.now for heard in items)
        ids = list(dict.fromkeys(heard.external_task_id for heard in items))
        self._rows = rows_by_id(raw, ids)
        self._tombstones = _tombstones(raw, ids) if len(self._rows) < len(ids) else {}
        self._owners = _Owners(raw, items, self._rows)
        self._facts = {id(heard): fingerprint(heard.external_task_id, heard.report) for heard in items}
        self._links = Links(
            raw,
            {
                (self._rows[heard.external_task_id].key, self._facts[id(heard)])
                for heard in items
                if heard.external_task_id in self._rows
            },
        )
        self._timings = Timings(raw)
        self._events: list[Event] = []
        self._changed: dict[int, TaskRow] = {}
        self._answered: list[str] = []

    def hear(self, heard: Heard) -> Decision | Refusal:
        """Decide one report against what the reports before it left."""
        row = self._rows.get(heard.external_task_id)
        other = self._owners.other_than(row, heard)
        if other is not None:
            return ForeignTask(heard.external_task_id, other)
        if row is None and heard.external_task_id in self._tombstones:
            return Decision(verdict=Verdict.STALE, task=self._tombstones[heard.external_task_id])
        if row is not None and row.task.provider != heard.provider:
            # The id was refused there and submitted anew elsewhere: news of its earlier life.
            return Decision(verdict=Verdict.STALE, task=row.task)
        return self._decide(self._adopt(heard) if row is None else row, heard)

    def write(self) -> None:
        """All of it, in a handful of statements."""
        update_tasks(self._raw, self._changed.values())
        self._links.write()
        self._timings.write()
        insert_events(self._raw, self._events)
        self._paths.write(now=self._latest)
        if self._answered:
            forget_pictures(self._raw, self._answered)

    def _decide(self, row: TaskRow, heard: Heard) -> Decision:
        fact = self._facts[id(heard)]
        before = row.task
        decision = self._judge.decide(before, heard, self._links.best_trust(row.key, fact))
        decision = self._note_path(row, fact, heard, decision)
        if decision.verdict is not None:
            self._links.remember(row, fact, heard, decision.verdict)
        if before.state is TaskState.PENDING and decision.task.state is not TaskState.PENDING:
            self._answered.append(before.external_task_id)
        row.task = decision.task
        path = self._paths.of(heard.provider)
        known = self._learn(row, before, decision, heard, path) if self._judge.learns else None
        row.query_at = self._judge.query_after_news(decision, row.query_at, known=known, path=path, now=heard.now)
        self._owners.note(row.task)
        self._changed[row.key] = row
        self._events.extend(decision.events)
        return decision

    def _learn(self, row: TaskRow, before: Task, decision: Decision, heard: Heard, path: PathHealth) -> Known | None:
        """Remember how long it took, if this is its end; what is known of such tasks, if this is its beginning."""
        task = decision.task
        if not heard.report.is_final and heard.source is Source.QUERY and heard.trust.is_proof:
            row.running_at = heard.now
        finish = finish_of(before, decision, heard.source, running_at=row.running_at)
        if finish is not None:
            if path.state is PathState.DARK:
                finish = dataclasses.replace(finish, is_called=None)
            self._timings.note(task.provider, row.timing_class, finish, now=heard.now)
        has_begun = before.state in _NOT_RUNNING and not task.is_at_rest and task.state is not TaskState.PENDING
        is_eager = path.asks_eagerly and task.queries == 0 and not task.is_at_rest
        return self._timings.known(task.provider, row.timing_class) if has_begun or is_eager else None

    def _note_path(self, row: TaskRow, fact: bytes, heard: Heard, decision: Decision) -> Decision:
        """What the report says of the path that callbacks take: said with the decision where it turns that."""
        path = self._paths.of(heard.provider)
        if path.is_calm and not heard.report.is_final:
            return decision
        is_first = not self._links.is_known_from(Source.CALLBACK, row.key, fact)
        path = path_after(path, row.task, heard, decision, is_first=is_first)
        turned = self._paths.put(heard.provider, path)
        return decision if turned is None else dataclasses.replace(decision, path=turned)

    def _adopt(self, heard: Heard) -> TaskRow:
        row = insert_task(self._raw, self._judge.adopt(heard))
        row.sends = 1  # by whoever submitted it: it is never sent from here
        self._rows[heard.external_task_id] = row
        return row


class _Owners:
    """Whose the ids are that the reports of a batch name.

    An id that was claimed at a task's URL alone keeps nobody's proof out: whoever holds a leaked URL could name
    the id of another task there, before that is answered.
    """

    def __init__(self, raw: sqlite3.Connection, items: Sequence[Heard], rows: Mapping[str, TaskRow]) -> None:
        self._raw = raw
        self._rows = rows
        self._in_this_batch: dict[_Id, set[str]] = {}  # not in the table yet
        strange = {
            (heard.provider, said)
            for heard in items
            if (said := heard.report.provider_task_id) is not None
            and not _is_its_own(said, rows.get(heard.external_task_id))
        }
        self._in_the_table = _owners(raw, sorted(strange))

    def other_than(self, row: TaskRow | None, heard: Heard) -> str | None:
        """The other task of this ledger that the report's ids belong to, if any."""
        named, said = heard.report.external_task_id, heard.report.provider_task_id
        if named is not None and named != heard.external_task_id and self._exists(named):
            return named
        if said is None or _is_its_own(said, row):
            return None
        owners = self._owners_of((heard.provider, said))
        owners.pop(heard.external_task_id, None)
        return next((owner for owner, is_proven in owners.items() if is_proven or not heard.trust.is_proof), None)

    def note(self, task: Task) -> None:
        """This task has its ids from now on."""
        for known in (task.task_id, task.upstream_task_id):
            if known is not None:
                self._in_this_batch.setdefault((task.provider, known), set()).add(task.external_task_id)

    def _owners_of(self, key: _Id) -> dict[str, bool]:
        """Who has this id at this point of the batch, and whether by proof: a report before may have driven it out."""
        stored = self._in_the_table.get(key, {})
        owners: dict[str, bool] = {}
        for owner in (*stored, *sorted(self._in_this_batch.get(key, ()))):
            row = self._rows.get(owner)
            if row is None:
                owners[owner] = stored[owner]
            elif _is_its_own(key[1], row):
                owners[owner] = key[1] == row.task.task_id and row.task.task_id_source in _PROOF
        return owners

    def _exists(self, external_task_id: str) -> bool:
        found = self._raw.execute("select 1 from tasks where external_task_id = ?", (external_task_id,))
        return found.fetchone() is not None


def _is_its_own(said: str, row: TaskRow | None) -> bool:
    return row is not None and said in {row.task.task_id, row.task.upstream_task_id}


def _owners(raw: sqlite3.Connection, ids: Sequence[_Id]) -> dict[_Id, dict[str, bool]]:
    """The tasks that have these ids of their providers, and whether an answer to our own question said so."""
    owners: dict[_Id, dict[str, bool]] = {}
    for column in ("task_id", "upstream_task_id"):
        columns = f"tasks.provider, {column}, external_task_id, task_id_source"
        for provider, said, owner, source in select_in(raw, columns, "tasks", ("tasks.provider", column), ids):
            is_proven = column == "task_id" and source in _PROOF
            owners.setdefault((provider, said), {}).setdefault(owner, is_proven)
    return owners


def _tombstones(raw: sqlite3.Connection, ids: Sequence[str]) -> dict[str, Task]:
    columns = "external_task_id, provider, state, settled_at, version"
    found = select_in(raw, columns, "tombstones", ("external_task_id",), [(each,) for each in ids])
    return {
        external_task_id: Task(
            external_task_id=external_task_id,
            provider=provider,
            endpoint=None,
            created_at=0,
            deadline_at=0,
            state=TaskState(state),
            version=version,
            settled_at=settled_at,
            reports=ReportCounts(),
        )
        for external_task_id, provider, state, settled_at, version in found
    }
