"""What is heard on its way in, and the judge that decides what it changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from receiver.pathhealth import PathHealth
from receiver.straggler import Next, Outcome
from receiver.task import Decision, Source, Task
from receiver.timing import Known
from submitter.moments import Moment
from submitter.providers.base import Trust
from submitter.report import StatusReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A report on its way in: what it says, by which road, and the bytes it came in."""

    provider: str
    external_task_id: str
    report: StatusReport
    source: Source
    trust: Trust
    now: Moment
    body: bytes = b""


class Judge(Protocol):
    """What the ledger asks while it holds the transaction. Pure."""

    @property
    def strict_providers(self) -> frozenset[str]:
        """The accounts whose held finals wait for an answer until the deadline."""

    @property
    def learns(self) -> bool:
        """Whether it wants to know how long tasks take: the ledger remembers it of those that finish, then."""

    def decide(self, task: Task, heard: Heard, heard_before: Trust | None) -> Decision:
        """The verdict on one report."""

    def adopt(self, heard: Heard) -> Task:
        """The task of a valid callback that the ledger never knew."""

    def query_on_path(
        self, sent_at: Moment, *, known: Known | None, running_at: Moment | None, path: PathHealth, now: Moment
    ) -> Moment:
        """When to ask about a task that was known to run at `running_at`, now that the path has turned."""

    def query_after_news(
        self, decision: Decision, due: Moment | None, *, known: Known | None, path: PathHealth, now: Moment
    ) -> Moment | None:
        """When to ask next, now that this was decided.

        `known` is what was learned of how long such a task takes, where the task has begun to run with this news, or
        is asked about eagerly and was not yet.
        """

    def after_query(
        self,
        task: Task,
        outcome: Outcome,
        *,
        known: Known | None,
        path: PathHealth,
        misses: int,
        missed_since: Moment | None,
        sends: int,
    ) -> tuple[Next, Moment | None]:
        """What a question's outcome leads to, and when to ask again; `known` where the answer was that it runs."""

    def overdue(self, task: Task, *, now: Moment) -> Decision | None:
        """What time alone makes of a task."""
