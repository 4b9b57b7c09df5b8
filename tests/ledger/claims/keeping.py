"""What is taken is kept: cancelled callers, poisoned neighbours, full queues, and a drawer for the unreadable."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from receiver.ledger.errors import ForeignTask, LedgerUnavailable, Overloaded, UnknownTask, Unwritable
from receiver.task import Decision, TaskState, Verdict
from submitter.providers.base import Trust
from tests.ledger.builders import (
    JUDGE,
    NOW,
    OURS,
    PROCESSING,
    PROVIDER,
    SUBMITTED,
    callback,
    hear,
    opening,
    poison,
    task_of,
)
from tests.ledger.conformance import Engine


async def test_a_caller_that_goes_away_does_not_take_its_report_along(engine: Engine) -> None:
    """Neither the one whose commit runs, nor those that wait for the next."""
    ledger = await engine.ledger()
    names = [f"t_{number}" for number in range(6)]

    callers = []
    for name in names:
        callers.append(asyncio.create_task(ledger.apply([callback(SUBMITTED, task=name)], JUDGE)))
        await asyncio.sleep(0)  # it has handed its report over
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    await hear(ledger, callback(PROCESSING))

    assert [True] * 6 == [await ledger.record(name) is not None for name in names]


async def test_a_caller_that_goes_away_does_not_take_its_opening_along(engine: Engine) -> None:
    ledger = await engine.ledger()

    caller = asyncio.create_task(ledger.open_task(opening()))
    await asyncio.sleep(0)
    caller.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await caller
    await ledger.next_deadline(JUDGE)
    await hear(ledger, callback(PROCESSING, task="t_other"))

    assert TaskState.PENDING is (await task_of(ledger)).state


async def test_a_caller_that_goes_away_harms_no_other_of_its_batch(engine: Engine) -> None:
    ledger = await engine.ledger()

    callers = [asyncio.create_task(ledger.apply([callback(SUBMITTED, task=f"t_{n}")], JUDGE)) for n in range(8)]
    await asyncio.sleep(0)
    callers[3].cancel()
    outcomes = await asyncio.gather(*callers, return_exceptions=True)

    assert [3] == [n for n, outcome in enumerate(outcomes) if isinstance(outcome, BaseException)]
    assert TaskState.SUBMITTED is (await task_of(ledger, "t_3")).state


async def test_one_poisoned_report_of_sixty_four_harms_none_of_the_others(engine: Engine) -> None:
    ledger = await engine.ledger()
    batch = [callback(SUBMITTED, task=f"t_{number}") for number in range(64)]
    batch[41] = poison(task="t_41")

    outcomes = await asyncio.gather(*(ledger.apply([each], JUDGE) for each in batch), return_exceptions=True)
    decided = [isinstance(each, list) and isinstance(each[0], Decision) for each in outcomes]

    assert [number != 41 for number in range(64)] == decided
    assert not isinstance(outcomes[41], LedgerUnavailable)  # sending it again would not help
    assert await ledger.record("t_41") is None
    assert list(range(1, 64)) == [event.position for event in await ledger.events_after(0, limit=100)]


async def test_a_poisoned_report_takes_no_decision_of_its_own_batch_away(engine: Engine) -> None:
    """`apply` promises one outcome for each report, in order: the culprit's is a refusal, the others' decisions."""
    ledger = await engine.ledger()
    batch = [callback(SUBMITTED, task="t_0"), poison(task="t_1"), callback(SUBMITTED, task="t_2")]

    outcomes = await ledger.apply(batch, JUDGE)

    assert [Decision, Unwritable, Decision] == [type(each) for each in outcomes]


async def test_a_poisoned_report_is_refused_anew_each_time(engine: Engine) -> None:
    ledger = await engine.ledger()

    for _ in range(2):
        [outcome] = await asyncio.gather(ledger.apply([poison()], JUDGE), return_exceptions=True)
        assert isinstance(outcome, Exception) or not isinstance(outcome[0], Decision)

    assert await ledger.record(OURS) is None


async def test_a_write_that_finds_the_queue_full_is_told_to_come_again(engine: Engine) -> None:
    ledger = await engine.ledger()

    outcomes = await asyncio.gather(
        *(ledger.abandon("t_none", now=NOW) for _ in range(engine.queue_holds + 100)), return_exceptions=True
    )
    kinds = {type(each) for each in outcomes}

    assert {UnknownTask, Overloaded} == kinds
    assert Verdict.APPLIED is (await hear(ledger, callback(SUBMITTED)))[0].verdict


async def test_writes_that_are_large_fill_the_queue_sooner(engine: Engine) -> None:
    ledger = await engine.ledger()
    body = b"x" * (48 * 1024 * 1024)

    outcomes = await asyncio.gather(*(drop(ledger, body) for _ in range(6)), return_exceptions=True)

    assert [None] * 5 == outcomes[:5]
    assert isinstance(outcomes[5], Overloaded)


async def drop(ledger: object, body: bytes, *, task: str = OURS) -> None:
    """One body for the drawer."""
    await ledger.keep_unreadable(  # type: ignore[attr-defined]
        provider=PROVIDER, external_task_id=task, body=body, reason="not JSON", trust=Trust.TOKEN, now=NOW
    )


async def test_unreadable_bytes_are_kept_as_they_came_with_the_reason(engine: Engine) -> None:
    ledger = await engine.ledger()

    await drop(ledger, b"\xff\x00{")

    kept = await engine.run("select provider, external_task_id, heard_at, reason, size, body from unreadable")
    assert [(PROVIDER, OURS, NOW, "not JSON", 3, b"\xff\x00{")] == [tuple(each) for each in kept]


async def test_of_each_unreadable_body_sixteen_kib_are_kept(engine: Engine) -> None:
    ledger = await engine.ledger()

    await drop(ledger, b"x" * 20_000)

    [kept] = await engine.run("select size, body from unreadable")
    assert (20_000, b"x" * 16_384) == tuple(kept)


async def test_the_latest_thousand_unreadable_bodies_are_kept(engine: Engine) -> None:
    ledger = await engine.ledger()

    await asyncio.gather(*(drop(ledger, b"%d" % number, task=f"t_{number % 40}") for number in range(1_007)))

    kept = await engine.run("select body from unreadable order by key")
    assert [b"%d" % number for number in range(7, 1_007)] == [each[0] for each in kept]


async def test_of_one_task_the_latest_thirty_two_are_kept_and_no_others_are_pushed_out(engine: Engine) -> None:
    ledger = await engine.ledger()
    await drop(ledger, b"another's", task="t_another")

    await asyncio.gather(*(drop(ledger, b"%d" % number) for number in range(1_100)))

    kept = await engine.run("select body from unreadable order by key")
    assert [b"another's", *(b"%d" % number for number in range(1_068, 1_100))] == [each[0] for each in kept]


async def test_how_the_sender_was_known_is_kept_with_unreadable_bytes(engine: Engine) -> None:
    ledger = await engine.ledger()

    for trust in Trust:
        await ledger.keep_unreadable(
            provider=PROVIDER, external_task_id=OURS, body=b"{}", reason=f"{trust}", trust=trust, now=NOW
        )
    kept = await ledger.unreadable(0, limit=10)

    assert [(trust, str(trust), 2, b"{}") for trust in Trust] == [
        (each.trust, each.reason, each.size, each.body) for each in kept
    ]
    assert [True, True, False] == [each.is_callback for each in kept]


async def test_the_drawer_is_read_in_pages_in_the_order_it_was_filled(engine: Engine) -> None:
    ledger = await engine.ledger()
    for number in range(5):
        await drop(ledger, b"%d" % number)

    first = await ledger.unreadable(0, limit=3)
    rest = await ledger.unreadable(first[-1].key, limit=3)

    assert ([b"0", b"1", b"2"], [b"3", b"4"]) == ([each.body for each in first], [each.body for each in rest])


async def test_what_is_replayed_leaves_the_drawer_with_its_effect(engine: Engine) -> None:
    """Neither without the other is ever on disk, so that a crash in between is none."""
    ledger = await engine.ledger()
    await drop(ledger, b"{}")
    await drop(ledger, b"another")
    [kept, other] = await ledger.unreadable(0, limit=10)

    decision = await ledger.replay(kept.key, callback(SUBMITTED), JUDGE)
    survivor = await engine.survivor()

    assert decision is not None
    assert Verdict.APPLIED is decision.verdict
    assert TaskState.SUBMITTED is (await task_of(survivor)).state
    assert [other] == await survivor.unreadable(0, limit=10)


async def test_what_has_left_the_drawer_is_not_heard_again(engine: Engine) -> None:
    ledger = await engine.ledger()
    await drop(ledger, b"{}")
    [kept] = await ledger.unreadable(0, limit=10)

    outcomes = await asyncio.gather(*(ledger.replay(kept.key, callback(SUBMITTED), JUDGE) for _ in range(3)))

    assert [Verdict.APPLIED, None, None] == [each and each.verdict for each in outcomes]
    assert (1, 0) == ((await task_of(ledger)).reports.applied, (await task_of(ledger)).reports.duplicate)


async def test_a_replayed_report_of_another_task_or_beyond_writing_stays_in_the_drawer(engine: Engine) -> None:
    ledger = await engine.ledger()
    await hear(ledger, callback(SUBMITTED, task="t_theirs", provider_task_id="p-theirs"))
    await drop(ledger, b"foreign")
    await drop(ledger, b"poison")
    [foreign, poisoned] = await ledger.unreadable(0, limit=10)

    with pytest.raises(ForeignTask):
        await ledger.replay(foreign.key, callback(SUBMITTED, provider_task_id="p-theirs"), JUDGE)
    with pytest.raises(Unwritable):
        await ledger.replay(poisoned.key, poison(), JUDGE)

    assert [foreign, poisoned] == await ledger.unreadable(0, limit=10)
    assert await ledger.record(OURS) is None


async def test_what_stays_unreadable_is_given_a_new_reason(engine: Engine) -> None:
    ledger = await engine.ledger()
    for body in (b"0", b"1", b"2"):
        await drop(ledger, body)
    [first, _, last] = await ledger.unreadable(0, limit=10)

    await ledger.give_reasons({first.key: "too early", last.key: 'it\'s "quoted"', 999: "gone"})

    reasons = [each.reason for each in await ledger.unreadable(0, limit=10)]
    assert ["too early", "not JSON", 'it\'s "quoted"'] == reasons


async def test_what_was_written_is_there_after_a_restart(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening())
    await hear(ledger, callback(SUBMITTED))
    before = (await ledger.record(OURS), await ledger.history(OURS), await ledger.events_after(0, limit=10))

    ledger = await engine.reopened()

    assert before == (await ledger.record(OURS), await ledger.history(OURS), await ledger.events_after(0, limit=10))


async def test_a_closed_ledger_takes_no_more(engine: Engine) -> None:
    ledger = await engine.ledger()
    await engine.reopened()

    with pytest.raises(LedgerUnavailable):
        await ledger.open_task(opening())
