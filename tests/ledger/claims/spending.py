"""What an account may spend in a day: reserved when a create leaves, corrected by finals, waited for, never lost."""

from __future__ import annotations

import asyncio

from receiver.ledger.base import Ledger
from receiver.ledger.openings import Client, Lane, Opened, OpenedAs, Unsent
from receiver.task import TaskState
from submitter.moments import Moment
from tests.ledger.builders import (
    HOUR,
    JUDGE,
    MINUTE,
    NOW,
    OURS,
    PROVIDER,
    SUBMITTED,
    SUCCEED,
    answer,
    callback,
    hear,
    image,
    opening,
    task_of,
)
from tests.ledger.conformance import Engine

TOMORROW = NOW + 14 * HOUR  # NOW is at ten, UTC


async def open_one(ledger: Ledger, name: str = OURS, *, per_day: int = 20, **more: object) -> Opened:
    return await ledger.open_task(opening(name, units_per_day=per_day, **more))


async def send(ledger: Ledger, *, now: Moment = NOW, per_day: int = 20) -> list[str]:
    lane = Lane(slot_limit=None, first_query_at=None, units_per_day=per_day)
    sent: list[Unsent] = await ledger.claim_unsent(now=now, limit=16, lanes={PROVIDER: lane})
    return [each.external_task_id for each in sent]


async def settle(ledger: Ledger, name: str, units: str | None = None) -> None:
    await hear(ledger, answer(SUBMITTED, task=name), callback(SUCCEED, image(), task=name, unit_deduction=units))


async def test_creates_that_would_go_over_the_day_wait_and_say_why(engine: Engine) -> None:
    ledger = await engine.ledger()
    opened = [(await open_one(ledger, f"t_{number}")).outcome for number in range(4)]
    waiting = await task_of(ledger, "t_2")

    assert [OpenedAs.TO_SEND] * 2 + [OpenedAs.QUEUED] * 2 == opened
    assert (TaskState.PENDING, None) == (waiting.state, waiting.sent_at)
    assert "limits.units_per_day = 20" in waiting.message
    assert [] == await send(ledger, now=TOMORROW - 1)


async def test_they_leave_in_their_order_when_the_day_turns_even_after_a_restart(engine: Engine) -> None:
    ledger = await engine.ledger()
    for number in range(6):
        await open_one(ledger, f"t_{number}", deadline_at=TOMORROW + 48 * HOUR)

    ledger = await engine.reopened()

    assert ["t_2", "t_3"] == await send(ledger, now=TOMORROW)
    assert [] == await send(ledger, now=TOMORROW + HOUR)
    assert ["t_4", "t_5"] == await send(ledger, now=TOMORROW + 24 * HOUR)


async def test_a_raised_limit_lets_them_go_at_once(engine: Engine) -> None:
    ledger = await engine.ledger()
    for number in range(4):
        await open_one(ledger, f"t_{number}")

    assert ["t_2"] == await send(ledger, per_day=24)


async def test_a_final_that_took_less_makes_room(engine: Engine) -> None:
    ledger = await engine.ledger()
    for number in range(3):
        await open_one(ledger, f"t_{number}")
    await settle(ledger, "t_0", "2")

    assert ["t_2"] == await send(ledger)


async def test_a_final_that_took_more_takes_room(engine: Engine) -> None:
    ledger = await engine.ledger()
    await open_one(ledger, "t_0")
    await settle(ledger, "t_0", "15")

    assert OpenedAs.QUEUED is (await open_one(ledger, "t_1")).outcome


async def test_a_final_that_says_nothing_took_what_was_thought(engine: Engine) -> None:
    ledger = await engine.ledger()
    for number in range(2):
        await open_one(ledger, f"t_{number}")
        await settle(ledger, f"t_{number}")

    assert OpenedAs.QUEUED is (await open_one(ledger, "t_2")).outcome


async def test_what_an_image_of_its_class_cost_is_what_the_next_is_thought_to_cost(engine: Engine) -> None:
    ledger = await engine.ledger()
    await open_one(ledger, "t_0")
    await settle(ledger, "t_0", "1")
    cheap = [(await open_one(ledger, f"t_cheap{number}")).outcome for number in range(19)]
    others = await open_one(ledger, "t_other", request='{"resolution":"4k"}')

    assert [OpenedAs.TO_SEND] * 19 == cheap
    assert OpenedAs.QUEUED is others.outcome


