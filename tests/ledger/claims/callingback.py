"""Tasks' own clients: who is told what, without keeping each other waiting, and for how long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from receiver.breaker import CLIENT_WAITS_FOR, OPENS_AFTER
from receiver.eventtype import EventType, types_matching
from receiver.ledger.base import Ledger
from receiver.ledger.deliveries import (
    AttemptResult,
    CalledBack,
    ClaimedDelivery,
    DeliveryQuery,
    DeliveryState,
    Places,
    Settlement,
    Subscription,
)
from receiver.ledger.openings import Client
from submitter.moments import Moment, millis
from tests.ledger.builders import FAILED as FAILED_STATUS
from tests.ledger.builders import (
    HOUR,
    JUDGE,
    LEASE,
    MINUTE,
    NOW,
    OURS,
    PROCESSING,
    SECOND,
    SUBMITTED,
    SUCCEED,
    THEIRS,
    answer,
    callback,
    hear,
    image,
    opening,
)
from tests.ledger.conformance import Engine

DELIVERED, FAILED, REFUSED, GONE, CUT_SHORT = AttemptResult
ALL = Places(in_all=32, of_tenant=32, of_origin=32)
URL = "https://app.example.com/hook?token=secret"
ORIGIN = "@https://app.example.com:443"
ELSEWHERE = "http://elsewhere.example:8080/"


async def opened(engine: Engine, *names: str, url: str = URL, **client: Any) -> Ledger:
    """A ledger with these tasks of clients that want to be called back there."""
    ledger = await engine.ledger()
    for name in names or (OURS,):
        await ledger.open_task(opening(name, client=Client(callback_url=url, **client)))
    return ledger


async def claim(ledger: Ledger, *, now: Moment = NOW, places: Places = ALL) -> list[ClaimedDelivery]:
    return await ledger.claim_client_deliveries(now=now, lease=LEASE, places=places)


async def settle(
    ledger: Ledger,
    claimed: ClaimedDelivery,
    result: AttemptResult,
    *,
    now: Moment = NOW,
    retry_at: Moment | None = None,
) -> bool:
    settlement = Settlement(
        key=claimed.key, fence=claimed.fence, result=result, now=now, reason=str(result), retry_at=retry_at
    )
    settled = await ledger.settle_deliveries([settlement])
    assert [] == list(settled.disabled)
    return settled.counted[0]


async def states(ledger: Ledger, **query: Any) -> list[tuple[str, DeliveryState]]:
    page = await ledger.deliveries(DeliveryQuery(limit=500, **query))
    return [(each.type.removeprefix("task."), each.state) for each in reversed(page.deliveries)]


def types(claimed: Sequence[ClaimedDelivery]) -> list[str]:
    return [each.event.type.removeprefix("task.") for each in claimed]


async def dead_origin(engine: Engine, count: int) -> tuple[Ledger, Moment]:
    """So many tasks told of to an origin whose breaker has just opened; when it lets a probe pass."""
    names = [f"t_{number}" for number in range(count)]
    ledger = await opened(engine, *names)
    await hear(ledger, *(callback(PROCESSING, task=name) for name in names))
    for claimed in await claim(ledger, places=Places(in_all=OPENS_AFTER, of_tenant=32, of_origin=32)):
        await settle(ledger, claimed, FAILED, retry_at=NOW + SECOND)
    due = await ledger.next_client_delivery_at()
    assert due is not None
    return ledger, due


async def test_each_change_of_status_is_told_to_the_client_in_order_and_nothing_else_is(engine: Engine) -> None:
    ledger = await opened(engine, OURS, task_id="theirs-1")
    await ledger.open_task(opening(THEIRS))
    await hear(ledger, callback(SUBMITTED), callback(PROCESSING), callback(SUBMITTED, task=THEIRS))
    await hear(ledger, callback(SUCCEED, image()))

    told = []
    while claimed := await claim(ledger):
        assert 1 == len(claimed)
        told += claimed
        await settle(ledger, claimed[0], DELIVERED)

    assert ["submitted", "processing", "succeeded"] == types(told)
    assert {CalledBack(url=URL, tenant="", task_id="theirs-1", is_series=False)} == {each.client for each in told}
    assert {ORIGIN} == {each.destination for each in told}
    assert [] == await ledger.destinations()


async def test_what_a_task_took_off_the_balance_is_told_as_it_was_known_at_the_event_whenever_that_is_told(
    engine: Engine,
) -> None:
    """A query may learn it between two attempts: whoever compares them finds no difference."""
    ledger = await opened(engine, OURS, THEIRS)
    told_later, told_at_once = {"task": OURS}, {"task": THEIRS, "balance_deduction": '{"quota":"0.2"}'}
    await hear(ledger, callback(SUCCEED, image(), **told_later), callback(SUCCEED, image(), **told_at_once))
    first = await claim(ledger)
    for claimed in first:
        await settle(ledger, claimed, FAILED, retry_at=NOW)
    await hear(ledger, answer(SUCCEED, image(), balance_deduction='{"quota":"0.3"}'))
    again = await claim(ledger, now=NOW + SECOND)

    costs = {each.event.external_task_id: each.client and each.client.balance_deduction for each in first}
    assert {OURS: None, THEIRS: '{"quota":"0.2"}'} == costs
    assert costs == {each.event.external_task_id: each.client and each.client.balance_deduction for each in again}


async def test_a_conflict_is_told_by_the_true_final_alone(engine: Engine) -> None:
    ledger = await opened(engine)
    await hear(ledger, callback(FAILED_STATUS), answer(SUCCEED, image()))

    assert ["failed", "succeeded"] == [name for name, _ in await states(ledger)]


async def test_a_refusal_is_told_only_where_the_client_was_told_that_the_task_is_ours(engine: Engine) -> None:
    """Else it was the answer to the create itself."""
    ledger = await opened(engine, OURS, THEIRS)
    await ledger.promise(THEIRS)

    await ledger.refuse(OURS, "no", fence=None, now=NOW)
    await ledger.refuse(THEIRS, "no", fence=None, now=NOW)

    told = [(each.event.external_task_id, each.event.type) for each in await claim(ledger)]
    assert [(THEIRS, EventType.REFUSED)] == told


async def test_what_time_alone_decides_is_told_to_the_client_too(engine: Engine) -> None:
    ledger = await opened(engine)

    await ledger.settle_overdue(JUDGE, now=NOW + 48 * HOUR, limit=10)

    assert ["expired"] == types(await claim(ledger, now=NOW + 48 * HOUR))


async def test_the_clients_and_the_destinations_of_one_event_do_not_wait_for_each_other(engine: Engine) -> None:
    ledger = await opened(engine)
    await ledger.subscribe([Subscription(destination="app", types=types_matching(["task.*"]))], now=NOW)
    await hear(ledger, callback(SUBMITTED), callback(PROCESSING))

    [of_client] = await claim(ledger)
    [of_app] = await ledger.claim_deliveries("app", now=NOW, lease=LEASE, limit=16)

    assert (of_app.event, None) == (of_client.event, of_app.client)
    assert 4 == await ledger.count_deliveries(DeliveryQuery())


async def test_the_deliveries_to_clients_are_on_disk_with_their_event(engine: Engine) -> None:
    ledger = await opened(engine)
    await hear(ledger, callback(SUBMITTED))

    assert ["submitted"] == types(await claim(await engine.survivor()))


async def test_of_an_origin_no_more_are_under_way_than_it_has_places(engine: Engine) -> None:
    names = [f"t_{number}" for number in range(6)]
    ledger = await opened(engine, *names)
    await ledger.open_task(opening(OURS, client=Client(callback_url=ELSEWHERE)))
    await hear(ledger, *(callback(SUBMITTED, task=name) for name in (*names, OURS)))
    places = Places(in_all=32, of_tenant=32, of_origin=4)

    first = await claim(ledger, places=places)
    await settle(ledger, next(each for each in first if each.destination == ORIGIN), DELIVERED)
    second = await claim(ledger, places=places)

    assert 5 == len(first)
    assert {ORIGIN, "@http://elsewhere.example:8080"} == {each.destination for each in first}
    assert 1 == len(second)


async def test_a_tenants_origins_leave_places_to_others(engine: Engine) -> None:
    for number in range(8):
        url = f"https://host-{number}.example/"
        await opened(engine, f"t_a{number}", url=url, tenant="acme")
    ledger = await opened(engine, "t_b", url="https://host-0.example/", tenant="bold")
    await hear(ledger, *(callback(SUBMITTED, task=f"t_a{number}") for number in range(8)))
    places = Places(in_all=6, of_tenant=5, of_origin=4)

    hogged = await claim(ledger, places=places)
    await hear(ledger, callback(SUBMITTED, task="t_b"))
    others = await claim(ledger, places=places)

    assert {"acme"} == {each.client.tenant for each in hogged if each.client}
    assert 5 == len(hogged)
    assert ["@bold@https://host-0.example:443"] == [each.destination for each in others]


async def test_who_has_fewest_under_way_is_served_first(engine: Engine) -> None:
    names = [f"t_{number}" for number in range(6)]
    ledger = await opened(engine, *names)
    await ledger.open_task(opening(OURS, client=Client(callback_url=ELSEWHERE)))
    await hear(ledger, *(callback(SUBMITTED, task=name) for name in names), callback(SUBMITTED, now=NOW + SECOND))

    claimed = await claim(ledger, now=NOW + SECOND, places=Places(in_all=2, of_tenant=32, of_origin=4))

    assert 2 == len({each.destination for each in claimed})


async def test_what_is_leased_to_tell_a_client_is_nobody_elses_until_the_lease_is_over(engine: Engine) -> None:
    ledger = await opened(engine)
    await hear(ledger, callback(SUBMITTED))
    [first] = await claim(ledger)

    assert [] == await claim(ledger, now=NOW + millis(LEASE) - 1)
    [second] = await claim(ledger, now=NOW + millis(LEASE))
    assert (first.key, first.fence + 1, 2) == (second.key, second.fence, second.attempts)
    assert not await settle(ledger, first, DELIVERED)


async def test_what_a_process_that_ended_was_telling_a_client_is_due_at_once(engine: Engine) -> None:
    ledger = await opened(engine)
    await hear(ledger, callback(SUBMITTED))
    await claim(ledger)

    assert 1 == len(await claim(await engine.reopened()))


async def test_a_final_supersedes_what_a_client_failed_to_take_twice(engine: Engine) -> None:
    ledger = await opened(engine)
    await hear(ledger, callback(SUBMITTED), callback(PROCESSING), callback(SUCCEED, image()))
    for _ in range(2):
        [claimed] = await claim(ledger)
        await settle(ledger, claimed, FAILED, retry_at=NOW)

    assert ["succeeded"] == types(await claim(ledger))
    assert [DeliveryState.SUPERSEDED] * 2 == [state for _, state in (await states(ledger))[:2]]


async def test_a_client_that_is_gone_is_gone_for_that_event_alone(engine: Engine) -> None:
    ledger = await opened(engine, OURS, THEIRS)
    await hear(ledger, callback(SUBMITTED), callback(SUBMITTED, task=THEIRS))
    first, second = await claim(ledger)

    await settle(ledger, first, GONE)
    await settle(ledger, second, CUT_SHORT)

    assert [second.key] == [each.key for each in await claim(ledger)]
    assert 1 == await ledger.count_deliveries(DeliveryQuery(state=DeliveryState.DEAD))
    assert [] == [each for each in await ledger.events_after(0, limit=9) if each.task is None]


async def test_a_dead_origin_is_probed_while_another_is_told_everything(engine: Engine) -> None:
    ledger, due = await dead_origin(engine, OPENS_AFTER + 3)
    await ledger.open_task(opening(OURS, client=Client(callback_url=ELSEWHERE)))
    await hear(ledger, callback(SUBMITTED))

    before = await claim(ledger, now=due - 1)
    probes = await claim(ledger, now=due)

    assert ["@http://elsewhere.example:8080"] == [each.destination for each in before]
    assert [ORIGIN] == [each.destination for each in probes]
    [state] = [each for each in await ledger.destinations() if each.name == ORIGIN]
    assert ("open", False, True) == (state.health.state, state.is_configured, state.is_told)


async def test_when_the_first_delivery_to_a_client_may_leave_is_what_its_breaker_says(engine: Engine) -> None:
    ledger, due = await dead_origin(engine, OPENS_AFTER + 1)

    assert NOW + 5 * SECOND <= due
    await ledger.open_task(opening(OURS, client=Client(callback_url=ELSEWHERE)))
    await hear(ledger, callback(SUBMITTED))
    assert NOW == await ledger.next_client_delivery_at()


async def test_nothing_is_due_where_no_client_wants_to_be_called_back(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.subscribe([Subscription(destination="app", types=types_matching(["task.*"]))], now=NOW)
    await hear(ledger, callback(SUBMITTED))

    assert await ledger.next_client_delivery_at() is None
    assert [] == await claim(ledger)


async def test_what_a_dead_origin_has_not_taken_for_a_day_is_given_up_and_nobody_is_told_of_that(
    engine: Engine,
) -> None:
    ledger, now = await dead_origin(engine, OPENS_AFTER + 30)
    probes = 0
    while due := await ledger.next_client_delivery_at():
        now = max(now, due)
        for claimed in await claim(ledger, now=now):
            await settle(ledger, claimed, FAILED, now=now, retry_at=now)
            probes += 1

    assert CLIENT_WAITS_FOR.total_seconds() * 1000 <= now - NOW <= millis(CLIENT_WAITS_FOR) + 10 * MINUTE
    assert {DeliveryState.DEAD} == {state for _, state in await states(ledger)}
    assert probes < 330  # a day of five minutes each
    assert [] == [each for each in await ledger.events_after(0, limit=99) if each.task is None]


async def test_what_came_lately_outlives_what_is_given_up(engine: Engine) -> None:
    """It stood behind an earlier one of its task, and takes the turn of that."""
    ledger, _ = await dead_origin(engine, OPENS_AFTER + 3)
    later = NOW + millis(CLIENT_WAITS_FOR) + HOUR
    await hear(ledger, callback(SUCCEED, image(), task="t_7", now=later))
    [probe] = await claim(ledger, now=later)
    assert "t_7" != probe.event.external_task_id

    await settle(ledger, probe, FAILED, now=later, retry_at=later)

    assert [("succeeded", DeliveryState.OPEN)] == [each for each in await states(ledger) if each[1] != "dead"]
    again = await ledger.next_client_delivery_at()
    assert again is not None
    assert ["succeeded"] == types(await claim(ledger, now=again))


async def test_one_that_takes_what_it_is_told_leaves_nothing_behind(engine: Engine) -> None:
    ledger, due = await dead_origin(engine, OPENS_AFTER)
    [probe] = await claim(ledger, now=due)
    kept = await engine.run("select name from destinations")

    await settle(ledger, probe, DELIVERED, now=due)
    for claimed in await claim(ledger, now=due):
        await settle(ledger, claimed, DELIVERED, now=due)

    assert [(ORIGIN,)] == list(kept)
    assert [] == list(await engine.run("select name from destinations"))


async def test_however_many_origins_were_named_those_for_which_nothing_waits_are_forgotten(engine: Engine) -> None:
    ledger = await engine.ledger()
    for number in range(20):
        now = NOW + number * 24 * HOUR
        await opened(engine, f"t_{number}", url=f"https://host-{number}.example/")
        await hear(ledger, callback(SUBMITTED, task=f"t_{number}", now=now))
        [claimed] = await claim(ledger, now=now)
        await settle(ledger, claimed, FAILED, now=now)

    assert 1 == len(await engine.run("select name from destinations"))
    await engine.reopened()
    assert [] == list(await engine.run("select name from destinations"))


async def test_a_dead_letter_to_a_client_is_told_anew(engine: Engine) -> None:
    ledger = await opened(engine)
    await hear(ledger, callback(SUBMITTED))
    [first] = await claim(ledger)
    await settle(ledger, first, REFUSED)

    assert 1 == await ledger.redeliver([first.key], now=NOW + MINUTE)

    [again] = await claim(ledger, now=NOW + MINUTE)
    assert (first.key, first.event, first.client, 1) == (again.key, again.event, again.client, again.attempts)


async def test_a_url_that_no_origin_can_be_read_from_costs_no_report(engine: Engine) -> None:
    ledger = await opened(engine, url="https://[half/an:address")
    await hear(ledger, callback(SUBMITTED))

    [claimed] = await claim(ledger)
    assert "@nowhere" == claimed.destination
