"""Openings: written before anything leaves, and recognised when they come again."""

from __future__ import annotations

import asyncio

import pytest

from receiver.ledger.asking import Pause
from receiver.ledger.errors import TaskExists
from receiver.ledger.openings import Client, Opened, OpenedAs
from receiver.ledger.reading import Query
from receiver.straggler import AnswerKind
from receiver.task import TaskState
from tests.ledger.builders import (
    JUDGE,
    MINUTE,
    NOW,
    OURS,
    PROVIDER,
    SUBMITTED,
    SUCCEED,
    THEIRS,
    answer,
    callback,
    claim,
    hear,
    ids,
    image,
    opening,
    send,
    settle,
    task_of,
)
from tests.ledger.conformance import Engine


async def test_a_submission_is_on_disk_before_its_opener_may_send_it(engine: Engine) -> None:
    ledger = await engine.ledger()

    opened = await ledger.open_task(opening())
    task = await task_of(await engine.survivor())

    assert OpenedAs.TO_SEND is opened.outcome
    assert (TaskState.PENDING, NOW, NOW, 1) == (task.state, task.created_at, task.sent_at, task.version)


async def test_the_request_is_kept_as_it_was_written(engine: Engine) -> None:
    ledger = await engine.ledger()

    await ledger.open_task(opening(request='{"prompt":"Käse \\u0000 🧀"}'))
    record = await ledger.record(OURS)

    assert record is not None
    assert '{"prompt":"Käse \\u0000 🧀"}' == record.request


async def test_the_same_request_again_is_recognised_and_nobody_sends_it(engine: Engine) -> None:
    ledger = await engine.ledger()
    first = await ledger.open_task(opening())
    before = await task_of(ledger)

    again = await ledger.open_task(opening(now=NOW + MINUTE))

    assert (OpenedAs.ALREADY, first.fence) == (again.outcome, again.fence)
    assert before == await task_of(ledger)


async def test_two_openers_at_once_send_it_once(engine: Engine) -> None:
    ledger = await engine.ledger()

    one = ledger.open_task(opening(opened_by="one"))
    other = ledger.open_task(opening(opened_by="other"))
    outcomes = [(await each).outcome for each in (one, other)]

    assert [OpenedAs.TO_SEND, OpenedAs.ALREADY] == outcomes


async def test_openings_at_once_are_each_as_if_alone(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening("t_known"))
    await ledger.settle([], JUDGE, [Pause(provider="kling", until=NOW + MINUTE, reason="1302")])
    openings = [
        opening("t_new"),
        opening("t_known"),
        opening("t_new", request_digest=b"another"),
        opening("t_waits", provider="kling"),
        opening("t_newer"),
    ]

    outcomes = await asyncio.gather(*map(ledger.open_task, openings), return_exceptions=True)

    assert isinstance(outcomes[2], TaskExists)
    assert [OpenedAs.TO_SEND, OpenedAs.ALREADY, OpenedAs.QUEUED, OpenedAs.TO_SEND] == [
        each.outcome for each in outcomes if isinstance(each, Opened)
    ]
    kept = [record.task.external_task_id for record in (await ledger.tasks(Query())).records]
    assert ["t_known", "t_new", "t_newer", "t_waits"] == sorted(kept)


async def test_the_id_of_a_pruned_task_is_taken(engine: Engine) -> None:
    ledger = await engine.ledger()
    await engine.run(f"insert into tombstones values ('{OURS}', '{PROVIDER}', 'succeeded', {NOW}, 3)")

    with pytest.raises(TaskExists):
        await ledger.open_task(opening())

    assert await ledger.record(OURS) is None


async def test_a_task_is_written_down_alike_by_whatever_name_its_client_knows_it(engine: Engine) -> None:
    ledger = await engine.ledger()
    whole = {"is_series": True, "asks_watermark": True, "timing_class": "omni-image", "opened_by": "me", "slots": 2}
    await ledger.open_task(opening(client=Client(tenant="ada", callback_url="https://ada.example"), **whole))
    named = Client(tenant="ada", callback_url="https://ada.example", idempotency_key="name")
    await ledger.open_task(opening(THEIRS, client=named, **whole))

    columns = [name for (name,) in await engine.run("select name from pragma_table_info('tasks')")]
    own = {"key", "external_task_id", "idempotency_key"}
    both = await engine.run(f"select {', '.join(each for each in columns if each not in own)} from tasks")

    assert tuple(both[0]) == tuple(both[1])


