"""Ingest: reports in, decisions out. The one door, whoever brings the news."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from receiver import lifecycle, schedule, straggler, verdicts
from receiver.callback_url import without_tokens
from receiver.ledger.base import Ledger
from receiver.ledger.errors import Refusal
from receiver.ledger.judging import Heard
from receiver.pathhealth import PathHealth
from receiver.schedule import QueryPlan
from receiver.straggler import Next, Outcome
from receiver.task import Decision, Rules, Task
from receiver.timing import Known
from receiver.turns import Turns
from submitter.moments import Moment
from submitter.providers.base import Trust


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerJudge:
    """The pure rules with this receiver's configuration in them: what the ledger asks inside a transaction."""

    rules: Mapping[str, Rules]
    plan: QueryPlan

    @property
    def strict_providers(self) -> frozenset[str]:
        """The accounts with confirm = "terminal"."""
        return frozenset(name for name, rules in self.rules.items() if rules.confirm == "terminal")

    @property
    def learns(self) -> bool:
        """As polling.learn says."""
        return self.plan.worth is not None

    def decide(self, task: Task, heard: Heard, heard_before: Trust | None) -> Decision:
        """As verdicts.decide, by the rules of the task's account."""
        return verdicts.decide(
            task,
            heard.report,
            heard_before=heard_before,
            source=heard.source,
            trust=heard.trust,
            rules=self.rules.get(heard.provider, Rules()),
            now=heard.now,
        )

    def adopt(self, heard: Heard) -> Task:
        """As lifecycle.adopt."""
        return lifecycle.adopt(
            heard.external_task_id, provider=heard.provider, now=heard.now, give_up_after=self.plan.give_up_after
        )

    def query_on_path(
        self, sent_at: Moment, *, known: Known | None, running_at: Moment | None, path: PathHealth, now: Moment
    ) -> Moment:
        """As schedule.query_on_path."""
        return schedule.query_on_path(sent_at, self.plan, known=known, running_at=running_at, path=path, now=now)

    def query_after_news(
        self, decision: Decision, due: Moment | None, *, known: Known | None, path: PathHealth, now: Moment
    ) -> Moment | None:
        """As schedule.query_after_news."""
        return schedule.query_after_news(decision, due, self.plan, known=known, path=path, now=now)

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
        """As straggler.after_query."""
        return straggler.after_query(
            task, outcome, self.plan, known=known, path=path, misses=misses, missed_since=missed_since, sends=sends
        )

    def overdue(self, task: Task, *, now: Moment) -> Decision | None:
        """As lifecycle.overdue, by the rules of the task's account."""
        return lifecycle.overdue(task, rules=self.rules.get(task.provider, Rules()), now=now)


class Ingest:
    """Hears reports, whichever road they came by. What it returns is on disk.

    `on_work` is called with a decision that leaves something to do: a doubt to ask about, a slot that is free, a path
    that has turned.
    """

    def __init__(
        self, ledger: Ledger, judge: LedgerJudge, *, on_work: Callable[[Decision], None] = lambda _: None
    ) -> None:
        self.judge = judge
        self._ledger = ledger
        self._turns = Turns()
        self._on_work = on_work

    def require_room(self) -> None:
        """Raises Overloaded or LedgerUnavailable where a report would not be taken: known before one is read."""
        self._ledger.require_room()

    async def hear(self, heard: Heard) -> Decision:
        """The decision on one report. Raises ForeignTask, LedgerUnavailable or Overloaded."""
        await self._turns.take(heard.external_task_id)
        try:
            [outcome] = await self._ledger.apply([_without_tokens(heard)], self.judge)
        finally:
            self._turns.give_back(heard.external_task_id)
        if isinstance(outcome, Refusal):
            raise outcome
        self._tell(outcome)
        return outcome

    async def replay(self, key: int, heard: Heard) -> Decision | None:
        """The same for what was kept as unreadable, which leaves the drawer. None where somebody else was first."""
        decision = await self._ledger.replay(key, _without_tokens(heard), self.judge)
        if decision is not None:
            self._tell(decision)
        return decision

    def _tell(self, decision: Decision) -> None:
        if decision.ask_now or decision.task.is_at_rest or decision.path is not None:
            self._on_work(decision)


def _without_tokens(heard: Heard) -> Heard:
    """A provider's message may quote the callback URL, and apps are shown the message."""
    if "callbacks" not in heard.report.message:
        return heard
    return replace(heard, report=replace(heard.report, message=without_tokens(heard.report.message)))
