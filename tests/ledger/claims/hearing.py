"""Reports in: verdicts, one effect each, events, and a history that none can vanish from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from receiver.ledger.errors import ForeignTask
from receiver.ledger.judging import Heard
from receiver.task import Decision, Doubt, EventType, ReportCounts, SettledBy, Source, TaskState, Verdict
from receiver.taskjson import snapshot
from submitter.providers.base import Trust
from submitter.report import fingerprint
from tests.ledger.builders import (
    FAILED,
    JUDGE,
    MINUTE,
    NOW,
    OURS,
    PROCESSING,
    PROVIDER,
    STRICT,
    SUBMITTED,
    SUCCEED,
    THEIRS,
    answer,
    callback,
    hear,
    image,
    opening,
    queried,
    task_of,
)
from tests.ledger.conformance import Engine


def verdicts(decisions: Sequence[Decision]) -> list[Verdict | None]:
    """What each report changed."""
    return [each.verdict for each in decisions]


async def test_a_life_goes_forward_report_by_report(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening())

    decisions = [
        *await hear(ledger, answer(SUBMITTED)),
        *await hear(ledger, callback(PROCESSING)),
        *await hear(ledger, callback(SUCCEED, image(), now=NOW + MINUTE)),
    ]
    task = await task_of(ledger)

    assert [Verdict.APPLIED] * 3 == verdicts(decisions)
    assert [TaskState.SUBMITTED, TaskState.PROCESSING, TaskState.SUCCEEDED] == [each.task.state for each in decisions]
    assert (SettledBy.CALLBACK, Trust.TOKEN, NOW + MINUTE) == (task.settled_by, task.trust, task.settled_at)
    assert decisions[-1].task == task


async def test_each_report_gets_the_verdict_that_it_deserves(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening())

    decisions = [
        *await hear(ledger, callback(PROCESSING)),
        *await hear(ledger, callback(PROCESSING)),
        *await hear(ledger, callback(SUBMITTED)),
        *await hear(ledger, queried(SUCCEED, image())),
        *await hear(ledger, callback(FAILED)),
    ]

    expected = [Verdict.APPLIED, Verdict.DUPLICATE, Verdict.STALE, Verdict.APPLIED, Verdict.CONFLICT]
    assert expected == verdicts(decisions)
    assert TaskState.SUCCEEDED is (await task_of(ledger)).state


async def test_a_batch_is_decided_in_order_each_on_what_the_last_one_left(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening())

    decisions = await hear(
        ledger, callback(SUBMITTED), callback(SUCCEED, image()), callback(PROCESSING), callback(SUBMITTED)
    )

    assert [Verdict.APPLIED, Verdict.APPLIED, Verdict.STALE, Verdict.DUPLICATE] == verdicts(decisions)
    assert decisions[-1].task == await task_of(ledger)


async def test_a_batch_answers_each_report_in_its_place(engine: Engine) -> None:
    ledger = await engine.ledger()
    names = [f"t_{number}" for number in range(40)]
    for name in names:
        await ledger.open_task(opening(name))

    decisions = await hear(ledger, *(callback(SUBMITTED, task=name) for name in reversed(names)))

    assert list(reversed(names)) == [each.task.external_task_id for each in decisions]


async def test_the_same_fact_twice_in_one_batch_has_one_effect(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening())

    decisions = await hear(ledger, *[callback(SUCCEED, image())] * 3)

    assert [Verdict.APPLIED, Verdict.DUPLICATE, Verdict.DUPLICATE] == verdicts(decisions)
    assert 1 == len(await ledger.events_after(0, limit=10))


async def test_the_same_fact_again_after_a_restart_has_no_effect(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening())
    await hear(ledger, callback(SUCCEED, image()))

    ledger = await engine.reopened()
    decisions = await hear(ledger, callback(SUCCEED, image()))

    assert [Verdict.DUPLICATE] == verdicts(decisions)
    assert 1 == len(await ledger.events_after(0, limit=10))


async def test_a_fact_heard_by_token_is_a_duplicate_of_the_same_fact_proven(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening())

    decisions = [
        *await hear(ledger, queried(SUCCEED, image())),
        *await hear(ledger, callback(SUCCEED, image())),
    ]

    assert [Verdict.APPLIED, Verdict.DUPLICATE] == verdicts(decisions)


async def test_a_url_signed_anew_is_the_same_fact(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening())
    signed_anew = replace(image(), url=image().url.replace("sig=1", "sig=2"))

    decisions = await hear(ledger, callback(SUCCEED, image()), callback(SUCCEED, signed_anew))

    assert [Verdict.APPLIED, Verdict.DUPLICATE] == verdicts(decisions)


async def test_facts_of_one_task_are_none_of_another(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(OURS))
    await ledger.open_task(opening(THEIRS))

    decisions = await hear(ledger, callback(SUCCEED, image(), task=OURS), callback(SUCCEED, image(), task=THEIRS))

    assert [Verdict.APPLIED, Verdict.APPLIED] == verdicts(decisions)


async def test_an_unknown_word_is_stale_and_kept_raw(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening())

    decisions = await hear(ledger, callback("reticulating"))
    history = await ledger.history(OURS)

    assert [Verdict.STALE] == verdicts(decisions)
    assert history is not None
    assert ["reticulating"] == [each.status for each in history.reports]


async def test_what_was_decided_is_on_disk_when_it_is_answered(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening())

    [decision] = await hear(ledger, callback(SUCCEED, image()))
    survivor = await engine.survivor()

    assert decision.task == await task_of(survivor)
    assert 1 == len(await survivor.events_after(0, limit=10))


async def test_a_task_the_ledger_never_knew_is_adopted(engine: Engine) -> None:
    ledger = await engine.ledger()

    [decision] = await hear(ledger, callback(SUCCEED, image(), now=NOW))
    record = await ledger.record(OURS)

    assert record is not None
    assert (None, None, True) == (record.request, record.task.endpoint, record.task.adopted)
    assert (TaskState.SUCCEEDED, Verdict.APPLIED) == (record.task.state, decision.verdict)
    assert 1 == len(await ledger.events_after(0, limit=10))


async def test_an_adopted_task_goes_on_like_any_other_within_its_batch(engine: Engine) -> None:
    ledger = await engine.ledger()

    decisions = await hear(ledger, callback(SUBMITTED), callback(SUBMITTED), callback(PROCESSING))

    assert [Verdict.APPLIED, Verdict.DUPLICATE, Verdict.APPLIED] == verdicts(decisions)
    assert TaskState.PROCESSING is (await task_of(ledger)).state


async def test_an_id_of_another_task_is_foreign_and_changes_nothing(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(OURS))
    await ledger.open_task(opening(THEIRS))
    await hear(ledger, answer(SUBMITTED, task=THEIRS))
    before = (await task_of(ledger, OURS), await task_of(ledger, THEIRS))

    [by_provider_id] = await ledger.apply([callback(SUCCEED, image(), provider_task_id=f"p-{THEIRS}")], JUDGE)
    [by_our_id] = await ledger.apply([callback(SUCCEED, image(), external_task_id=THEIRS)], JUDGE)
    history = await ledger.history(OURS)

    assert isinstance(by_provider_id, ForeignTask)
    assert isinstance(by_our_id, ForeignTask)
    assert before == (await task_of(ledger, OURS), await task_of(ledger, THEIRS))
    assert history is not None
    assert [] == history.reports


async def test_a_foreign_report_harms_no_other_of_its_batch(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(OURS))
    await ledger.open_task(opening(THEIRS))

    first, foreign, last = await ledger.apply(
        [callback(SUBMITTED), callback(PROCESSING, external_task_id=THEIRS), callback(PROCESSING)], JUDGE
    )

    assert isinstance(first, Decision)
    assert isinstance(foreign, ForeignTask)
    assert isinstance(last, Decision)
    assert TaskState.PROCESSING is (await task_of(ledger)).state


async def test_an_id_that_another_task_got_in_the_same_batch_is_foreign(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(OURS))
    await ledger.open_task(opening(THEIRS))

    _, foreign = await ledger.apply(
        [
            callback(SUBMITTED, task=THEIRS, provider_task_id="8672"),
            callback(SUBMITTED, task=OURS, provider_task_id="8672"),
        ],
        JUDGE,
    )

    assert isinstance(foreign, ForeignTask)


async def test_an_id_that_no_task_of_this_ledger_has_is_not_foreign(engine: Engine) -> None:
    """A gateway's callback may name the upstream's ids (wire.md §4)."""
    ledger = await engine.ledger()
    await ledger.open_task(opening())
    await hear(ledger, answer(SUBMITTED, provider_task_id="task_1"))

    [decision] = await hear(ledger, callback(PROCESSING, provider_task_id="8672", external_task_id="upstreams"))
    [again] = await hear(ledger, callback(SUCCEED, image(), provider_task_id="8672"))

    assert [Verdict.APPLIED, Verdict.APPLIED] == verdicts([decision, again])
    assert ("task_1", "8672") == (again.task.task_id, again.task.upstream_task_id)


async def test_the_same_id_at_another_account_is_not_foreign(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(OURS))
    await ledger.open_task(opening(THEIRS, provider="kling"))
    await hear(ledger, callback(SUBMITTED, task=THEIRS, provider="kling", provider_task_id="1"))

    [decision] = await hear(ledger, callback(SUBMITTED, task=OURS, provider_task_id="1"))

    assert Verdict.APPLIED is decision.verdict


async def test_news_of_a_pruned_task_is_stale_and_does_not_raise_it(engine: Engine) -> None:
    ledger = await engine.ledger()
    values = f"'{OURS}', '{PROVIDER}', 'succeeded', {NOW}, 3"
    await engine.run(f"insert into tombstones values ({values})")  # what retention leaves of it

    [decision] = await hear(ledger, callback(FAILED))

    assert (Verdict.STALE, TaskState.SUCCEEDED, 3) == (decision.verdict, decision.task.state, decision.task.version)
    assert await ledger.record(OURS) is None
    assert [] == await ledger.events_after(0, limit=10)


async def test_news_of_the_earlier_life_at_another_account_is_stale(engine: Engine) -> None:
    ledger = await engine.ledger()
    opened = await ledger.open_task(opening(provider="kling"))
    await ledger.refuse(OURS, "no", fence=opened.fence, now=NOW)
    await ledger.open_task(opening())

    [decision] = await hear(ledger, callback(SUCCEED, image(), provider="kling"))

    assert Verdict.STALE is decision.verdict
    assert TaskState.PENDING is (await task_of(ledger)).state


async def test_each_change_is_told_once_with_dense_positions(engine: Engine) -> None:
    ledger = await engine.ledger()
    names = [f"t_{number}" for number in range(10)]
    for name in names:
        await ledger.open_task(opening(name))
    for status, images in ((SUBMITTED, ()), (PROCESSING, ()), (SUCCEED, (image(),))):
        batch = [callback(status, *images, task=name) for name in names]
        await hear(ledger, *batch, *batch)

    events = await ledger.events_after(0, limit=100)

    assert list(range(1, 31)) == [event.position for event in events]
    assert 30 == len({event.id for event in events})


async def test_positions_stay_dense_across_refusals_and_restarts(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(OURS))
    await ledger.open_task(opening(THEIRS))
    await hear(ledger, callback(SUBMITTED, task=OURS))
    await ledger.apply([callback(PROCESSING, external_task_id=THEIRS)], JUDGE)

    ledger = await engine.reopened()
    await hear(ledger, callback(SUBMITTED, task=THEIRS))

    assert [1, 2] == [event.position for event in await ledger.events_after(0, limit=10)]


async def test_an_event_is_the_task_and_its_version_with_the_snapshot_of_its_commit(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening())

    [decision] = await hear(ledger, callback(SUBMITTED, now=NOW + 1))
    await hear(ledger, callback(SUCCEED, image()))
    [event, _] = await ledger.events_after(0, limit=10)

    assert (f"{OURS}.{decision.task.version}", EventType.SUBMITTED, NOW + 1) == (event.id, event.type, event.time)
    assert snapshot(decision.task) == event.task


async def test_proof_overturns_a_final_known_by_token_once_and_audibly(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening())
    await hear(ledger, callback(SUCCEED, image()))

    [decision] = await hear(ledger, queried(FAILED, message="risk control"))
    [again] = await hear(ledger, queried(SUCCEED, image()))
    _, conflict, final = await ledger.events_after(0, limit=10)

    assert (Verdict.CONFLICT, TaskState.FAILED) == (decision.verdict, decision.task.state)
    assert (EventType.CONFLICT, "succeeded", "failed") == (conflict.type, conflict.was, conflict.now_is)
    assert EventType.FAILED == final.type
    assert f"{OURS}.{decision.task.version}" == final.id
    assert (Verdict.CONFLICT, TaskState.FAILED) == (again.verdict, again.task.state)


async def test_a_final_in_doubt_is_held_and_asked_about_at_once_even_after_a_restart(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(images_asked=2))

    [decision] = await hear(ledger, callback(SUCCEED, image(), now=NOW + 1))
    ledger = await engine.reopened()
    task = await task_of(ledger)

    assert Verdict.APPLIED is decision.verdict
    assert (TaskState.PROCESSING, SUCCEED, Doubt.INCOMPLETE) == (task.state, task.held, task.doubt)
    assert NOW + 1 == task.doubt_since
    assert NOW + 1 == await ledger.next_query_at(PROVIDER)
    assert [EventType.PROCESSING] == [event.type for event in await ledger.events_after(0, limit=10)]


async def test_a_final_is_held_by_the_rules_of_its_own_account(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(provider=STRICT))

    [decision] = await hear(ledger, callback(SUCCEED, image(), provider=STRICT))

    assert (SUCCEED, Doubt.UNCONFIRMED) == (decision.task.held, decision.task.doubt)


async def test_an_answer_to_our_question_ends_the_doubt(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(images_asked=2))
    await hear(ledger, callback(SUCCEED, image()))

    await hear(ledger, queried(SUCCEED, image(0), image(1, "b")))
    task = await task_of(ledger)

    assert (TaskState.SUCCEEDED, SettledBy.QUERY, Trust.QUERIED) == (task.state, task.settled_by, task.trust)
    assert (None, None, 2) == (task.doubt, task.held, len(task.images))


async def test_every_report_is_counted_with_its_task(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening())
    await hear(ledger, callback(SUBMITTED), callback(SUBMITTED), callback(SUCCEED, image()))
    await hear(ledger, callback(PROCESSING), callback(SUBMITTED), callback(FAILED))

    task = await task_of(ledger)

    assert ReportCounts(applied=2, duplicate=2, stale=1, conflict=1) == task.reports


async def test_a_duplicate_changes_no_version(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening())
    [first] = await hear(ledger, callback(SUBMITTED))

    [again] = await hear(ledger, callback(SUBMITTED))

    assert first.task.version == again.task.version


async def test_a_repeated_report_is_one_row_with_its_count_and_both_moments(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening())
    for later in range(4):
        await hear(ledger, callback(SUBMITTED, now=NOW + later))

    history = await ledger.history(OURS)

    assert history is not None
    [kept] = history.reports
    assert (1, 4, NOW, NOW + 3) == (kept.number, kept.count, kept.first_heard_at, kept.last_heard_at)
    assert (Source.CALLBACK, Trust.TOKEN, Verdict.APPLIED) == (kept.source, kept.trust, kept.verdict)


async def test_a_report_repeated_within_one_batch_has_its_last_moment_too(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening())
    await hear(ledger, *(callback(SUBMITTED, now=NOW + later) for later in range(4)))

    history = await ledger.history(OURS)

    assert history is not None
    [kept] = history.reports
    assert (4, NOW, NOW + 3) == (kept.count, kept.first_heard_at, kept.last_heard_at)


async def test_the_same_fact_by_another_road_is_a_row_of_its_own(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening())
    await hear(ledger, callback(SUBMITTED), answer(SUBMITTED), queried(SUBMITTED))

    history = await ledger.history(OURS)

    assert history is not None
    assert [(1, Source.CALLBACK), (2, Source.ANSWER), (3, Source.QUERY)] == [
        (each.number, each.source) for each in history.reports
    ]


def link(previous: bytes, heard: Heard, verdict: Verdict, number: int) -> bytes:
    """The recipe, written anew: a hash over the predecessor's and what this report says."""
    said = "\0".join((str(number), heard.source, heard.trust, verdict, str(heard.now)))
    return hashlib.sha256(previous + fingerprint(heard.external_task_id, heard.report) + said.encode()).digest()