async def test_another_request_under_the_same_id_is_refused_and_changes_nothing(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening())
    before = await ledger.record(OURS)

    with pytest.raises(TaskExists, match=OURS):
        await ledger.open_task(opening(request="{}", request_digest=b"another"))

    assert before == await ledger.record(OURS)


async def test_an_id_names_one_task_in_the_whole_ledger_whatever_the_account(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening())

    with pytest.raises(TaskExists):
        await ledger.open_task(opening(provider="kling"))

    assert 1 == len((await ledger.tasks(Query())).records)


async def test_a_refused_id_may_be_submitted_anew_with_another_request(engine: Engine) -> None:
    ledger = await engine.ledger()
    first = await ledger.open_task(opening())
    refused = await ledger.refuse(OURS, "1301: no", fence=first.fence, now=NOW)

    anew = await ledger.open_task(opening(request="{}", request_digest=b"another", now=NOW + MINUTE))
    record = await ledger.record(OURS)

    assert OpenedAs.TO_SEND is anew.outcome
    assert anew.fence > first.fence
    assert record is not None
    assert ("{}", TaskState.PENDING, "") == (record.request, record.task.state, record.task.message)
    assert record.task.version > refused.version
    assert (None, None) == (record.task.settled_at, record.task.settled_by)


async def test_a_refusal_of_the_earlier_life_does_not_touch_the_new_one(engine: Engine) -> None:
    ledger = await engine.ledger()
    first = await ledger.open_task(opening())
    await ledger.refuse(OURS, "no", fence=first.fence, now=NOW)
    await ledger.open_task(opening(now=NOW + MINUTE))

    await ledger.refuse(OURS, "no, and late", fence=first.fence, now=NOW + MINUTE)

    assert TaskState.PENDING is (await task_of(ledger)).state


async def test_a_question_of_the_earlier_life_does_not_touch_the_new_one(engine: Engine) -> None:
    """Asked about, refused and submitted anew while the answer was on its way: it is about the earlier life."""
    ledger = await engine.ledger()
    first = await ledger.open_task(opening())
    [asked] = await claim(ledger, now=NOW + 2 * MINUTE)
    await ledger.refuse(OURS, "no", fence=first.fence, now=NOW + 2 * MINUTE)
    await ledger.open_task(opening(now=NOW + 2 * MINUTE, first_query_at=NOW + 4 * MINUTE))

    await settle(ledger, asked, AnswerKind.NOT_OURS, now=NOW + 2 * MINUTE)

    assert TaskState.PENDING is (await task_of(ledger)).state
    assert NOW + 4 * MINUTE == await ledger.next_query_at("cometapi")


