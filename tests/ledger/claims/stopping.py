"""Accounts that their providers serve no more: who is told so, who waits, and for how long."""

from __future__ import annotations

import pytest

from receiver.ledger.asking import Pause
from receiver.ledger.base import Ledger
from receiver.ledger.errors import AccountStopped
from receiver.ledger.openings import AccountRefusal, Client, OpenedAs
from tests.ledger.builders import (
    HOUR,
    JUDGE,
    MINUTE,
    NOW,
    OURS,
    PROVIDER,
    SECOND,
    SUBMITTED,
    THEIRS,
    answer,
    hear,
    opening,
    send,
)
from tests.ledger.claims.sending import INLINE, WITH_PICTURE, pictures
from tests.ledger.conformance import Engine

ARREARS = AccountRefusal(http_status=429, code="1101", message="Account in arrears")
TOLD = Client(hears_stops=True)
UNTIL = NOW + 10 * MINUTE


async def stopped(engine: Engine, refusal: AccountRefusal | None = ARREARS) -> Ledger:
    """A ledger whose account was just stopped."""
    ledger = await engine.ledger()
    pause = Pause(provider=PROVIDER, until=UNTIL, reason="1101", is_stop=True, refusal=refusal)
    await ledger.settle([], JUDGE, [pause])
    return ledger


async def test_who_hears_stops_is_told_the_providers_words_and_nothing_is_written_down(engine: Engine) -> None:
    await stopped(engine)
    ledger = await engine.reopened()

    with pytest.raises(AccountStopped) as caught:
        await ledger.open_task(opening(request=WITH_PICTURE, inline=INLINE, now=UNTIL - 1, client=TOLD))

    said = caught.value
    assert (429, "1101", "Account in arrears") == (said.http_status, said.code, said.message)
    assert await ledger.record(OURS) is None
    assert 0 == await pictures(engine)


async def test_who_does_not_waits_until_the_account_is_tried_again(engine: Engine) -> None:
    ledger = await stopped(engine)

    opened = await ledger.open_task(opening())

    assert OpenedAs.QUEUED is opened.outcome
    assert 0 == len(await send(ledger, now=UNTIL - 1))
    assert 1 == len(await send(ledger, now=UNTIL))


async def test_once_the_stop_is_over_creates_are_taken(engine: Engine) -> None:
    ledger = await stopped(engine)

    assert OpenedAs.TO_SEND is (await ledger.open_task(opening(now=UNTIL, client=TOLD))).outcome


async def test_a_task_that_is_there_is_recognised_although_the_account_is_stopped(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(client=TOLD))
    await hear(ledger, answer(SUBMITTED))
    await ledger.settle(
        [], JUDGE, [Pause(provider=PROVIDER, until=UNTIL, reason="1101", is_stop=True, refusal=ARREARS)]
    )

    assert OpenedAs.ALREADY is (await ledger.open_task(opening(client=TOLD))).outcome


async def test_of_another_account_nobody_is_told(engine: Engine) -> None:
    ledger = await stopped(engine)

    assert OpenedAs.TO_SEND is (await ledger.open_task(opening(provider="kling", client=TOLD))).outcome


async def test_a_stop_that_is_no_trouble_of_the_account_itself_keeps_creates_waiting(engine: Engine) -> None:
    ledger = await stopped(engine, refusal=None)

    assert OpenedAs.QUEUED is (await ledger.open_task(opening(client=TOLD))).outcome


async def test_a_shorter_pause_does_not_hide_the_stop_and_a_longer_one_ends_it(engine: Engine) -> None:
    ledger = await stopped(engine)
    await ledger.settle([], JUDGE, [Pause(provider=PROVIDER, until=NOW + SECOND, reason="1302")])
    with pytest.raises(AccountStopped):
        await ledger.open_task(opening(client=TOLD))
    await ledger.settle([], JUDGE, [Pause(provider=PROVIDER, until=NOW + HOUR, reason="5001")])

    opened = await ledger.open_task(opening(THEIRS, client=TOLD))

    assert OpenedAs.QUEUED is opened.outcome
