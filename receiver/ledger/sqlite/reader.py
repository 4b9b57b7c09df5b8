"""Everything that is read and not written, on connections that cannot write."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from receiver.keys import StoredKey
from receiver.ledger.deliveries import DeliveryPage, DeliveryQuery, DestinationState
from receiver.ledger.errors import LedgerUnavailable, LedgerUnusable
from receiver.ledger.judging import Judge
from receiver.ledger.migrate import require_current
from receiver.ledger.reading import (
    AccountState,
    History,
    HistoryReport,
    KeptUnreadable,
    Page,
    Query,
    StoredEvent,
    WireQuery,
)
from receiver.ledger.sqlite import looking, outboxreading, reporting, soundings
from receiver.ledger.sqlite.connection import connect_reader, in_thread, is_store_trouble
from receiver.ledger.sqlite.keys import all_keys
from receiver.ledger.sqlite.nextlook import next_look_at, next_query_at, next_send_at
from receiver.ledger.sqlite.outboxclients import next_client_delivery_at
from receiver.ledger.sqlite.paths import stored_paths
from receiver.ledger.sqlite.rows import ROW, event_of, record_of, task_of
from receiver.ledger.sqlite.unreadable import kept_of
from receiver.lifecycle import HELD_FOR
from receiver.listing import Sharing
from receiver.pathhealth import PathHealth
from receiver.savings import Life, Requests
from receiver.task import Record, Source, Task, Verdict
from receiver.wiretask import WireTask
from submitter.moments import Moment, millis
from submitter.providers.base import Trust

T = TypeVar("T")
MAX_LIMIT = 500

# The keys of an account's tasks that have one of these ids, ours or the provider's own. By ours each is found at once;
# with a bare `provider` the planner would look through all of the account's.
_LISTED = """
    select key from tasks where +provider = ?1 and external_task_id in (select value from json_each(?2))
    union
    select key from tasks
     where provider = ?1 and task_id is not null and task_id in (select value from json_each(?3))
