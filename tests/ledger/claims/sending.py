"""The way out: who sends what is queued, and what became of a send."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from receiver.ledger.asking import Pause
from receiver.ledger.errors import NotPossible, UnknownTask
from receiver.ledger.openings import Client, Lane
from receiver.schedule import LOOK_UPS, SENDS
from receiver.straggler import AnswerKind, Purpose
from receiver.task import EventType, SettledBy, TaskState
from submitter.moments import Moment
from tests.ledger.builders import (
    HOUR,
    JUDGE,
    MINUTE,
    NOW,
    OURS,
    PROVIDER,
    SECOND,
    SUBMITTED,
    SUCCEED,
    THEIRS,
    answer,
    callback,
    claim,
    hear,
    ids,
    image,
    lane,
    opening,
    send,
    settle,
    task_of,
)
from tests.ledger.conformance import Engine

INLINE = {"5a": "aGVsbG8="}
WITH_PICTURE = '{"prompt":"x","image":{"sha256":"5a","bytes":5}}'


async def test_a_queued_task_is_claimed_with_its_request_and_marked_as_sent_on_disk(engine: Engine) -> None:
    ledger = await engine.ledger()
    opened = await ledger.open_task(opening(send_later=True))

    [unsent] = await send(ledger, now=NOW + MINUTE)
    task = await task_of(await engine.survivor())

    assert (OURS, PROVIDER, "omni-image") == (unsent.external_task_id, unsent.provider, unsent.endpoint)
    assert {"prompt": "a quay at dawn"} == unsent.request
    assert unsent.fence > opened.fence
    assert (TaskState.PENDING, NOW + MINUTE) == (task.state, task.sent_at)


async def test_two_senders_never_get_the_same_task(engine: Engine) -> None:
    ledger = await engine.ledger()
    for number in range(20):
        await ledger.open_task(opening(f"t_{number}", send_later=True))

    claims = await asyncio.gather(*(send(ledger, limit=3) for _ in range(8)))
    claimed = [each for some in claims for each in ids(some)]

    assert sorted(f"t_{number}" for number in range(20)) == sorted(claimed)


async def test_queued_tasks_leave_in_the_order_they_came(engine: Engine) -> None:
    ledger = await engine.ledger()
    for number in range(3):
        await ledger.open_task(opening(f"t_{9 - number}", send_later=True, now=NOW + number))

    assert ["t_9", "t_8"] == ids(await send(ledger, now=NOW + MINUTE, limit=2))
    assert ["t_7"] == ids(await send(ledger, now=NOW + MINUTE, limit=2))


async def test_a_large_task_that_waits_is_not_overtaken_by_small_ones(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening("t_running", slots=2, slot_limit=3))
    await ledger.open_task(opening("t_large", slots=2, slot_limit=3, now=NOW + 1))
    await ledger.open_task(opening("t_small", slots=1, slot_limit=3, now=NOW + 2))

    assert [] == await send(ledger, now=NOW + MINUTE, slot_limit=3)
    await hear(ledger, callback(SUCCEED, image(), task="t_running"))
    assert ["t_large", "t_small"] == ids(await send(ledger, now=NOW + MINUTE, slot_limit=3))


async def test_what_was_claimed_takes_its_slots(engine: Engine) -> None:
    ledger = await engine.ledger()
    for number in range(4):
        await ledger.open_task(opening(f"t_{number}", slots=2, send_later=True, now=NOW + number))

    assert ["t_0", "t_1"] == ids(await send(ledger, now=NOW + MINUTE, slot_limit=5))
    assert [] == ids(await send(ledger, now=NOW + MINUTE, slot_limit=5))


async def test_nothing_leaves_before_its_moment(engine: Engine) -> None:
    ledger = await engine.ledger()
    opened = await ledger.open_task(opening())
    await ledger.defer(OURS, "1302: too fast", fence=opened.fence, send_at=NOW + MINUTE)

    assert NOW + MINUTE == await ledger.next_send_at(PROVIDER)
    assert [] == await send(ledger, now=NOW + MINUTE - 1)
    assert [OURS] == ids(await send(ledger, now=NOW + MINUTE))


async def test_only_the_accounts_asked_for_are_claimed(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(OURS, send_later=True))
    await ledger.open_task(opening(THEIRS, provider="kling", send_later=True))

    lanes = {"kling": Lane(slot_limit=None, first_query_at=None)}
    claimed = await ledger.claim_unsent(now=NOW, limit=16, lanes=lanes)

    assert [THEIRS] == ids(claimed)
    assert await ledger.next_send_at("kling") is None
    assert NOW == await ledger.next_send_at(PROVIDER)


async def test_a_limit_is_for_all_accounts_together(engine: Engine) -> None:
    ledger = await engine.ledger()
    for number in range(3):
        await ledger.open_task(opening(f"t_a{number}", send_later=True))
        await ledger.open_task(opening(f"t_b{number}", provider="kling", send_later=True))

    lanes = {**lane(), "kling": Lane(slot_limit=None, first_query_at=None)}
    claimed = await ledger.claim_unsent(now=NOW, limit=4, lanes=lanes)

    assert 4 == len(claimed)


async def test_nothing_is_sent_to_a_paused_account_even_after_a_restart(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(send_later=True))
    await ledger.settle([], JUDGE, [Pause(provider=PROVIDER, until=NOW + MINUTE, reason="1302")])

    ledger = await engine.reopened()

    assert [] == await send(ledger, now=NOW + MINUTE - 1)
    assert [OURS] == ids(await send(ledger, now=NOW + MINUTE))


async def test_a_deferred_create_counts_as_never_sent_and_frees_its_slots(engine: Engine) -> None:
    ledger = await engine.ledger()
    opened = await ledger.open_task(opening(slot_limit=1))

    await ledger.defer(OURS, "1303: parallel tasks over the limit", fence=opened.fence, send_at=NOW + 1)
    task = await task_of(ledger)

    assert (TaskState.PENDING, None) == (task.state, task.sent_at)
    assert "1303: parallel tasks over the limit" == task.message
    assert await ledger.next_query_at(PROVIDER) is None
    assert [OURS] == ids(await send(ledger, now=NOW + 1, slot_limit=1))


async def test_a_deferral_under_an_old_fence_changes_nothing(engine: Engine) -> None:
    ledger = await engine.ledger()
    opened = await ledger.open_task(opening())
    await ledger.defer(OURS, "too fast", fence=opened.fence, send_at=NOW)
    await send(ledger)
    before = await task_of(ledger)

    await ledger.defer(OURS, "thawed", fence=opened.fence, send_at=NOW)

    assert before == await task_of(ledger)
    assert [] == await send(ledger)


async def test_a_deferral_after_news_changes_nothing(engine: Engine) -> None:
    """A callback says that the create arrived: it is not sent again."""
    ledger = await engine.ledger()
    opened = await ledger.open_task(opening())
    await hear(ledger, callback(SUBMITTED))

    await ledger.defer(OURS, "connect failed", fence=opened.fence, send_at=NOW)

    assert TaskState.SUBMITTED is (await task_of(ledger)).state
    assert [] == await send(ledger)


async def test_news_of_a_queued_task_takes_it_out_of_the_queue(engine: Engine) -> None:
    ledger = await engine.ledger()
    opened = await ledger.open_task(opening())
    await ledger.defer(OURS, "connect failed", fence=opened.fence, send_at=NOW)

    await hear(ledger, callback(SUBMITTED))

    assert await ledger.next_send_at(PROVIDER) is None
    assert [] == await send(ledger, now=NOW + HOUR)


async def test_a_refused_create_comes_to_rest_audibly(engine: Engine) -> None:
    ledger = await engine.ledger()
    opened = await ledger.open_task(opening())

    task = await ledger.refuse(OURS, "1301: content safety", fence=opened.fence, now=NOW + 1)
    [event] = await ledger.events_after(0, limit=10)

    assert (TaskState.REFUSED, SettledBy.REFUSAL, NOW + 1) == (task.state, task.settled_by, task.settled_at)
    assert "1301: content safety" == task.message
    assert (EventType.REFUSED, f"{OURS}.{task.version}") == (event.type, event.id)
    assert task == await task_of(ledger)


async def test_a_refusal_heard_twice_is_told_once(engine: Engine) -> None:
    ledger = await engine.ledger()
    opened = await ledger.open_task(opening())

    first = await ledger.refuse(OURS, "no", fence=opened.fence, now=NOW)
    again = await ledger.refuse(OURS, "no", fence=opened.fence, now=NOW + 1)

    assert first == again
    assert 1 == len(await ledger.events_after(0, limit=10))


async def test_a_refusal_is_not_believed_once_news_came(engine: Engine) -> None:
    ledger = await engine.ledger()
    opened = await ledger.open_task(opening())
    await hear(ledger, callback(SUBMITTED))

    task = await ledger.refuse(OURS, "no", fence=opened.fence, now=NOW)

    assert TaskState.SUBMITTED is task.state


async def test_a_refusal_is_believed_although_somebody_asked_meanwhile(engine: Engine) -> None:
    """A person's question, or a look-up's, takes no part in the send: its refusal is still this send's."""
    ledger = await engine.ledger()
    opened = await ledger.open_task(opening())
    await ledger.claim_task(OURS, now=NOW + 1, lease=timedelta(seconds=90))

    task = await ledger.refuse(OURS, "1301: content safety", fence=opened.fence, now=NOW + 2)

    assert TaskState.REFUSED is task.state


