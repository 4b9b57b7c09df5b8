"""What the rest of the receiver asks of a ledger, whatever engine keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from receiver.keys import StoredKey
from receiver.ledger.deliveries import Outbox
from receiver.ledger.errors import Refusal
from receiver.ledger.openings import AccountRefusal, Lane, Opened, Opening, Unsent
from receiver.ledger.reading import AccountState, History, KeptUnreadable, Page, Query, Seen, StoredEvent, WireQuery
from receiver.listing import Shape, Sharing, Together
from receiver.pathhealth import PathHealth
from receiver.straggler import Next, Outcome, Purpose
from receiver.task import Decision, Record, Source, Task
from receiver.timing import Known
from receiver.wiretask import WireTask
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a commit has changed: whose tasks, whether events were written, and whether clients are told of some."""

    tasks: Sequence[str]
    has_events: bool
    has_callbacks: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterState:
    """What waits to be written at this moment, and what this process has committed."""

    waiting: int
    waiting_bytes: int
    batches: int
    entries: int
    trouble: str | None


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


class Ledger(Outbox, Protocol):
    """The task ledger. Every write is committed to disk when its method returns.

    Writes raise LedgerUnavailable when the store is in trouble, and a Refusal when the entry is at fault.
    """

    def require_room(self) -> None:
        """Raises Overloaded or LedgerUnavailable where a write would not be taken at the moment."""

    async def open_task(self, opening: Opening) -> Opened:
        """Write a submission down, or recognise it. Raises TaskExists, QuotaReached or AccountStopped."""

    async def apply(self, batch: Sequence[Heard], judge: Judge) -> list[Decision | Refusal]:
        """Look, decide, write and commit in one go; one outcome for each report, in order."""

    async def promise(self, external_task_id: str) -> Task:
        """A gateway's client is told that the task is ours: it is never submitted anew. Raises UnknownTask.

        A refused one is left as it is.
        """

    async def refuse(self, external_task_id: str, reason: str, *, fence: int | None, now: Moment) -> Task:
        """The provider refused the create. Raises UnknownTask.

        An old fence changes nothing. None is the opener's word, and old once the sender has sent it too.
        """

    async def defer(self, external_task_id: str, reason: str, *, fence: int | None, send_at: Moment) -> bool:
        """It never reached the provider: it may be sent from `send_at` on. False if nothing changed, as in `refuse`."""

    async def unanswered(
        self, external_task_id: str, reason: str, *, query_at: Moment | None, fence: int | None = None
    ) -> bool:
        """The create's answer was lost. `query_at` is None where the provider cannot be asked.

        False if this is not about the latest send, as in `refuse`, or news came meanwhile.
        """

    async def claim_unsent(self, *, now: Moment, limit: int, lanes: Mapping[str, Lane]) -> list[Unsent]:
        """Tasks whose turn it is to be sent, as far as slots are free."""

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

    async def count_questions(self, asked: Sequence[Asked], pages: Sequence[PageResult] = ()) -> None:
        """Remember what questions told, give back those that never left, and keep what lists were good for."""

    async def listed_tasks(
        self, provider: str, *, external_task_ids: Sequence[str], task_ids: Sequence[str]
    ) -> list[Task]:
        """This account's running tasks that have one of these ids, ours or the provider's own."""

    async def count_listed(self, provider: str, *, external_task_ids: Sequence[str], task_ids: Sequence[str]) -> int:
        """How many of this account's tasks, whether they run or not, have one of these ids."""

    async def accounts(self) -> list[AccountState]:
        """Every provider that was ever left in peace, and whether it is."""

    async def claim_task(self, external_task_id: str, *, now: Moment, lease: timedelta) -> Claim:
        """This one task, asked about because a person wants to know. Raises UnknownTask or NotPossible."""

    async def settle(self, outcomes: Sequence[Outcome], judge: Judge, pauses: Sequence[Pause] = ()) -> None:
        """Give claims back with what became of them. An old fence changes nothing."""

    async def lift(self, provider: str, *, trial: int) -> bool:
        """This trial was answered: the account is served again. False where it is not the latest, or was refused."""

    async def note_start(self, providers: Sequence[str], *, now: Moment) -> None:
        """Callbacks to these accounts found nobody until now: that they did not come says nothing of their paths."""

    async def note_life(self, provider: str, judge: Judge, *, now: Moment) -> PathHealth | None:
        """Something came by this account's callback path that is about no task; how it fares where that turned it."""

    async def plan_anew(self, judge: Judge, *, now: Moment) -> int:
        """Of each account whose path has turned, the next piece of the tasks that run; how many were looked at.

        The turn itself plans the first piece: with few tasks there is no other.
        """

    async def is_left_to_plan(self) -> bool:
        """Whether `plan_anew` has anything to do."""

    async def sound(self, provider: str, judge: Judge, *, now: Moment) -> int:
        """Make a handful of tasks due at once, if the account's silence is worth it (`receiver.sounding`); how many."""

    async def paths(self) -> Mapping[str, PathHealth]:
        """How each account's callbacks fare; one that is not named is alive, as far as anybody knows."""

    async def settle_overdue(self, judge: Judge, *, now: Moment, limit: int) -> list[Decision]:
        """Bring to rest what time has decided."""

    async def send_again(self, external_task_id: str, *, now: Moment) -> Task:
        """A person takes the risk of paying twice. Raises UnknownTask or NotPossible."""

    async def abandon(self, external_task_id: str, *, now: Moment) -> Task:
        """A person gives the task up. Raises UnknownTask; a task at rest is left as it is."""

    async def keep_unreadable(
        self, *, provider: str, external_task_id: str, body: bytes, reason: str, trust: Trust, now: Moment
    ) -> None:
        """Keep bytes that nobody could read: 16 KiB of each, the latest 32 of a task and thousand in all."""

    async def unreadable(self, after: int, *, limit: int) -> list[KeptUnreadable]:
        """What is kept of it, with greater keys than `after`, in the order it came."""

    async def replay(self, key: int, heard: Heard, judge: Judge) -> Decision | None:
        """As `apply` for one kept unreadable, which goes with its effect, in one commit. None where it is gone.

        Raises ForeignTask and Unwritable: then it stays.
        """

    async def give_reasons(self, reasons: Mapping[int, str]) -> None:
        """Say anew why these kept bytes cannot be read."""

    async def add_key(self, key: StoredKey) -> StoredKey:
        """Keep a key. Raises KeyExists where one of this name was kept before, revoked or not."""

    async def revoke_key(self, name: str, *, now: Moment) -> StoredKey:
        """The key, revoked for good; one that was stays as it is. Raises UnknownKey."""

    async def keys(self) -> list[StoredKey]:
        """All of them, by name, the revoked too."""

    async def record(self, external_task_id: str) -> Record | None:
        """One task."""

    async def tasks(self, query: Query) -> Page:
        """A page of tasks, newest first. Raises ValueError on a cursor that is none."""

    async def look(self, provider: str, identity: str, *, tenant: str) -> Sequence[Seen]:
        """An account's tasks that bear this id: ours first, then the one that `tenant` calls so, then the provider's.

        A gateway's clients ask this all day: it is the one reading that may not cost more than a request does.
        """

    async def wire_page(self, query: WireQuery) -> Sequence[WireTask]:
        """A page of those that are there."""

    async def history(self, external_task_id: str) -> History | None:
        """How a task came to be what it is."""

    async def events_after(self, position: int, *, limit: int) -> list[StoredEvent]:
        """Committed events in their order."""

    async def newest_position(self) -> int:
        """The position of the latest event; 0 before the first."""

    async def next_send_at(self, provider: str) -> Moment | None:
        """When the first unsent task of this account may leave; not while the account is left in peace."""

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