async def test_a_refused_create_and_one_that_never_got_there_spend_nothing(engine: Engine) -> None:
    ledger = await engine.ledger()
    refused = await open_one(ledger, "t_refused")
    await ledger.refuse("t_refused", "1301", fence=refused.fence, now=NOW)
    deferred = await open_one(ledger, "t_deferred")
    await ledger.defer("t_deferred", "no connection", fence=deferred.fence, send_at=NOW + MINUTE)

    assert [[], ["t_deferred"]] == [await send(ledger), await send(ledger, now=NOW + MINUTE)]
    assert OpenedAs.TO_SEND is (await open_one(ledger, "t_1", now=NOW + MINUTE)).outcome
    assert OpenedAs.QUEUED is (await open_one(ledger, "t_2", now=NOW + MINUTE)).outcome


async def test_a_refused_id_that_is_submitted_anew_is_reserved_for_once(engine: Engine) -> None:
    ledger = await engine.ledger()
    refused = await open_one(ledger)
    await ledger.refuse(OURS, "1301", fence=refused.fence, now=NOW)
    await open_one(ledger)

    assert OpenedAs.TO_SEND is (await open_one(ledger, "t_1")).outcome


async def test_what_fits_no_day_waits_alone(engine: Engine) -> None:
    ledger = await engine.ledger()
    large = await open_one(ledger, "t_large", slots=9)
    await open_one(ledger, "t_small")
    first, second = await send(ledger), await send(ledger, now=TOMORROW)
    task = await task_of(ledger, "t_large")

    assert OpenedAs.QUEUED is large.outcome
    assert (["t_small"], []) == (first, second)
    assert "until that is raised" in task.message


async def test_each_account_has_a_day_of_its_own(engine: Engine) -> None:
    ledger = await engine.ledger()
    for number in range(2):
        await open_one(ledger, f"t_{number}")

    assert OpenedAs.TO_SEND is (await open_one(ledger, "t_else", provider="kling")).outcome
    assert OpenedAs.TO_SEND is (await ledger.open_task(opening("t_unlimited"))).outcome


async def test_many_at_once_go_no_further_than_the_day(engine: Engine) -> None:
    ledger = await engine.ledger()
    opened = await asyncio.gather(*(open_one(ledger, f"t_{number}", per_day=100) for number in range(40)))
    await asyncio.gather(*(send(ledger, per_day=100) for _ in range(10)))

    assert 12 == sum(each.outcome is OpenedAs.TO_SEND for each in opened)


async def test_what_waits_for_its_day_expires_at_its_deadline(engine: Engine) -> None:
    ledger = await engine.ledger()
    for number in range(3):
        await open_one(ledger, f"t_{number}", deadline_at=NOW + HOUR)
    await ledger.settle_overdue(JUDGE, now=NOW + HOUR, limit=9)

    assert TaskState.EXPIRED is (await task_of(ledger, "t_2")).state
    assert [] == await send(ledger, now=TOMORROW)


async def open_for(ledger: Ledger, tenant: str, name: str, **more: object) -> Opened:
    return await open_one(ledger, name, client=Client(tenant=tenant, task_id=name), **more)


LARGE = {"request": '{"resolution":"4k"}'}  # sixteen units


async def test_a_tenant_whose_task_takes_more_than_is_left_keeps_no_other_waiting(engine: Engine) -> None:
    ledger = await engine.ledger()
    await open_one(ledger, "t_0")
    await open_for(ledger, "acme", "t_large", **LARGE)
    await open_for(ledger, "acme", "t_behind")
    await open_for(ledger, "globex", "t_other")

    assert ["t_other"] == await send(ledger)
    assert [] == await send(ledger)


async def test_what_was_passed_over_for_its_units_is_first_on_the_new_day(engine: Engine) -> None:
    ledger = await engine.ledger()
    await open_one(ledger, "t_0")
    await open_for(ledger, "acme", "t_large", **LARGE)
    await open_for(ledger, "globex", "t_other")
    await send(ledger)
    for number in range(3):
        await open_for(ledger, "globex", f"t_more{number}", now=NOW + MINUTE)

    assert ["t_large"] == await send(ledger, now=TOMORROW)


async def test_what_no_day_has_units_for_keeps_nobody_waiting(engine: Engine) -> None:
    ledger = await engine.ledger()
    await open_for(ledger, "acme", "t_huge", slots=3)
    await open_for(ledger, "acme", "t_behind")

    assert ["t_behind"] == await send(ledger)


async def test_a_create_sent_again_that_never_got_there_is_reserved_for_no_more(engine: Engine) -> None:
    """It may have been paid for once, however often it is put off afterwards."""
    ledger = await engine.ledger()
    await open_one(ledger)
    await ledger.send_again(OURS, now=NOW)
    for minute in range(3):
        assert [OURS] == await send(ledger, now=NOW + minute * MINUTE)
        await ledger.defer(OURS, "1303", fence=minute + 2, send_at=NOW + (minute + 1) * MINUTE)

    assert [[8.0]] == [list(row) for row in await engine.run("select units from reservations")]