async def test_the_task_of_a_refusal_must_exist(engine: Engine) -> None:
    ledger = await engine.ledger()

    with pytest.raises(UnknownTask, match=OURS):
        await ledger.refuse(OURS, "no", fence=None, now=NOW)


async def test_an_unanswered_create_says_why_and_when_it_is_looked_up(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening())

    await ledger.unanswered(OURS, "timed out", query_at=NOW + 5 * SECOND)
    task = await task_of(ledger)

    assert (TaskState.PENDING, "timed out", NOW) == (task.state, task.message, task.sent_at)
    assert NOW + 5 * SECOND == await ledger.next_query_at(PROVIDER)


async def test_an_unanswered_create_that_cannot_be_asked_about_is_not(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening())

    await ledger.unanswered(OURS, "timed out", query_at=None)

    assert [] == await claim(ledger, now=NOW + 24 * HOUR)
    assert [] == await send(ledger, now=NOW + 24 * HOUR)


async def test_of_a_create_that_was_never_sent_nobody_is_asked(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(send_later=True))

    counts = await ledger.unanswered(OURS, "timed out", fence=1, query_at=NOW + SECOND)

    assert not counts
    assert [] == await claim(ledger, now=NOW + MINUTE)
    assert [OURS] == ids(await send(ledger, now=NOW + MINUTE))