async def test_the_reports_of_a_task_are_a_chain_that_verifies_link_by_link(engine: Engine) -> None:
    """Across batches, within one, after a restart, and past repetitions, which are no links."""
    ledger = await engine.ledger()
    await ledger.open_task(opening(OURS))
    await ledger.open_task(opening(THEIRS))
    told = [answer(SUBMITTED), callback(SUBMITTED, now=NOW + 1), callback(PROCESSING), callback(SUCCEED, image())]
    decisions = await hear(ledger, told[0], told[1])
    await hear(ledger, told[0], callback(SUBMITTED, task=THEIRS), told[1])
    ledger = await engine.reopened()
    decisions += await hear(ledger, told[2], told[3], told[2])

    history = await ledger.history(OURS)
    expected: list[bytes] = []
    for number, (heard, decision) in enumerate(zip(told, decisions, strict=False), start=1):
        assert decision.verdict is not None
        expected.append(link(expected[-1] if expected else b"", heard, decision.verdict, number))

    assert history is not None
    assert expected == [each.hash for each in history.reports]


async def test_a_callback_revives_what_was_refused_or_expired(engine: Engine) -> None:
    ledger = await engine.ledger()
    opened = await ledger.open_task(opening(OURS))
    await ledger.open_task(opening(THEIRS))
    await ledger.refuse(OURS, "no", fence=opened.fence, now=NOW)
    await ledger.abandon(THEIRS, now=NOW)

    decisions = await hear(ledger, callback(SUCCEED, image()), callback(PROCESSING, task=THEIRS))

    assert [TaskState.SUCCEEDED, TaskState.PROCESSING] == [each.task.state for each in decisions]
    assert await ledger.next_query_at(PROVIDER) is not None