"""


class SqliteReader:
    """Reads a ledger, also one that another process writes. Raises LedgerUnavailable, and LedgerUnusable at opening."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, path: Path) -> SqliteReader:
        """Open an existing database of the current version. Raises LedgerUnusable, also as LedgerOutdated."""
        connection = await connect_reader(path)
        try:
            await in_thread(connection, require_current)
        except sqlite3.Error as error:
            await connection.close()
            raise LedgerUnusable(f"{path}: {error}. Is it a hookledger database?") from error
        except BaseException:
            await connection.close()
            raise
        return cls(connection)

    async def aclose(self) -> None:
        """Close the connection: an open one would hang the exit."""
        with contextlib.suppress(ValueError):
            await self._connection.close()

    async def record(self, external_task_id: str) -> Record | None:
        """One task."""
        text = f"select {ROW}, request from tasks where external_task_id = ?"  # noqa: S608 - names of this package
        row = await self._one(text, external_task_id)
        return None if row is None else record_of(row)

    async def tasks(self, query: Query) -> Page:
        """A page, newest first. Raises ValueError on a cursor that is none."""
        limit = min(max(query.limit, 1), MAX_LIMIT)
        providers = json.dumps(sorted(query.providers)) if query.providers else None
        filters: list[tuple[str, Any]] = [
            ("tenant = ? and tenant <> ''" if query.tenant else "tenant = ?", query.tenant),  # as its index has it
            ("provider in (select value from json_each(?))", providers),
            ("state = ?", query.state),
            ("provider = ?", query.provider),
            ("settled_by = ?", query.settled_by),
            ("key < ?", None if query.after is None else _cursor(query.after)),
        ]
        given = [(condition, value) for condition, value in filters if value is not None]
        where = " and ".join(condition for condition, _ in given) or "true"
        rows = await self._all(
            f"select {ROW}, request from tasks where {where} order by key desc limit ?",  # noqa: S608 - conditions from above
            *(value for _, value in given),
            limit + 1,
        )
        shown = rows[:limit]
        more = str(shown[-1]["key"]) if len(rows) > limit else None
        return Page(records=[record_of(row) for row in shown], next=more)

    async def wire_page(self, query: WireQuery) -> list[WireTask]:
        """A page as a gateway's client is shown it."""
        return await self._read(lambda raw: looking.page_of(raw, query))

    async def history(self, external_task_id: str) -> History | None:
        """Every report, event and delivery of a task, oldest first."""
        return await self._read(lambda raw: _history(raw, external_task_id))

    async def events_after(self, position: int, *, limit: int) -> list[StoredEvent]:
        """Events with a greater position, in order."""
        rows = await self._all(
            "select * from events where position > ? order by position limit ?", position, min(max(limit, 1), MAX_LIMIT)
        )
        return [event_of(row) for row in rows]

    async def newest_position(self) -> int:
        """The position of the latest event; 0 before the first."""
        return await self._number("select max(position) from events", {}) or 0

    async def unreadable(self, after: int, *, limit: int) -> list[KeptUnreadable]:
        """What nobody could read, in the order it came, with greater keys than `after`."""
        rows = await self._all(
            "select * from unreadable where key > ? order by key limit ?", after, min(max(limit, 1), MAX_LIMIT)
        )
        return [kept_of(row) for row in rows]

    async def kept_unreadable(self, key: int) -> KeptUnreadable | None:
        """One of them."""
        row = await self._one("select * from unreadable where key = ?", key)
        return None if row is None else kept_of(row)

    async def keys(self) -> list[StoredKey]:
        """Every key, by name."""
        return await self._read(all_keys)

    async def next_send_at(self, provider: str) -> Moment | None:
        """When the first unsent task of this account may leave; not while the account is left in peace."""
        return await self._read(lambda raw: next_send_at(raw, provider))

    async def next_query_at(self, provider: str) -> Moment | None:
        """When the first task of this account is to be asked about; one that is leased waits for its lease."""
        return await self._read(lambda raw: next_query_at(raw, provider))

    async def next_look_at(self, provider: str, *, now: Moment, budget: int, sharing: Sharing) -> Moment | None:
        """When a claim of this account's would next take anything."""
        return await self._read(lambda raw: next_look_at(raw, provider, now=now, per_minute=budget, sharing=sharing))

    async def is_left_to_plan(self) -> bool:
        """Whether a path has turned, and not all of its tasks were planned anew yet."""
        return await self._number("select 1 from replans limit 1", {}) is not None

    async def next_sounding_at(self, provider: str, judge: Judge, *, now: Moment) -> Moment | None:
        """As Ledger.next_sounding_at."""
        return await self._read(lambda raw: soundings.next_sounding_at(raw, provider, judge, now=now))

    async def next_deadline(self, strict_providers: frozenset[str]) -> Moment | None:
        """The earliest deadline, or the end of the longest holding where one ends."""
        return await self._number(
            """
            select min(due) from (
                select min(deadline_at) as due from tasks indexed by tasks_by_deadline where settled_at is null
                union all
                select min(doubt_since) + :held_for from tasks indexed by tasks_held
                 where held is not null and provider not in (select value from json_each(:strict))
            )
            """,
            {"held_for": millis(HELD_FOR), "strict": json.dumps(sorted(strict_providers))},
        )

    async def listed_tasks(
        self, provider: str, *, external_task_ids: Sequence[str], task_ids: Sequence[str]
    ) -> list[Task]:
        """This account's running tasks that have one of these ids."""
        rows = await self._all(
            f"select {ROW} from tasks where key in ({_LISTED}) and settled_at is null",  # noqa: S608 - names of this package
            provider,
            json.dumps(external_task_ids),
            json.dumps(task_ids),
        )
        return [task_of(row) for row in rows]

    async def count_listed(self, provider: str, *, external_task_ids: Sequence[str], task_ids: Sequence[str]) -> int:
        """How many of this account's tasks have one of these ids."""
        row = await self._one(
            f"select count(*) from ({_LISTED})",  # noqa: S608 - from below
            provider,
            json.dumps(external_task_ids),
            json.dumps(task_ids),
        )
        return 0 if row is None else int(row[0])

    async def accounts(self) -> list[AccountState]:
        """Every provider that was ever left in peace or asked, and whether it is in peace now."""
        rows = await self._all("select * from query_budgets order by provider")
        return [
            AccountState(
                provider=row["provider"],
                paused_until=row["paused_until"],
                pause_reason=row["pause_reason"],
                is_stopped=bool(row["is_stopped"]),
                unknown_until=row["unknown_until"],
                unknown_reason=row["unknown_reason"],
            )
            for row in rows
        ]

    async def settled_lives(self, after: int, *, created_since: Moment, limit: int) -> tuple[list[Life], int | None]:
        """The settled tasks among the next `limit` of all, and where to go on."""
        return await self._read(
            lambda raw: reporting.settled_lives(raw, after, created_since=created_since, limit=limit)
        )

    async def requests_since(self, since: Moment) -> list[Requests]:
        """What was asked since, to the hour."""
        return await self._read(lambda raw: reporting.requests_since(raw, since))

    async def next_delivery_at(self, destination: str) -> Moment | None:
        """When the first delivery to it is due and may leave."""
        return await self._read(lambda raw: outboxreading.next_delivery_at(raw, destination))

    async def next_client_delivery_at(self) -> Moment | None:
        """When the first delivery to a task's client is due and may leave."""
        return await self._read(next_client_delivery_at)

    async def deliveries(self, query: DeliveryQuery) -> DeliveryPage:
        """A page of deliveries, newest first."""
        return await self._read(lambda raw: outboxreading.page_of(raw, query))

    async def count_deliveries(self, query: DeliveryQuery) -> int:
        """How many there are, on all pages."""
        return await self._read(lambda raw: outboxreading.count(raw, query))

    async def destinations(self) -> list[DestinationState]:
        """Every destination, and how it fares."""
        return await self._read(outboxreading.destinations)

    async def paths(self) -> Mapping[str, PathHealth]:
        """How each account's callbacks fare."""
        return await self._read(stored_paths)

    async def kept_setting(self, name: str) -> str | None:
        """A value kept with the ledger, if there is one."""
        row = await self._one("select value from settings where name = ?", name)
        return None if row is None else str(row["value"])

    async def _number(self, sql: str, parameters: Mapping[str, Any]) -> int | None:
        row = await self._read(lambda raw: raw.execute(sql, parameters).fetchone())
        number: int | None = None if row is None else row[0]
        return number

    async def _one(self, sql: str, *parameters: Any) -> sqlite3.Row | None:
        row: sqlite3.Row | None = await self._read(lambda raw: raw.execute(sql, parameters).fetchone())
        return row

    async def _all(self, sql: str, *parameters: Any) -> list[sqlite3.Row]:
        return await self._read(lambda raw: raw.execute(sql, parameters).fetchall())

    async def _read(self, act: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await in_thread(self._connection, act)
        except sqlite3.DatabaseError as error:
            if not is_store_trouble(error):
                raise
            raise LedgerUnavailable(str(error)) from error


def _cursor(after: str) -> int:
    if not (after.isascii() and after.isdigit() and len(after) <= 18):
        raise ValueError(f"{after!r} is no cursor: write the 'next' of an earlier page")
    return int(after)


def _history(raw: sqlite3.Connection, external_task_id: str) -> History | None:
    task = raw.execute("select key from tasks where external_task_id = ?", (external_task_id,)).fetchone()
    if task is None:
        return None
    reports = raw.execute("select * from reports where task = ? order by number", (task["key"],)).fetchall()
    its_own = (f"{external_task_id}.", f"{external_task_id}/")  # an event's id is its task's, a dot and a version
    events = raw.execute("select * from events where id > ? and id < ? order by position", its_own).fetchall()
    deliveries = raw.execute(
        """
        select deliveries.*, events.id as event_id, events.type from deliveries join events using (position)
         where events.id > ? and events.id < ? order by deliveries.key
        """,
        its_own,
    ).fetchall()
    return History(
        reports=[_report_of(row) for row in reports],
        events=[event_of(row) for row in events],
        deliveries=[outboxreading.delivery_of(row) for row in deliveries],
    )


def _report_of(row: sqlite3.Row) -> HistoryReport:
    return HistoryReport(
        number=row["number"],
        source=Source(row["source"]),
        trust=Trust(row["trust"]),
        verdict=Verdict(row["verdict"]),
        status=row["status"],
        provider_task_id=row["provider_task_id"],
        message=row["message"],
        first_heard_at=row["first_heard_at"],
        last_heard_at=row["last_heard_at"],
        count=row["count"],
        hash=row["hash"],
    )
