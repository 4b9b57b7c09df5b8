"""Stopped accounts that are tried again: by one request alone, whose answer lifts the stop or renews it."""

from __future__ import annotations

import asyncio

import pytest

from receiver.ledger.asking import Pause
from receiver.ledger.base import Ledger
from receiver.ledger.errors import AccountStopped
from receiver.ledger.openings import AccountRefusal, Client, OpenedAs
from receiver.straggler import AnswerKind
from tests.ledger.builders import HOUR, JUDGE, MINUTE, NOW, OURS, PROVIDER, SECOND, claim, lane, opening, send, settle
from tests.ledger.claims.together import LIST, PAGE, ask, run
from tests.ledger.conformance import Engine

ARREARS = AccountRefusal(http_status=429, code="1101", message="Account in arrears")
TOLD = Client(hears_stops=True)
UNTIL = NOW + 10 * MINUTE
TRIED_AGAIN = UNTIL + 90 * SECOND
NAMES = ["t_a", "t_b", "t_c"]


async def stop(ledger: Ledger, *, until: int = UNTIL) -> None:
    pause = Pause(provider=PROVIDER, until=until, reason="1101", is_stop=True, refusal=ARREARS)
    await ledger.settle([], JUDGE, [pause])


async def waiting(engine: Engine) -> Ledger:
    """A ledger whose account was stopped, with creates that wait."""
    ledger = await engine.ledger()
    await stop(ledger)
    for name in NAMES:
        await ledger.open_task(opening(name))
    return ledger


async def running(engine: Engine) -> Ledger:
    """A ledger whose account was stopped, with tasks that are to be asked about."""
    ledger = await engine.ledger()
    await run(ledger, *NAMES)
    await stop(ledger)
    return ledger


async def lift(ledger: Ledger, trial: int | None) -> bool:
    assert trial is not None
    return await ledger.lift(PROVIDER, trial=trial)


async def test_after_a_stop_one_create_alone_tries_even_across_a_restart(engine: Engine) -> None:
    await waiting(engine)
    ledger = await engine.reopened()

    tried = await send(ledger, now=UNTIL)
    ledger = await engine.reopened()

    assert 1 == len(tried)
    assert tried[0].trial is not None
    assert [] == await send(ledger, now=TRIED_AGAIN - 1)
    assert [] == await claim(ledger, now=TRIED_AGAIN - 1)


async def test_ten_senders_at_once_try_once(engine: Engine) -> None:
    ledger = await waiting(engine)

    claimed = await asyncio.gather(
        *(ledger.claim_unsent(now=UNTIL, limit=16, lanes=lane()) for _ in range(10)),
    )

    assert 1 == sum(map(len, claimed))


async def test_once_it_is_served_all_that_waits_may_leave_at_once(engine: Engine) -> None:
    ledger = await waiting(engine)
    [tried] = await send(ledger, now=UNTIL)
    await ledger.open_task(opening(OURS, now=UNTIL + SECOND))  # while it is tried: it does not wait for the lease
    is_lifted = await lift(ledger, tried.trial)

    assert is_lifted
    assert UNTIL + SECOND >= (await ledger.next_send_at(PROVIDER) or 0)
    assert 3 == len(await send(ledger, now=UNTIL + SECOND))
    assert OpenedAs.TO_SEND is (await ledger.open_task(opening("t_new", now=UNTIL + SECOND, client=TOLD))).outcome


async def test_refused_again_the_stop_is_renewed_and_nothing_lifts_it_before_the_next_trial(engine: Engine) -> None:
    ledger = await waiting(engine)
    [tried] = await send(ledger, now=UNTIL)
    await stop(ledger, until=UNTIL + 10 * MINUTE)

    assert not await lift(ledger, tried.trial)
    assert UNTIL + 10 * MINUTE == await ledger.next_send_at(PROVIDER)
    assert [] == await send(ledger, now=UNTIL + 10 * MINUTE - 1)
    assert 1 == len(await send(ledger, now=UNTIL + 10 * MINUTE))