async def test_news_before_unanswered_wins(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening())
    await hear(ledger, callback(SUBMITTED))
    before = await task_of(ledger)

    await ledger.unanswered(OURS, "timed out", query_at=None)

    assert before == await task_of(ledger)


async def lose(engine: Engine, *, looked_up_from: int = NOW, slot_limit: int | None = None) -> int:
    """A create that was sent and is looked up in vain until it counts as lost; the moment of the last answer."""
    ledger = await engine.ledger()
    await ledger.unanswered(OURS, "timed out", query_at=looked_up_from)
    for _ in range(LOOK_UPS):
        due = await ledger.next_query_at(PROVIDER)
        assert due is not None
        [asked] = await claim(ledger, now=due)
        assert (OURS, Purpose.LOOK_UP) == (asked.task.external_task_id, asked.purpose)
        assert [] == await send(ledger, now=due, slot_limit=slot_limit)
        await settle(ledger, asked, AnswerKind.NOT_FOUND, now=due)
    return due


async def test_a_lost_create_is_looked_up_before_it_is_sent_again_under_the_same_id(engine: Engine) -> None:
    ledger = await engine.ledger()
    opened = await ledger.open_task(opening())

    lost_at = await lose(engine)
    [again] = await send(ledger, now=lost_at)

    assert OURS == again.external_task_id
    assert {"prompt": "a quay at dawn"} == again.request
    assert again.fence > opened.fence
    assert NOW == (await task_of(ledger)).sent_at  # since then it may exist at the provider


async def test_a_create_is_sent_a_bounded_number_of_times(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening())
    for _ in range(SENDS - 1):
        lost_at = await lose(engine)
        assert [OURS] == ids(await send(ledger, now=lost_at))

    lost_at = await lose(engine)

    assert [] == await send(ledger, now=lost_at + HOUR)


async def test_a_lost_create_is_not_kept_waiting_by_its_own_slots(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(slot_limit=1))

    lost_at = await lose(engine, slot_limit=1)

    assert [OURS] == ids(await send(ledger, now=lost_at, slot_limit=1))


