"""What a ledger knows of questions: who is to be asked about, under which claim, and what that came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from receiver.ledger.judging import Judge
from receiver.ledger.openings import AccountRefusal
from receiver.ledger.reading import AccountState
from receiver.listing import Shape, Sharing, Together
from receiver.pathhealth import PathHealth
from receiver.straggler import Outcome, Purpose
from receiver.task import Decision, Task
from submitter.moments import Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A task whose turn it is to be asked about, leased under a fence. The query is counted already."""

    task: Task
    purpose: Purpose
    fence: int
    claimed_at: Moment
    together: Together | None = None  # the one request that is to tell of all claims that were made with it
    trial: int | None = None  # the question is the one that tries whether a stopped account is served again


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Leave a provider in peace until a moment, and why. `is_stop` is for what only a person mends.

    `refusal` is what it said where that is trouble of the account itself: whatever is sent would be told the same.
    """

    provider: str
    until: Moment
    reason: str
    is_stop: bool = False
    refusal: AccountRefusal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Tasks that an answer told of, for a question that was claimed `at` a moment; whether it ever left."""

    provider: str
    shape: Shape
    tasks: int
    at: Moment
    has_left: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PageResult:
    """What a page or a batch held: entries, those of this ledger's tasks, and tasks that it answered a question about.

    Without a `listed` the answer was none.
    """

    provider: str
    endpoint: str
    listed: int | None
    ours: int
    brought: int
    now: Moment


class Asking(Protocol):
    """The part of a ledger that asks: whose turn it is, what the answers came to, and how each account's path fares."""

    async def lift(self, provider: str, *, trial: int) -> bool:
        """This trial was answered: the account is served again. False where it is not the latest, or was refused."""

    async def claim_stragglers(
        self, *, now: Moment, lease: timedelta, limit: int, budgets: Mapping[str, int]
    ) -> list[Claim]:
        """Tasks whose turn it is to be asked about, as far as each provider's budget goes."""

    async def claim_round(
        self, provider: str, *, now: Moment, lease: timedelta, limit: int, budget: int, sharing: Sharing
    ) -> list[Claim]:
        """The same where many can be asked about in one request, which costs the budget one; or single ones."""

    async def claim_riders(
        self, provider: str, external_task_ids: Sequence[str], *, now: Moment, lease: timedelta
    ) -> list[Claim]:
        """Of these tasks the running ones that nobody asks about: an answer to another question told of them."""

    async def claim_task(self, external_task_id: str, *, now: Moment, lease: timedelta) -> Claim:
        """This one task, asked about because a person wants to know. Raises UnknownTask or NotPossible."""

    async def count_questions(self, asked: Sequence[Asked], pages: Sequence[PageResult] = ()) -> None:
        """Remember what questions told, give back those that never left, and keep what lists were good for."""

    async def listed_tasks(
        self, provider: str, *, external_task_ids: Sequence[str], task_ids: Sequence[str]
    ) -> list[Task]:
        """This account's running tasks that have one of these ids, ours or the provider's own."""

    async def count_listed(self, provider: str, *, external_task_ids: Sequence[str], task_ids: Sequence[str]) -> int:
        """How many of this account's tasks, whether they run or not, have one of these ids."""

    async def settle(self, outcomes: Sequence[Outcome], judge: Judge, pauses: Sequence[Pause] = ()) -> None:
        """Give claims back with what became of them. An old fence changes nothing."""

    async def settle_overdue(self, judge: Judge, *, now: Moment, limit: int) -> list[Decision]:
        """Bring to rest what time has decided."""

    async def accounts(self) -> list[AccountState]:
        """Every provider that was ever left in peace, and whether it is."""

    async def note_start(self, providers: Sequence[str], *, now: Moment) -> None:
        """Callbacks to these accounts found nobody until now: that they did not come says nothing of their paths."""

    async def note_life(self, provider: str, judge: Judge, *, now: Moment) -> PathHealth | None:
        """Something came by this account's callback path that is about no task; how it fares where that turned it."""

    async def paths(self) -> Mapping[str, PathHealth]:
        """How each account's callbacks fare; one that is not named is alive, as far as anybody knows."""

    async def plan_anew(self, judge: Judge, *, now: Moment) -> int:
        """Of each account whose path has turned, the next piece of the tasks that run; how many were looked at.

        The turn itself plans the first piece: with few tasks there is no other.
        """

    async def is_left_to_plan(self) -> bool:
        """Whether `plan_anew` has anything to do."""

    async def sound(self, provider: str, judge: Judge, *, now: Moment) -> int:
        """Make a handful of tasks due at once, if the account's silence is worth it (`receiver.sounding`); how many."""

    async def next_query_at(self, provider: str) -> Moment | None:
        """When the first task of this account is to be asked about."""

    async def next_look_at(self, provider: str, *, now: Moment, budget: int, sharing: Sharing) -> Moment | None:
        """When a claim of this account's questions would next take anything, as far as is known: `now` or before it.

        Later than the first is due where the budget is spent, the account is left in peace, or company is waited for.
        """

    async def next_sounding_at(self, provider: str, judge: Judge, *, now: Moment) -> Moment | None:
        """When the account's silence will be worth a handful of questions, if that is soon."""

    async def next_deadline(self, judge: Judge) -> Moment | None:
        """When time alone decides something."""