async def test_what_another_url_claimed_keeps_no_answer_from_its_task(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(OURS))
    await ledger.open_task(opening(THEIRS))
    await hear(ledger, answer(SUBMITTED, task=THEIRS))
    await hear(ledger, callback(PROCESSING, task=THEIRS, provider_task_id=f"p-{OURS}"))

    [answered] = await ledger.apply([answer(SUBMITTED)], JUDGE)
    [called] = await ledger.apply([callback(SUCCEED, image(), provider_task_id=f"p-{OURS}")], JUDGE)

    assert isinstance(answered, Decision)
    assert isinstance(called, Decision)
    assert TaskState.SUCCEEDED is (await task_of(ledger, OURS)).state


async def test_an_id_that_was_driven_out_earlier_in_the_batch_belongs_to_nobody(engine: Engine) -> None:
    """A task keeps two ids: the third that is heard drives one out, in a batch as it does alone."""
    ledger = await engine.ledger()
    await ledger.open_task(opening(OURS))
    await ledger.open_task(opening(THEIRS))
    await hear(ledger, answer(task=OURS, provider_task_id="1"), callback(PROCESSING, task=OURS, provider_task_id="3"))

    outcomes = await ledger.apply(
        [
            callback(PROCESSING, task=OURS, provider_task_id="2"),
            callback(SUCCEED, image(), task=THEIRS, provider_task_id="3"),
        ],
        JUDGE,
    )

    assert [Verdict.DUPLICATE, Verdict.APPLIED] == [each.verdict for each in outcomes if isinstance(each, Decision)]
