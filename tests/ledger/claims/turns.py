"""The queue before an account's slots: tenants take turns, whoever came first, and nobody overtakes who waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from receiver.ledger.base import Ledger
from receiver.ledger.openings import Client, Lane, OpenedAs
from tests.ledger.builders import MINUTE, NOW, PROVIDER, SUCCEED, callback, hear, ids, image, opening, send
from tests.ledger.conformance import Engine


async def queue(ledger: Ledger, tenant: str, count: int, **changes: Any) -> None:
    """So many tasks of a tenant: ada-0, ada-1, …"""
    for number in range(count):
        await ledger.open_task(
            opening(f"{tenant}-{number}", client=Client(tenant=tenant), **{"send_later": True} | changes)
        )


async def leave(ledger: Ledger, count: int, *, slot_limit: int = 1, now: int = NOW) -> list[str]:
    """Whose tasks leave, one after the other, each when the one before has ended."""
    left: list[str] = []
    for _ in range(count):
        claimed = ids(await send(ledger, now=now, slot_limit=slot_limit))
        left += claimed
        await end(ledger, claimed)
    return left


async def end(ledger: Ledger, names: Sequence[str]) -> None:
    await hear(ledger, *(callback(SUCCEED, image(), task=name) for name in names))


async def test_tenants_take_turns_whoever_came_first_and_has_more_waiting(engine: Engine) -> None:
    ledger = await engine.ledger()
    await queue(ledger, "ada", 4)
    await queue(ledger, "bob", 2, now=NOW + 1)
    await queue(ledger, "", 1, now=NOW + 2)

    left = await leave(ledger, 7, now=NOW + MINUTE)

    assert ["ada-0", "bob-0", "-0", "ada-1", "bob-1", "ada-2", "ada-3"] == left


async def test_turns_within_one_claim_are_those_of_one_after_the_other(engine: Engine) -> None:
    ledger = await engine.ledger()
    await queue(ledger, "ada", 4)
    await queue(ledger, "bob", 2, now=NOW + 1)

    left = ids(await send(ledger, now=NOW + MINUTE, slot_limit=6))

    assert ["ada-0", "bob-0", "ada-1", "bob-1", "ada-2", "ada-3"] == left


async def test_turns_are_counted_in_slots(engine: Engine) -> None:
    ledger = await engine.ledger()
    await queue(ledger, "ada", 3, slots=3)
    await queue(ledger, "bob", 6, now=NOW + 1)

    left = await leave(ledger, 8, slot_limit=3, now=NOW + MINUTE)

    assert ["ada-0", "bob-0", "bob-1", "bob-2"] == left[:4]
    assert ["ada-1", "bob-3", "bob-4", "bob-5", "ada-2"] == left[4:]


async def test_turns_go_on_in_the_same_order_after_a_restart(engine: Engine) -> None:
    ledger = await engine.ledger()
    await queue(ledger, "ada", 3)
    await queue(ledger, "bob", 3, now=NOW + 1)

    left = await leave(ledger, 1, now=NOW + MINUTE)
    for _ in range(5):
        left += await leave(await engine.reopened(), 1, now=NOW + MINUTE)

    assert ["ada-0", "bob-0", "ada-1", "bob-1", "ada-2", "bob-2"] == left


async def test_a_claim_and_its_turn_are_on_disk_together(engine: Engine) -> None:
    ledger = await engine.ledger()
    await queue(ledger, "ada", 2)
    await queue(ledger, "bob", 2, now=NOW + 1)
    await send(ledger, now=NOW + MINUTE, slot_limit=1)

    survivor = await engine.survivor()
    await end(survivor, ["ada-0"])

    assert ["bob-0"] == ids(await send(survivor, now=NOW + MINUTE, slot_limit=1))


async def test_a_tenant_that_comes_later_has_the_next_turn_and_not_all_of_them(engine: Engine) -> None:
    ledger = await engine.ledger()
    await queue(ledger, "ada", 8)
    await leave(ledger, 4)

    await queue(ledger, "bob", 3, now=NOW + 1)
    left = await leave(ledger, 5, now=NOW + MINUTE)

    assert ["bob-0", "ada-4", "bob-1", "ada-5", "bob-2"] == sorted(left[:2], reverse=True) + left[2:]


async def test_what_left_at_once_was_a_turn_too(engine: Engine) -> None:
    ledger = await engine.ledger()
    await queue(ledger, "ada", 1, send_later=False, slot_limit=1)
    await ledger.open_task(opening("ada-second", client=Client(tenant="ada"), slot_limit=1, now=NOW + 1))
    await queue(ledger, "bob", 1, now=NOW + 2)
    await end(ledger, ["ada-0"])

    assert ["bob-0", "ada-second"] == await leave(ledger, 2, now=NOW + MINUTE)


async def test_what_the_provider_did_not_take_was_no_turn(engine: Engine) -> None:
    ledger = await engine.ledger()
    await queue(ledger, "ada", 2)
    await queue(ledger, "bob", 2, now=NOW + 1)
    [sent] = await send(ledger, now=NOW + MINUTE, slot_limit=1)

    await ledger.defer(sent.external_task_id, "1303: full", fence=sent.fence, send_at=NOW + MINUTE)

    assert ["ada-1"] == ids(await send(ledger, now=NOW + MINUTE, slot_limit=1))


async def test_to_say_again_and_again_that_a_task_never_left_brings_its_tenant_no_turns(engine: Engine) -> None:
    """Whoever may submit may say so of a task of his, by a fence that can be guessed."""
    ledger = await engine.ledger()
    await queue(ledger, "ada", 4)
    await queue(ledger, "bob", 2, now=NOW + 1)
    left: list[str] = []
    for _ in range(4):
        counts = await ledger.defer("ada-3", "never sent", fence=1, send_at=NOW)
        left += await leave(ledger, 1, now=NOW + MINUTE)

    assert not counts
    assert ["ada-0", "bob-0", "ada-1", "bob-1"] == left


async def test_a_large_task_whose_turn_it_is_is_not_overtaken_by_another_tenants_small_ones(engine: Engine) -> None:
    ledger = await engine.ledger()
    await queue(ledger, "running", 1, slots=2, slot_limit=3, send_later=False)
    await queue(ledger, "ada", 1, slots=3)
    await queue(ledger, "bob", 1, now=NOW + 1)

    assert [] == await send(ledger, now=NOW + MINUTE, slot_limit=3)
    await end(ledger, ["running-0"])
    assert ["ada-0"] == ids(await send(ledger, now=NOW + MINUTE, slot_limit=3))


async def test_a_task_larger_than_all_slots_leaves_when_all_are_free(engine: Engine) -> None:
    """The account had more slots when it was written down: `slots` was lowered since."""
    ledger = await engine.ledger()
    await queue(ledger, "running", 1, slots=1, slot_limit=5, send_later=False)
    await queue(ledger, "ada", 1, slots=5)
    await queue(ledger, "bob", 1, now=NOW + 1)

    assert [] == await send(ledger, now=NOW + MINUTE, slot_limit=3)
    await end(ledger, ["running-0"])
    assert ["ada-0"] == ids(await send(ledger, now=NOW + MINUTE, slot_limit=3))
    await end(ledger, ["ada-0"])
    assert ["bob-0"] == ids(await send(ledger, now=NOW + MINUTE, slot_limit=3))


async def test_who_comes_while_another_tenant_waits_is_queued(engine: Engine) -> None:
    ledger = await engine.ledger()
    await queue(ledger, "ada", 1, slot_limit=5)

    opened = await ledger.open_task(opening("bob-0", client=Client(tenant="bob"), slot_limit=5))

    assert OpenedAs.QUEUED is opened.outcome


async def test_a_task_that_is_not_due_holds_up_no_other(engine: Engine) -> None:
    ledger = await engine.ledger()
    await queue(ledger, "ada", 1, now=NOW + MINUTE)
    await queue(ledger, "bob", 1)

    assert ["bob-0"] == ids(await send(ledger, slot_limit=2))
    assert ["ada-0"] == ids(await send(ledger, now=NOW + MINUTE, slot_limit=2))


async def test_each_account_has_turns_of_its_own(engine: Engine) -> None:
    ledger = await engine.ledger()
    await queue(ledger, "ada", 3)
    await leave(ledger, 2)
    for tenant in ("ada", "bob"):
        await ledger.open_task(opening(f"k-{tenant}", provider="kling", client=Client(tenant=tenant), send_later=True))

    lanes = {each: Lane(slot_limit=None, first_query_at=None) for each in ("kling", PROVIDER)}

    assert ["k-ada", "k-bob", "ada-2"] == ids(await ledger.claim_unsent(now=NOW, limit=8, lanes=lanes))


async def test_who_lags_behind_nobody_leaves_no_row(engine: Engine) -> None:
    ledger = await engine.ledger()
    for number in range(20):
        await queue(ledger, f"tenant{number}", 1)
    await leave(ledger, 20)

    await ledger.open_task(opening("again", client=Client(tenant="tenant7")))

    assert [("tenant7", 1, 2)] == [tuple(row) for row in await engine.run("select tenant, start, finish from turns")]
