"""What the rest of the receiver asks of a ledger, whatever engine keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from receiver.keys import StoredKey
from receiver.ledger.asking import Asking
from receiver.ledger.deliveries import Outbox
from receiver.ledger.errors import Refusal
from receiver.ledger.judging import Heard, Judge
from receiver.ledger.openings import Lane, Opened, Opening, Unsent
from receiver.ledger.reading import History, KeptUnreadable, Page, Query, Seen, StoredEvent, WireQuery
from receiver.task import Decision, Record, Task
from receiver.wiretask import WireTask
from submitter.moments import Moment
from submitter.providers.base import Trust


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


class Ledger(Asking, Outbox, Protocol):
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