async def test_a_create_that_went_out_again_and_was_deferred_stays_sent(engine: Engine) -> None:
    """The first attempt may have arrived: only the second is taken back."""
    ledger = await engine.ledger()
    await ledger.open_task(opening())
    lost_at = await lose(engine)
    [again] = await send(ledger, now=lost_at)

    await ledger.defer(OURS, "too fast", fence=again.fence, send_at=lost_at + MINUTE)

    assert NOW == (await task_of(ledger)).sent_at
    assert [OURS] == ids(await send(ledger, now=lost_at + MINUTE))


async def test_a_deferral_that_is_repeated_takes_back_one_send_alone(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening())
    lost_at = await lose(engine)
    [again] = await send(ledger, now=lost_at)
    await ledger.defer(OURS, "too fast", fence=again.fence, send_at=lost_at + MINUTE)

    counts = await ledger.defer(OURS, "too fast", fence=again.fence, send_at=lost_at + HOUR)

    assert not counts
    assert NOW == (await task_of(ledger)).sent_at
    assert [OURS] == ids(await send(ledger, now=lost_at + MINUTE))


async def test_a_person_may_send_an_unanswered_create_again(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening())
    await ledger.unanswered(OURS, "timed out", query_at=None)

    task = await ledger.send_again(OURS, now=NOW + MINUTE)

    assert TaskState.PENDING is task.state
    assert [OURS] == ids(await send(ledger, now=NOW + MINUTE))
    assert [] == await send(ledger, now=NOW + MINUTE)


async def test_nobody_sends_again_what_was_answered_or_never_left(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(OURS, send_later=True))
    await ledger.open_task(opening(THEIRS))
    await hear(ledger, answer(SUBMITTED, task=THEIRS))

    for external_task_id in (OURS, THEIRS):
        with pytest.raises(NotPossible, match=external_task_id):
            await ledger.send_again(external_task_id, now=NOW)
    with pytest.raises(UnknownTask):
        await ledger.send_again("t_none", now=NOW)


async def test_an_abandoned_task_expires_and_leaves_the_queue(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(send_later=True))

    task = await ledger.abandon(OURS, now=NOW + 1)

    assert (TaskState.EXPIRED, SettledBy.DEADLINE) == (task.state, task.settled_by)
    assert "abandoned by hand" == task.message
    assert [] == await send(ledger, now=NOW + HOUR)
    assert [EventType.EXPIRED] == [event.type for event in await ledger.events_after(0, limit=10)]


async def test_a_task_at_rest_is_not_abandoned(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening())
    [decision] = await hear(ledger, callback(SUCCEED, image()))

    assert decision.task == await ledger.abandon(OURS, now=NOW + 1)
    with pytest.raises(UnknownTask):
        await ledger.abandon("t_none", now=NOW)


async def pictures(engine: Engine) -> int:
    """How many inline pictures the ledger keeps."""
    return len(await engine.run("select sha256 from inline_images"))


async def test_an_inline_picture_is_back_in_the_request_that_is_sent(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(request=WITH_PICTURE, inline=INLINE, send_later=True))

    [unsent] = await send(ledger)
    record = await ledger.record(OURS)

    assert {"prompt": "x", "image": "aGVsbG8="} == unsent.request
    assert record is not None
    assert WITH_PICTURE == record.request


async def test_what_its_opener_never_sends_holds_its_slots_for_as_long_as_was_said(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening("t_held", slot_limit=1, holds_slots=timedelta(minutes=2)))
    await ledger.open_task(opening(OURS, slot_limit=1))

    assert [] == ids(await send(ledger, now=NOW + 2 * MINUTE - 1, slot_limit=1))
    assert [OURS] == ids(await send(ledger, now=NOW + 2 * MINUTE, slot_limit=1))


async def test_what_was_said_of_an_older_send_is_known_as_such(engine: Engine) -> None:
    ledger = await engine.ledger()
    opened = await ledger.open_task(opening())
    is_latest = await ledger.unanswered(OURS, "503", fence=opened.fence, query_at=None)
    await ledger.send_again(OURS, now=NOW + 1)
    [again] = await send(ledger, now=NOW + 1)

    assert is_latest
    assert not await ledger.unanswered(OURS, "503", fence=opened.fence, query_at=None)
    assert await ledger.unanswered(OURS, "503", fence=again.fence, query_at=None)
    await hear(ledger, callback(SUBMITTED))
    assert not await ledger.unanswered(OURS, "503", fence=again.fence, query_at=None)


