"""The outbox: who is told what, in which order, under which lease, and what becomes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from receiver.breaker import DISABLED_AFTER, OPENS_AFTER
from receiver.eventtype import EventType, types_matching
from receiver.ledger.base import Ledger
from receiver.ledger.deliveries import (
    AttemptResult,
    ClaimedDelivery,
    Delivery,
    DeliveryQuery,
    DeliveryState,
    Settled,
    Settlement,
    Subscription,
)
from submitter.moments import Moment, millis
from tests.ledger.builders import (
    JUDGE,
    LEASE,
    MINUTE,
    NOW,
    OURS,
    PROCESSING,
    SECOND,
    STRICT,
    SUBMITTED,
    SUCCEED,
    THEIRS,
    callback,
    hear,
    image,
    opening,
)
from tests.ledger.conformance import Engine

APP, AUDIT = "app", "audit"
DELIVERED, FAILED, REFUSED, GONE, CUT_SHORT = AttemptResult

FAR = NOW + 100_000 * MINUTE


def subscription(
    name: str = APP, *types: EventType, providers: Sequence[str] = (), target: bytes = b""
) -> Subscription:
    """All types of tasks, unless some are named."""
    wanted = frozenset(types) or types_matching(["task.*"])
    return Subscription(destination=name, types=wanted, providers=frozenset(providers), target=target)


async def telling(engine: Engine, *subscriptions: Subscription) -> Ledger:
    """A ledger with two open tasks and these destinations, by default one that wants everything."""
    ledger = await engine.ledger()
    await ledger.subscribe(subscriptions or [subscription()], now=NOW)
    await ledger.open_task(opening(OURS))
    await ledger.open_task(opening(THEIRS))
    return ledger


async def claim(ledger: Ledger, *, name: str = APP, now: Moment = NOW, limit: int = 16) -> list[ClaimedDelivery]:
    return await ledger.claim_deliveries(name, now=now, lease=LEASE, limit=limit)


def settled_as(
    claimed: ClaimedDelivery, result: AttemptResult, *, now: Moment = NOW, retry_in: int | None = 5 * SECOND
) -> Settlement:
    """What became of it; a failure is tried again after five seconds."""
    retry_at = now + retry_in if result is FAILED and retry_in is not None else None
    reason = "" if result is DELIVERED else f"it was {result}"
    return Settlement(key=claimed.key, fence=claimed.fence, result=result, now=now, reason=reason, retry_at=retry_at)


async def settle(ledger: Ledger, claimed: ClaimedDelivery, result: AttemptResult, **more: int | None) -> Settled:
    return await ledger.settle_deliveries([settled_as(claimed, result, **more)])  # type: ignore[arg-type]


async def listed(ledger: Ledger, **query: object) -> list[Delivery]:
    """Deliveries, oldest first."""
    page = await ledger.deliveries(replace(DeliveryQuery(limit=500), **query))
    return list(reversed(page.deliveries))


async def states(ledger: Ledger, **query: object) -> list[tuple[str, DeliveryState]]:
    return [(each.type.removeprefix("task."), each.state) for each in await listed(ledger, **query)]


def types(claimed: Sequence[ClaimedDelivery]) -> list[str]:
    return [each.event.type.removeprefix("task.") for each in claimed]


async def test_each_event_has_a_delivery_for_each_destination_that_wants_it(engine: Engine) -> None:
    ledger = await telling(
        engine,
        subscription(APP, EventType.SUCCEEDED),
        subscription(AUDIT),
        subscription("elsewhere", providers=[STRICT]),
    )

    await hear(ledger, callback(SUBMITTED), callback(SUCCEED, image()))

    told = [(each.destination, each.event_id) for each in await listed(ledger)]
    assert [(AUDIT, f"{OURS}.2"), (APP, f"{OURS}.3"), (AUDIT, f"{OURS}.3")] == sorted(told, key=lambda each: each[1])


async def test_what_happened_before_a_destination_was_there_is_not_told_to_it(engine: Engine) -> None:
    ledger = await telling(engine, subscription(AUDIT))
    await hear(ledger, callback(SUBMITTED))

    await ledger.subscribe([subscription(APP), subscription(AUDIT)], now=NOW)
    await hear(ledger, callback(SUCCEED, image()))

    assert ["succeeded"] == types(await claim(ledger))


async def test_the_deliveries_are_on_disk_with_their_event(engine: Engine) -> None:
    ledger = await telling(engine)
    await hear(ledger, callback(SUBMITTED))

    survivor = await engine.survivor()

    assert [("submitted", DeliveryState.OPEN)] == await states(survivor)


async def test_a_claim_carries_the_event_as_it_was_committed(engine: Engine) -> None:
    ledger = await telling(engine)
    await hear(ledger, callback(SUCCEED, image()))

    [claimed] = await claim(ledger)
    [event] = await ledger.events_after(0, limit=10)

    assert event == claimed.event
    assert (APP, 1) == (claimed.destination, claimed.attempts)


async def test_what_is_leased_is_nobody_elses_until_the_lease_is_over(engine: Engine) -> None:
    ledger = await telling(engine)
    await hear(ledger, callback(SUBMITTED))
    [first] = await claim(ledger)

    assert [] == await claim(ledger, now=NOW + millis(LEASE) - 1)
    [second] = await claim(ledger, now=NOW + millis(LEASE))
    assert (first.key, first.fence + 1, 2) == (second.key, second.fence, second.attempts)


async def test_who_comes_back_after_its_lease_changes_nothing(engine: Engine) -> None:
    """A process was frozen: another has told it since, and waits to try again."""
    ledger = await telling(engine)
    await hear(ledger, callback(SUBMITTED))
    [frozen] = await claim(ledger)
    later = NOW + millis(LEASE)
    [other] = await claim(ledger, now=later)

    late = await settle(ledger, frozen, DELIVERED, now=later)
    on_time = await settle(ledger, other, FAILED, now=later)

    assert ([False], [True]) == (late.counted, on_time.counted)
    assert [("submitted", DeliveryState.OPEN)] == await states(ledger)


async def test_settling_twice_counts_once(engine: Engine) -> None:
    ledger = await telling(engine)
    await hear(ledger, callback(SUBMITTED))
    [claimed] = await claim(ledger)

    settled = await ledger.settle_deliveries([settled_as(claimed, FAILED), settled_as(claimed, DELIVERED)])

    assert [True, False] == settled.counted
    assert 1 == (await ledger.destinations())[0].health.failures


async def test_of_one_task_the_events_are_told_in_their_order(engine: Engine) -> None:
    ledger = await telling(engine)
    await hear(ledger, callback(SUBMITTED), callback(PROCESSING), callback(SUCCEED, image()))

    told = []
    while claimed := await claim(ledger):
        assert 1 == len(claimed)
        told += types(claimed)
        await settle(ledger, claimed[0], DELIVERED)

    assert ["submitted", "processing", "succeeded"] == told


async def test_tasks_do_not_wait_for_each_other_nor_do_destinations(engine: Engine) -> None:
    ledger = await telling(engine, subscription(APP), subscription(AUDIT))
    await hear(ledger, callback(SUBMITTED, task=OURS), callback(PROCESSING, task=OURS))
    await hear(ledger, callback(SUBMITTED, task=THEIRS))

    assert ["submitted", "submitted"] == types(await claim(ledger))
    assert ["submitted", "submitted"] == types(await claim(ledger, name=AUDIT))


async def test_a_failure_is_due_again_when_it_says(engine: Engine) -> None:
    ledger = await telling(engine)
    await hear(ledger, callback(SUBMITTED))
    [claimed] = await claim(ledger)

    await settle(ledger, claimed, FAILED, retry_in=5 * SECOND)

    assert NOW + 5 * SECOND == await ledger.next_delivery_at(APP)
    assert [] == await claim(ledger, now=NOW + 5 * SECOND - 1)
    assert ["submitted"] == types(await claim(ledger, now=NOW + 5 * SECOND))


async def test_a_failure_that_is_not_tried_again_is_a_dead_letter_and_lets_the_next_pass(engine: Engine) -> None:
    ledger = await telling(engine)
    await hear(ledger, callback(SUBMITTED), callback(PROCESSING))
    [claimed] = await claim(ledger)

    await settle(ledger, claimed, FAILED, retry_in=None)

    assert [("submitted", DeliveryState.DEAD), ("processing", DeliveryState.OPEN)] == await states(ledger)
    assert "it was failed" == (await listed(ledger))[0].reason
    assert ["processing"] == types(await claim(ledger))


async def test_an_attempt_that_was_cut_short_is_due_at_once_and_not_counted(engine: Engine) -> None:
    ledger = await telling(engine)
    await hear(ledger, callback(SUBMITTED))
    [claimed] = await claim(ledger)

    await settle(ledger, claimed, CUT_SHORT)

    [again] = await claim(ledger)
    assert 1 == again.attempts
    assert 0 == (await ledger.destinations())[0].health.failures


async def test_a_final_waits_for_two_failed_attempts_and_not_for_a_third(engine: Engine) -> None:
    ledger = await telling(engine)
    await hear(ledger, callback(SUBMITTED), callback(PROCESSING))
    [first] = await claim(ledger)
    await settle(ledger, first, FAILED, retry_in=0)
    await hear(ledger, callback(SUCCEED, image()))
    [second] = await claim(ledger)
    assert "submitted" == types([second])[0]

    await settle(ledger, second, FAILED, retry_in=0)

    assert ["succeeded"] == types(await claim(ledger))
    assert [
        ("submitted", DeliveryState.SUPERSEDED),
        ("processing", DeliveryState.SUPERSEDED),
        ("succeeded", DeliveryState.OPEN),
    ] == await states(ledger)


async def test_a_final_that_comes_after_two_failed_attempts_waits_for_none(engine: Engine) -> None:
    ledger = await telling(engine)
    await hear(ledger, callback(SUBMITTED))
    for _ in range(2):
        [claimed] = await claim(ledger)
        await settle(ledger, claimed, FAILED, retry_in=0)

    await hear(ledger, callback(SUCCEED, image()))

    assert [("submitted", DeliveryState.SUPERSEDED), ("succeeded", DeliveryState.OPEN)] == await states(ledger)
    assert ["succeeded"] == types(await claim(ledger))


async def test_a_final_waits_for_the_attempt_that_is_under_way(engine: Engine) -> None:
    ledger = await telling(engine)
    await hear(ledger, callback(SUBMITTED))
    for _ in range(2):
        [claimed] = await claim(ledger)
        await settle(ledger, claimed, FAILED, retry_in=0)
    [third] = await claim(ledger)

    await hear(ledger, callback(SUCCEED, image()))
    assert [] == await claim(ledger)
    await settle(ledger, third, DELIVERED)

    assert ["succeeded"] == types(await claim(ledger))
    assert ("submitted", DeliveryState.DELIVERED) == (await states(ledger))[0]


async def test_without_a_final_behind_it_an_event_is_tried_on_and_on(engine: Engine) -> None:
    ledger = await telling(engine)
    await hear(ledger, callback(SUBMITTED), callback(PROCESSING))

    for _ in range(4):
        [claimed] = await claim(ledger)
        await settle(ledger, claimed, FAILED, retry_in=0)

    assert [("submitted", DeliveryState.OPEN), ("processing", DeliveryState.OPEN)] == await states(ledger)


async def test_failures_in_a_row_open_the_breaker_for_this_destination_alone(engine: Engine) -> None:
    ledger = await telling(engine, subscription(APP), subscription(AUDIT))
    await many_events(ledger, OPENS_AFTER + 3)
    for claimed in await claim(ledger, limit=OPENS_AFTER):
        await settle(ledger, claimed, FAILED, retry_in=0)

    [app, audit] = await ledger.destinations()

    assert ("open", "closed") == (app.health.state, audit.health.state)
    assert [] == await claim(ledger)
    assert app.health.paused_until == await ledger.next_delivery_at(APP)
    assert OPENS_AFTER + 3 == len(await claim(ledger, name=AUDIT))


async def test_after_the_pause_one_probe_goes_and_no_other_until_it_is_back(engine: Engine) -> None:
    ledger = await telling(engine)
    later = await opened_breaker(ledger)

    [probe] = await claim(ledger, now=later)

    assert [] == await claim(ledger, now=later + 1)
    await settle(ledger, probe, FAILED, now=later + 2)
    assert [] == await claim(ledger, now=later + 3)
    again = await ledger.next_delivery_at(APP)
    assert again is not None
    assert later + 2 + 10 * SECOND <= again <= later + 2 + 11 * SECOND
    assert 1 == len(await claim(ledger, now=again))


async def test_a_probe_that_is_never_heard_of_again_is_followed_by_another(engine: Engine) -> None:
    ledger = await telling(engine)
    later = await opened_breaker(ledger)
    [probe] = await claim(ledger, now=later)

    assert later + millis(LEASE) == await ledger.next_delivery_at(APP)
    [another] = await claim(ledger, now=later + millis(LEASE))
    assert probe.key != another.key


async def test_a_probe_that_was_cut_short_or_refused_is_followed_by_another_at_once(engine: Engine) -> None:
    """Neither says anything about the destination."""
    ledger = await telling(engine)
    now = await opened_breaker(ledger)
    for result in (CUT_SHORT, REFUSED):
        [probe] = await claim(ledger, now=now)
        await settle(ledger, probe, result, now=now)

    assert 1 == len(await claim(ledger, now=now))
    assert OPENS_AFTER == (await ledger.destinations())[0].health.failures


async def test_with_nothing_but_failed_probes_it_is_disabled_in_the_end(engine: Engine) -> None:
    ledger = await telling(engine)
    due = await opened_breaker(ledger)
    probes = 0
    while due is not None and probes < 3_000:
        [probe] = await claim(ledger, now=due)
        await settle(ledger, probe, FAILED, now=due)
        probes += 1
        due = await ledger.next_delivery_at(APP)

    [state] = await ledger.destinations()
    assert ("disabled", "it was failed") == (state.health.state, state.health.reason)
    assert 1_200 < probes < 1_800  # five days of five minutes and up to a tenth


async def test_a_probe_that_arrives_makes_everything_due(engine: Engine) -> None:
    ledger = await telling(engine)
    later = await opened_breaker(ledger, retry_in=600 * MINUTE)
    [probe] = await claim(ledger, now=later)

    await settle(ledger, probe, DELIVERED, now=later)

    assert "closed" == (await ledger.destinations())[0].health.state
    assert OPENS_AFTER + 2 == len(await claim(ledger, now=later))


async def test_the_breaker_is_a_row_and_outlives_the_process(engine: Engine) -> None:
    ledger = await telling(engine)
    await opened_breaker(ledger)

    ledger = await engine.reopened()
    await ledger.subscribe([subscription()], now=NOW)

    assert "open" == (await ledger.destinations())[0].health.state
    assert [] == await claim(ledger)


async def test_what_a_process_that_ended_had_leased_is_due_at_once(engine: Engine) -> None:
    ledger = await telling(engine)
    await hear(ledger, callback(SUBMITTED))
    [before] = await claim(ledger)

    ledger = await engine.reopened()
    [after] = await claim(ledger)

    assert (before.key, before.fence + 1) == (after.key, after.fence)
    assert [False] == (await settle(ledger, before, DELIVERED)).counted


async def test_a_destination_that_is_gone_is_told_no_more_and_that_is_an_event(engine: Engine) -> None:
    ledger = await telling(engine, subscription(APP), subscription(AUDIT, EventType.DESTINATION_DISABLED))
    await hear(ledger, callback(SUBMITTED, task=OURS), callback(SUBMITTED, task=THEIRS))
    first, _ = await claim(ledger)

    settled = await settle(ledger, first, GONE)

    assert [APP] == list(settled.disabled)
    assert [] == await claim(ledger, now=FAR)
    assert await ledger.next_delivery_at(APP) is None
    [told] = await claim(ledger, name=AUDIT)
    assert (EventType.DESTINATION_DISABLED, None) == (told.event.type, told.event.task)
    assert '"name": "app"' in (told.event.about or "")


async def test_days_of_failures_disable_it_and_what_comes_meanwhile_waits(engine: Engine) -> None:
    ledger = await telling(engine)
    await hear(ledger, callback(SUBMITTED))
    [first] = await claim(ledger)
    await settle(ledger, first, FAILED, retry_in=0)
    later = NOW + millis(DISABLED_AFTER)
    [second] = await claim(ledger, now=later)

    await settle(ledger, second, FAILED, now=later)
    await hear(ledger, callback(SUBMITTED, task=THEIRS, now=later))

    [state] = await ledger.destinations()
    assert ("disabled", 2) == (state.health.state, state.open)
    assert [] == await claim(ledger, now=FAR)


async def test_one_that_has_moved_gets_another_chance(engine: Engine) -> None:
    ledger = await telling(engine)
    await hear(ledger, callback(SUBMITTED), callback(PROCESSING))
    [first] = await claim(ledger)
    await settle(ledger, first, GONE)

    await ledger.subscribe([subscription(target=b"another address")], now=NOW)

    assert ["processing"] == types(await claim(ledger))


async def test_one_that_is_no_longer_configured_is_shown_as_long_as_something_waits_for_it(engine: Engine) -> None:
    ledger = await telling(engine, subscription(APP), subscription(AUDIT))
    await hear(ledger, callback(SUBMITTED))
    [told] = await claim(ledger, name=AUDIT)
    await settle(ledger, told, DELIVERED)

    await ledger.subscribe([], now=NOW)
    await hear(ledger, callback(PROCESSING))

    assert [(APP, False, 1)] == [(each.name, each.is_configured, each.open) for each in await ledger.destinations()]


async def test_a_dead_letter_is_told_anew_with_its_attempts_counted_anew(engine: Engine) -> None:
    ledger = await telling(engine)
    await hear(ledger, callback(SUBMITTED))
    [first] = await claim(ledger)
    await settle(ledger, first, REFUSED)

    assert 1 == await ledger.redeliver([first.key], now=NOW + MINUTE)

    [again] = await claim(ledger, now=NOW + MINUTE)
    assert (first.key, first.event, 1) == (again.key, again.event, 1)


async def test_telling_anew_gives_a_disabled_destination_another_chance(engine: Engine) -> None:
    ledger = await telling(engine)
    await hear(ledger, callback(SUBMITTED))
    [first] = await claim(ledger)
    await settle(ledger, first, GONE)

    await ledger.redeliver([first.key], now=NOW)

    assert "closed" == (await ledger.destinations())[0].health.state
    assert 1 == len(await claim(ledger))


async def test_what_is_told_anew_takes_its_turn_behind_what_is_under_way(engine: Engine) -> None:
    ledger = await telling(engine)
    await hear(ledger, callback(SUBMITTED), callback(PROCESSING))
    [submitted] = await claim(ledger)
    await settle(ledger, submitted, DELIVERED)
    [processing] = await claim(ledger)

    await ledger.redeliver([submitted.key, processing.key], now=NOW)

    assert [] == await claim(ledger)
    assert [True] == (await settle(ledger, processing, DELIVERED)).counted
    assert ["submitted"] == types(await claim(ledger))


async def test_what_is_told_anew_goes_before_a_later_one_that_waits_to_be_tried_again(engine: Engine) -> None:
    ledger = await telling(engine)
    await hear(ledger, callback(SUBMITTED), callback(PROCESSING))
    [submitted] = await claim(ledger)
    await settle(ledger, submitted, DELIVERED)
    [processing] = await claim(ledger)
    await settle(ledger, processing, FAILED, retry_in=1_200 * MINUTE)

    await ledger.redeliver([submitted.key], now=NOW + MINUTE)

    told = []
    while claimed := await claim(ledger, now=NOW + MINUTE):
        told += types(claimed)
        await settle(ledger, claimed[0], DELIVERED, now=NOW + MINUTE)
    assert ["submitted", "processing"] == told


async def all_failed_for_hours(engine: Engine) -> Ledger:
    ledger = await telling(engine)
    await many_events(ledger, 3)
    for claimed in await claim(ledger):
        await settle(ledger, claimed, FAILED, retry_in=1_200 * MINUTE)
    assert [] == await claim(ledger, now=NOW + MINUTE)
    return ledger


async def test_telling_one_anew_makes_everything_due(engine: Engine) -> None:
    ledger = await all_failed_for_hours(engine)

    await ledger.redeliver([(await listed(ledger))[0].key], now=NOW + MINUTE)

    assert 3 == len(await claim(ledger, now=NOW + MINUTE))


async def test_another_address_makes_everything_due(engine: Engine) -> None:
    ledger = await all_failed_for_hours(engine)

    await ledger.subscribe([subscription(target=b"another address")], now=NOW + MINUTE)

    assert 3 == len(await claim(ledger, now=NOW + MINUTE))


async def test_a_probe_that_a_dead_process_had_out_holds_nothing_up(engine: Engine) -> None:
    ledger = await telling(engine)
    later = await opened_breaker(ledger)
    assert 1 == len(await claim(ledger, now=later))

    ledger = await engine.reopened()

    assert 1 == len(await claim(ledger, now=later))


async def test_what_is_no_delivery_is_not_told_anew(engine: Engine) -> None:
    ledger = await telling(engine)

    assert 0 == await ledger.redeliver([1, 2, 3], now=NOW)


async def test_a_pause_that_was_asked_for_holds_up_the_whole_destination(engine: Engine) -> None:
    ledger = await telling(engine)
    await hear(ledger, callback(SUBMITTED, task=OURS), callback(SUBMITTED, task=THEIRS))
    first, second = await claim(ledger)

    asked = replace(settled_as(first, FAILED), pause=timedelta(seconds=30))
    await ledger.settle_deliveries([asked, settled_as(second, CUT_SHORT)])

    assert NOW + 30 * SECOND == await ledger.next_delivery_at(APP)
    assert [] == await claim(ledger, now=NOW + 30 * SECOND - 1)
    assert 2 == len(await claim(ledger, now=NOW + 30 * SECOND))


async def test_pages_are_filtered_and_newest_first(engine: Engine) -> None:
    ledger = await telling(engine, subscription(APP), subscription(AUDIT))
    await hear(ledger, callback(SUBMITTED), callback(SUCCEED, image()), callback(SUBMITTED, task=THEIRS))
    await settle(ledger, (await claim(ledger))[0], DELIVERED)

    page = await ledger.deliveries(DeliveryQuery(limit=4))
    rest = await ledger.deliveries(DeliveryQuery(after=page.next, limit=4))

    keys = [each.key for each in (*page.deliveries, *rest.deliveries)]
    assert (sorted(keys, reverse=True), 6, None) == (keys, len(keys), rest.next)
    assert [("submitted", DeliveryState.DELIVERED)] == await states(ledger, state=DeliveryState.DELIVERED)
    assert {AUDIT} == {each.destination for each in await listed(ledger, destination=AUDIT)}
    assert [("succeeded", DeliveryState.OPEN)] * 2 == await states(ledger, type=EventType.SUCCEEDED)
    assert 2 == await ledger.count_deliveries(DeliveryQuery(external_task_id=THEIRS, limit=1))


async def test_the_history_of_a_task_shows_its_deliveries(engine: Engine) -> None:
    ledger = await telling(engine)
    await hear(ledger, callback(SUBMITTED), callback(SUBMITTED, task=THEIRS))

    history = await ledger.history(OURS)

    assert history is not None
    assert [(f"{OURS}.2", APP, DeliveryState.OPEN)] == [
        (each.event_id, each.destination, each.state) for each in history.deliveries
    ]


async def test_what_time_alone_decides_is_told_too(engine: Engine) -> None:
    ledger = await telling(engine)

    await ledger.settle_overdue(JUDGE, now=FAR, limit=10)
    await ledger.refuse(OURS, "no", fence=None, now=FAR)

    assert ["expired", "expired"] == types(await claim(ledger, now=FAR))


async def many_events(ledger: Ledger, count: int) -> None:
    """One event of each of so many tasks that the ledger never knew."""
    await hear(ledger, *(callback(PROCESSING, task=f"t_{number}") for number in range(count)))


async def opened_breaker(ledger: Ledger, *, retry_in: int = 0) -> Moment:
    """Eight events, five failures; when the breaker lets a probe pass."""
    await many_events(ledger, OPENS_AFTER + 3)
    for claimed in await claim(ledger, limit=OPENS_AFTER):
        await settle(ledger, claimed, FAILED, retry_in=retry_in)
    due = await ledger.next_delivery_at(APP)
    assert due is not None
    return due
