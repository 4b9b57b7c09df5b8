"""However many tasks wait before an account's slots: what opens, claims and looks costs as much as if few did."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import aiosqlite

from receiver.ledger.openings import Client
from receiver.ledger.reading import WireQuery
from receiver.ledger.sqlite import SqliteLedger
from receiver.ledger.sqlite.connection import in_thread
from tests.ledger.builders import NOW, PROVIDER, ids, opening, send

SLOTS = 5
MOST_STEPS = 60_000  # of a claim that wakes as many as it may: some twenty for each and a claim's own
# So many more of what waits already, in SQL: opening them one by one would take most of the suite's time.
MANY = """
    with recursive numbers (number) as (select 1 union all select number + 1 from numbers where number < 1000)
    insert into tasks (external_task_id, provider, endpoint, request, request_digest, state, version, created_at,
                       deadline_at, send_at, tenant)
    select external_task_id || '-' || number, provider, endpoint, request, request_digest, state, version, created_at,
           deadline_at, send_at + number, tenant from tasks, numbers where send_at is not null
"""


class Steps:
    """Counts the instructions of SQLite's machine."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> int:
        self.count += 1
        return 0


async def steps_of(connection: aiosqlite.Connection, act: Callable[[], Awaitable[Any]]) -> int:
    steps = Steps()
    await in_thread(connection, lambda raw: raw.set_progress_handler(steps, 1))
    await act()
    await in_thread(connection, lambda raw: raw.set_progress_handler(None, 1))
    return steps.count


async def costs(ledger: SqliteLedger, name: str) -> dict[str, int]:
    """What each costs, opening while all slots are taken."""
    writer, reader = ledger._connection, ledger._reader._connection
    return {
        "open": await steps_of(writer, lambda: ledger.open_task(opening(name, slot_limit=SLOTS, now=NOW + 100_000))),
        "claim none": await steps_of(writer, lambda: send(ledger, slot_limit=SLOTS)),
        "claim four": await steps_of(writer, lambda: send(ledger, limit=4, slot_limit=100)),
        "look": await steps_of(reader, lambda: ledger.next_send_at(PROVIDER)),
    }


async def test_nothing_costs_more_where_thousands_wait(ledger: SqliteLedger) -> None:
    for number in range(SLOTS):
        await ledger.open_task(opening(f"runs-{number}"))
    for number in range(12):
        client = Client(tenant=f"tenant{number % 3}")
        await ledger.open_task(opening(f"waits-{number}", client=client, send_later=True))

    few = await costs(ledger, "few")
    await in_thread(ledger._connection, lambda raw: raw.execute(MANY))
    many = await costs(ledger, "many")

    assert [] == [(name, few[name], many[name]) for name in few if many[name] > 2 * few[name]]


async def test_a_claim_costs_no_more_where_thousands_of_tenants_wait(ledger: SqliteLedger) -> None:
    for number in range(12):
        await ledger.open_task(opening(f"waits-{number}", client=Client(tenant=f"t{number}"), send_later=True))
    writer = ledger._connection
    tenants = MANY.replace("send_at + number, tenant", "send_at + number, tenant || '-' || number")

    few = await steps_of(writer, lambda: send(ledger, now=NOW + 100_000, limit=4))
    await in_thread(writer, lambda raw: raw.execute(tenants))
    await wake_all(ledger)
    many = await steps_of(writer, lambda: send(ledger, now=NOW + 100_000, limit=4))

    assert many <= 2 * few


async def wake_all(ledger: SqliteLedger) -> None:
    """Claims until each that may leave has been seen to: what falls due costs once, a bounded part of it each claim."""
    asleep = "select count(*) from heads where begins is null and send_at <= ?"
    while (await in_thread(ledger._connection, lambda raw: raw.execute(asleep, (NOW + 100_000,)).fetchone()))[0]:
        before = await steps_of(ledger._connection, lambda: send(ledger, now=NOW + 100_000, limit=1))
        assert before < MOST_STEPS


async def test_the_next_of_thousands_is_the_oldest_of_who_was_served_least(ledger: SqliteLedger) -> None:
    for tenant in ("ada", "bob"):
        await ledger.open_task(opening(f"{tenant}-0", client=Client(tenant=tenant), send_later=True))
    await in_thread(ledger._connection, lambda raw: raw.execute(MANY))

    claimed = ids(await send(ledger, now=NOW + 100_000, limit=5))

    assert ["ada-0", "bob-0", "ada-0-1", "bob-0-1", "ada-0-2"] == claimed


async def test_a_tenants_page_is_not_looked_for_among_the_tasks_of_all_others(ledger: SqliteLedger) -> None:
    query = WireQuery(provider=PROVIDER, endpoint="omni-image", tenant="eve", page=1, page_size=30)
    for tenant in ("ada", "eve"):
        await ledger.open_task(opening(f"{tenant}-0", client=Client(tenant=tenant), send_later=tenant == "ada"))
    reader = ledger._reader._connection

    few = await steps_of(reader, lambda: ledger.wire_page(query))
    await in_thread(ledger._connection, lambda raw: raw.execute(MANY))
    many = await steps_of(reader, lambda: ledger.wire_page(query))

    assert many <= 2 * few