async def test_inline_pictures_are_kept_until_the_create_is_answered(engine: Engine) -> None:
    ledger = await engine.ledger()
    opened = await ledger.open_task(opening(request=WITH_PICTURE, inline=INLINE))
    await ledger.defer(OURS, "too fast", fence=opened.fence, send_at=NOW)
    [unsent] = await send(ledger)
    await ledger.unanswered(OURS, "timed out", query_at=None)
    before = await pictures(engine)

    await hear(ledger, answer(SUBMITTED))

    assert "aGVsbG8=" == unsent.request["image"]
    assert (1, 0) == (before, await pictures(engine))


async def test_a_refused_create_keeps_no_pictures(engine: Engine) -> None:
    ledger = await engine.ledger()
    opened = await ledger.open_task(opening(request=WITH_PICTURE, inline=INLINE))

    await ledger.refuse(OURS, "no", fence=opened.fence, now=NOW)

    assert 0 == await pictures(engine)


async def test_an_abandoned_create_keeps_no_pictures(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(request=WITH_PICTURE, inline=INLINE))

    await ledger.abandon(OURS, now=NOW)

    assert 0 == await pictures(engine)


async def test_an_expired_create_keeps_no_pictures(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(request=WITH_PICTURE, inline=INLINE, deadline_at=NOW + 1))

    await ledger.settle_overdue(JUDGE, now=NOW + 1, limit=8)

    assert 0 == await pictures(engine)


async def test_a_submission_that_came_before_leaves_no_pictures_behind(engine: Engine) -> None:
    """Opened, answered, and opened again with the same request: nothing would ever delete them."""
    ledger = await engine.ledger()
    await ledger.open_task(opening(request=WITH_PICTURE, inline=INLINE))
    await hear(ledger, answer(SUBMITTED))

    await ledger.open_task(opening(request=WITH_PICTURE, inline=INLINE))

    assert 0 == await pictures(engine)


async def test_a_submission_anew_has_its_pictures(engine: Engine) -> None:
    ledger = await engine.ledger()
    opened = await ledger.open_task(opening(request=WITH_PICTURE, inline=INLINE))
    await ledger.refuse(OURS, "no", fence=opened.fence, now=NOW)
    await ledger.open_task(opening(request=WITH_PICTURE, inline=INLINE, send_later=True))

    [unsent] = await send(ledger)

    assert "aGVsbG8=" == unsent.request["image"]


def patient(give_up_at: Moment) -> dict[str, Lane]:
    return {PROVIDER: Lane(slot_limit=None, first_query_at=None, give_up_at=give_up_at)}


async def test_what_left_after_a_long_wait_is_believed_in_as_if_it_had_not_waited(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(send_later=True, deadline_at=NOW + HOUR))
    left_at = NOW + HOUR - SECOND

    await ledger.claim_unsent(now=left_at, limit=8, lanes=patient(left_at + HOUR))

    assert left_at + HOUR == (await task_of(ledger)).deadline_at
    assert [] == await ledger.settle_overdue(JUDGE, now=NOW + HOUR, limit=8)
    assert 1 == len(await ledger.settle_overdue(JUDGE, now=left_at + HOUR, limit=8))


async def test_a_create_that_came_to_nothing_moves_no_deadline(engine: Engine) -> None:
    """Or one that is put off again and again would never end."""
    ledger = await engine.ledger()
    await ledger.open_task(opening(send_later=True, deadline_at=NOW + HOUR))
    left_at = NOW + HOUR - SECOND
    [sent] = await ledger.claim_unsent(now=left_at, limit=8, lanes=patient(left_at + HOUR))

    await ledger.defer(OURS, "1303: full", fence=sent.fence, send_at=left_at)

    assert NOW + HOUR == (await task_of(ledger)).deadline_at
    assert 1 == len(await ledger.settle_overdue(JUDGE, now=NOW + HOUR, limit=8))


async def test_what_is_past_its_deadline_is_not_sent_though_nobody_has_expired_it_yet(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(send_later=True, deadline_at=NOW + HOUR))
    await ledger.open_task(opening("t_later", send_later=True, now=NOW + 1, client=Client(tenant="ada")))

    sent = await ledger.claim_unsent(now=NOW + HOUR, limit=8, lanes=patient(NOW + 2 * HOUR))

    assert ["t_later"] == ids(sent)
    [expired] = await ledger.settle_overdue(JUDGE, now=NOW + HOUR, limit=8)
    assert "the deadline came before it could be sent" == expired.task.message