async def test_a_trial_that_nobody_answered_is_made_again_and_its_late_word_is_not_believed(engine: Engine) -> None:
    ledger = await waiting(engine)
    [lost] = await send(ledger, now=UNTIL)
    assert TRIED_AGAIN == await ledger.next_send_at(PROVIDER)
    [again] = await send(ledger, now=TRIED_AGAIN)

    assert again.external_task_id != lost.external_task_id
    assert not await lift(ledger, lost.trial)
    assert await lift(ledger, again.trial)


async def test_who_arrives_first_at_a_gateway_tries_and_the_others_are_told_the_words_still(engine: Engine) -> None:
    ledger = await engine.ledger()
    await stop(ledger)
    tried = await ledger.open_task(opening(now=UNTIL, client=TOLD))
    with pytest.raises(AccountStopped) as caught:
        await ledger.open_task(opening("t_second", now=UNTIL, client=TOLD))
    waits = await ledger.open_task(opening("t_third", now=UNTIL))

    assert (OpenedAs.TO_SEND, OpenedAs.QUEUED) == (tried.outcome, waits.outcome)
    assert ("1101", "Account in arrears") == (caught.value.code, caught.value.message)
    assert await lift(ledger, tried.trial)


async def test_who_is_not_believed_about_the_account_does_not_try_it(engine: Engine) -> None:
    ledger = await engine.ledger()
    await stop(ledger)

    opened = await ledger.open_task(opening(now=UNTIL, tells_of_account=False))

    assert (OpenedAs.QUEUED, None) == (opened.outcome, opened.trial)
    assert 1 == len(await send(ledger, now=UNTIL))


async def test_where_no_create_waits_one_question_tries(engine: Engine) -> None:
    ledger = await running(engine)
    tried = await claim(ledger, now=UNTIL)
    others = await claim(ledger, now=UNTIL)
    is_lifted = await lift(ledger, tried[0].trial)

    assert (1, 0) == (len(tried), len(others))
    assert is_lifted
    assert 2 == len(await claim(ledger, now=UNTIL))


async def test_a_page_is_one_request_and_may_try(engine: Engine) -> None:
    ledger = await running(engine)
    claims = await ask(ledger, now=UNTIL, sharing=LIST)

    assert [PAGE] * 3 == [each.together for each in claims]
    assert await lift(ledger, claims[0].trial)


async def test_a_create_that_waits_has_the_first_try_and_one_that_cannot_leave_keeps_no_question(
    engine: Engine,
) -> None:
    ledger = await running(engine)
    await ledger.open_task(opening(OURS, slot_limit=1))
    at_once = await claim(ledger, now=UNTIL)
    look_at = await ledger.next_look_at(PROVIDER, now=UNTIL, budget=60, sharing=LIST)

    assert [] == at_once
    assert UNTIL + 2 * SECOND == look_at
    assert 1 == len(await claim(ledger, now=UNTIL + 2 * SECOND))


async def test_a_longer_pause_does_not_make_up_for_the_trial(engine: Engine) -> None:
    ledger = await waiting(engine)
    await ledger.settle([], JUDGE, [Pause(provider=PROVIDER, until=NOW + HOUR, reason="5001")])
    [tried] = await send(ledger, now=NOW + HOUR)
    with pytest.raises(AccountStopped):
        await ledger.open_task(opening(now=NOW + HOUR, client=TOLD))

    assert await lift(ledger, tried.trial)


async def test_a_pause_that_was_asked_for_meanwhile_outlasts_the_stop(engine: Engine) -> None:
    ledger = await waiting(engine)
    [tried] = await send(ledger, now=UNTIL)
    await ledger.settle([], JUDGE, [Pause(provider=PROVIDER, until=UNTIL + HOUR, reason="5001")])
    await lift(ledger, tried.trial)

    assert [] == await send(ledger, now=UNTIL + HOUR - 1)
    assert 2 == len(await send(ledger, now=UNTIL + HOUR))


async def test_after_a_pause_that_is_no_stop_nothing_is_tried(engine: Engine) -> None:
    ledger = await running(engine)
    [tried] = await claim(ledger, now=UNTIL)
    await lift(ledger, tried.trial)
    await settle(ledger, tried, AnswerKind.HEARD, now=UNTIL)
    await ledger.settle([], JUDGE, [Pause(provider=PROVIDER, until=UNTIL + MINUTE, reason="1302")])

    assert 2 <= len(await claim(ledger, now=UNTIL + MINUTE))