async def test_nothing_is_sent_at_once_to_a_paused_account(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.settle([], JUDGE, [Pause(provider="cometapi", until=NOW + MINUTE, reason="1101")])

    opened = await ledger.open_task(opening())

    assert OpenedAs.QUEUED is opened.outcome
    assert NOW + MINUTE == await ledger.next_send_at("cometapi")


async def test_the_events_of_a_second_life_have_ids_of_their_own(engine: Engine) -> None:
    ledger = await engine.ledger()
    for turn in range(3):
        opened = await ledger.open_task(opening(now=NOW + turn))
        await ledger.refuse(OURS, "no", fence=opened.fence, now=NOW + turn)

    events = await ledger.events_after(0, limit=10)

    assert 3 == len({event.id for event in events})


async def test_an_opener_that_repeats_itself_is_answered_as_at_first(engine: Engine) -> None:
    """Its first answer may have been lost on the way: the create did not leave yet."""
    ledger = await engine.ledger()
    first = await ledger.open_task(opening(opened_by="key"))

    assert first == await ledger.open_task(opening(opened_by="key"))
    assert OpenedAs.ALREADY is (await ledger.open_task(opening(opened_by="other"))).outcome
    assert OpenedAs.ALREADY is (await ledger.open_task(opening(opened_by=None))).outcome


async def test_an_opener_that_repeats_itself_after_the_answer_sends_nothing(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(opened_by="key"))
    await hear(ledger, answer(SUBMITTED))

    again = await ledger.open_task(opening(opened_by="key"))

    assert OpenedAs.ALREADY is again.outcome


async def test_an_opener_that_repeats_itself_sends_nothing_that_the_sender_took(engine: Engine) -> None:
    """Queued, claimed by the sender, and then the opener's retry: two creates would pay twice."""
    ledger = await engine.ledger()
    await ledger.open_task(opening(opened_by="key", send_later=True))
    assert [OURS] == ids(await send(ledger))

    again = await ledger.open_task(opening(opened_by="key", send_later=True, now=NOW + 1))

    assert OpenedAs.ALREADY is again.outcome


async def test_an_opener_that_repeats_itself_sends_nothing_that_was_deferred_and_taken(engine: Engine) -> None:
    ledger = await engine.ledger()
    opened = await ledger.open_task(opening(opened_by="key"))
    await ledger.defer(OURS, "1302: too fast", fence=opened.fence, send_at=NOW + 1)
    assert [OURS] == ids(await send(ledger, now=NOW + 1))

    again = await ledger.open_task(opening(opened_by="key"))

    assert OpenedAs.ALREADY is again.outcome


async def test_a_task_waits_where_its_accounts_slots_are_taken(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(THEIRS, slots=2, slot_limit=3))

    opened = await ledger.open_task(opening(OURS, slots=2, slot_limit=3))
    task = await task_of(ledger)

    assert OpenedAs.QUEUED is opened.outcome
    assert (TaskState.PENDING, None) == (task.state, task.sent_at)
    assert NOW == await ledger.next_send_at("cometapi")


async def test_slots_are_counted_to_the_last_one(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(THEIRS, slots=2, slot_limit=3))

    opened = await ledger.open_task(opening(OURS, slots=1, slot_limit=3))

    assert OpenedAs.TO_SEND is opened.outcome


async def test_another_accounts_tasks_take_no_slots_of_ours(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(THEIRS, provider="kling", slots=3, slot_limit=3))

    opened = await ledger.open_task(opening(OURS, slots=3, slot_limit=3))

    assert OpenedAs.TO_SEND is opened.outcome


async def test_a_settled_task_gives_its_slots_back(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(THEIRS, slot_limit=1))
    await hear(ledger, callback(SUCCEED, image(), task=THEIRS))

    opened = await ledger.open_task(opening(OURS, slot_limit=1))

    assert OpenedAs.TO_SEND is opened.outcome


async def test_an_adopted_task_takes_a_slot(engine: Engine) -> None:
    ledger = await engine.ledger()
    await hear(ledger, callback(SUBMITTED, task=THEIRS))

    opened = await ledger.open_task(opening(OURS, slot_limit=1))

    assert OpenedAs.QUEUED is opened.outcome


async def test_a_small_newcomer_does_not_overtake_a_large_task_that_waits(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening("t_first", slots=2, slot_limit=3))
    await ledger.open_task(opening("t_large", slots=3, slot_limit=3))

    newcomer = await ledger.open_task(opening("t_small", slots=1, slot_limit=3))

    assert OpenedAs.QUEUED is newcomer.outcome


async def test_an_unanswered_create_holds_its_slots_for_ten_minutes_and_no_longer(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(THEIRS, slot_limit=1))
    await ledger.unanswered(THEIRS, "timed out", query_at=None)

    within = await ledger.open_task(opening("t_within", slot_limit=1, now=NOW + 10 * MINUTE - 1))
    await ledger.abandon("t_within", now=NOW + 10 * MINUTE)
    after = await ledger.open_task(opening("t_after", slot_limit=1, now=NOW + 10 * MINUTE))

    assert [OpenedAs.QUEUED, OpenedAs.TO_SEND] == [within.outcome, after.outcome]


async def test_what_is_to_be_sent_later_is_queued_though_slots_are_free(engine: Engine) -> None:
    ledger = await engine.ledger()

    opened = await ledger.open_task(opening(send_later=True))

    assert OpenedAs.QUEUED is opened.outcome
    assert (await task_of(ledger)).sent_at is None
    assert await ledger.next_query_at("cometapi") is None
