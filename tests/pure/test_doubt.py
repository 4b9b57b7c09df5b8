"""Doubt: which finals are held, what answers them, and what becomes of those that nobody answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from receiver.eventtype import EventType
from receiver.lifecycle import HELD_FOR, expire, overdue
from receiver.task import Doubt, SettledBy, Source, Task, TaskState, Verdict
from submitter.moments import millis
from submitter.providers import Trust
from submitter.report import ReportedStatus
from tests.pure.builders import (
    A_SIGNED_ANEW,
    DOUBTING,
    FAILED,
    ID,
    MINUTE,
    NEVER,
    NOW,
    PROCESSING,
    SAME_IDS,
    SUBMITTED,
    SUCCEED,
    TERMINAL,
    UPSTREAM,
    A,
    B,
    News,
    Rules,
    callback,
    create_answer,
    hear,
    held,
    image,
    known_image,
    queried,
    signed,
    task,
)

BEFORE_FINALS = [TaskState.PENDING, TaskState.SUBMITTED, TaskState.PROCESSING, TaskState.REFUSED, TaskState.EXPIRED]

# Each reason to doubt, with a claim that deserves it and the rules under which it does.
DOUBTFUL = {
    Doubt.INCOMPLETE: (callback(SUCCEED), DOUBTING),
    Doubt.SERIES: (callback(SUCCEED, image(0, A), is_series=True), DOUBTING),
    Doubt.FOREIGN_ID: (callback(SUCCEED, image(0, A), provider_task_id=UPSTREAM), SAME_IDS),
    Doubt.UNCONFIRMED: (callback(SUCCEED, image(0, A)), TERMINAL),
}


@pytest.mark.parametrize("state", BEFORE_FINALS)
@pytest.mark.parametrize("doubt", DOUBTFUL)
def test_a_success_in_doubt_is_held_and_asked_about(doubt: Doubt, state: TaskState) -> None:
    """Verdict applied, state PROCESSING, no final event until a query answers."""
    news, rules = DOUBTFUL[doubt]
    before = task(state, task_id=ID, task_id_source=Source.ANSWER)

    decision = hear(before, news, rules=rules)

    after = decision.task
    assert (Verdict.APPLIED, TaskState.PROCESSING, SUCCEED) == (decision.verdict, after.state, after.held)
    assert (doubt, NOW, True) == (after.doubt, after.doubt_since, decision.ask_now)
    assert {EventType.PROCESSING} >= {event.type for event in decision.events}
    assert (None, None) == (after.settled_at, after.settled_by)


@pytest.mark.parametrize("asked", [None, 1, 4])
@pytest.mark.parametrize("news", [callback(SUCCEED, image(0, A)), signed(SUCCEED, image(0, A))])
def test_a_series_is_in_doubt_though_its_callback_does_not_say_that_it_is_one(news: News, asked: int | None) -> None:
    """Only `images` is documented there (wire.md §4), and of a series of `auto` nobody knows how many there are."""
    decision = hear(task(TaskState.SUBMITTED, images_asked=asked, is_series=True), news)

    assert (Doubt.SERIES, SUCCEED, True) == (decision.task.doubt, decision.task.held, decision.ask_now)


@pytest.mark.parametrize("doubt", DOUBTFUL)
def test_nothing_is_held_where_nothing_is_to_be_confirmed(doubt: Doubt) -> None:
    news, rules = DOUBTFUL[doubt]
    never = Rules(confirm="never", callback_id_is_task_id=rules.callback_id_is_task_id)

    decision = hear(task(TaskState.PROCESSING), news, rules=never)

    assert (TaskState.SUCCEEDED, None, False) == (decision.task.state, decision.task.doubt, decision.ask_now)


def test_a_success_after_opposite_finals_is_held() -> None:
    before = held(Doubt.OPPOSITE_FINALS, held=None)

    decision = hear(before, callback(SUCCEED, image(0, A)))

    assert (SUCCEED, Doubt.OPPOSITE_FINALS) == (decision.task.held, decision.task.doubt)


@pytest.mark.parametrize(("asked", "images", "is_held"), [(1, 0, True), (1, 1, False), (2, 1, True), (2, 2, False)])
def test_a_success_is_complete_with_as_many_images_as_were_asked(asked: int, images: int, is_held: bool) -> None:
    said = [image(0, A), image(1, B)][:images]

    after = hear(task(TaskState.SUBMITTED, images_asked=asked), callback(SUCCEED, *said)).task

    assert is_held == (after.held is not None)


def test_a_success_without_images_is_incomplete_where_nobody_knows_how_many_were_asked() -> None:
    after = hear(task(images_asked=None), callback(SUCCEED)).task

    assert (SUCCEED, Doubt.INCOMPLETE) == (after.held, after.doubt)


@pytest.mark.parametrize("rules", [DOUBTING, NEVER])
def test_a_success_lacks_the_marked_copies_that_were_asked_for(rules: Rules) -> None:
    asking = task(TaskState.SUBMITTED, asks_watermark=True)
    bare = hear(asking, callback(SUCCEED, image(0, A)), rules=rules).task
    marked = hear(asking, callback(SUCCEED, replace(image(0, A), watermark_url=B)), rules=rules).task

    assert (SUCCEED if rules is DOUBTING else None) == bare.held
    assert TaskState.SUCCEEDED is marked.state


def test_an_answer_without_marked_copies_is_the_last_word_on_them() -> None:
    waiting = hear(task(TaskState.SUBMITTED, asks_watermark=True), callback(SUCCEED, image(0, A))).task
    after = hear(waiting, queried(SUCCEED, image(0, A))).task

    assert (TaskState.SUCCEEDED, None) == (after.state, after.doubt)


def test_a_failure_needs_no_images_to_be_believed() -> None:
    after = hear(task(TaskState.SUBMITTED), callback(FAILED)).task

    assert (TaskState.FAILED, None) == (after.state, after.doubt)


def test_under_terminal_a_failure_is_held_too() -> None:
    after = hear(task(TaskState.SUBMITTED), callback(FAILED), rules=TERMINAL).task

    assert (TaskState.PROCESSING, FAILED) == (after.state, after.held)


@pytest.mark.parametrize("rules", [DOUBTING, TERMINAL])
def test_a_held_success_completed_by_a_second_callback_is_believed_only_where_completeness_was_the_doubt(
    rules: Rules,
) -> None:
    waiting = hear(task(TaskState.SUBMITTED, images_asked=2), callback(SUCCEED, image(0, A)), rules=rules).task

    decision = hear(waiting, callback(SUCCEED, image(0, A), image(1, B)), rules=rules)

    assert (TaskState.SUCCEEDED if rules is DOUBTING else TaskState.PROCESSING) == decision.task.state
    assert [0, 1] == [each.index for each in decision.task.images]


def test_a_failure_after_a_held_success_is_a_conflict_and_the_claim_goes_on_waiting() -> None:
    decision = hear(held(), callback(FAILED))

    after = decision.task
    assert (Verdict.CONFLICT, TaskState.PROCESSING, SUCCEED) == (decision.verdict, after.state, after.held)
    assert (Doubt.OPPOSITE_FINALS, True, ()) == (after.doubt, decision.ask_now, decision.events)


# --- answered


@pytest.mark.parametrize("doubt", Doubt)
@pytest.mark.parametrize(("status", "state"), [(SUCCEED, TaskState.SUCCEEDED), (FAILED, TaskState.FAILED)])
def test_a_query_s_final_ends_every_doubt(doubt: Doubt, status: ReportedStatus, state: TaskState) -> None:
    decision = hear(held(doubt), queried(status), heard_before=Trust.TOKEN, rules=TERMINAL)

    after = decision.task
    assert (Verdict.APPLIED, state, None, None, None) == (
        decision.verdict,
        after.state,
        after.held,
        after.doubt,
        after.doubt_since,
    )
    assert (SettledBy.QUERY, Trust.QUERIED) == (after.settled_by, after.trust)
    assert [f"task.{state}"] == [event.type for event in decision.events]


@pytest.mark.parametrize("status", [SUBMITTED, PROCESSING])
def test_a_claim_that_a_query_refutes_is_dropped_with_its_images(status: ReportedStatus) -> None:
    waiting = held(images=(known_image(0),))

    after = hear(waiting, queried(status)).task

    assert (TaskState.PROCESSING, None, None, ()) == (after.state, after.held, after.doubt, after.images)


def test_a_query_that_fails_the_task_drops_the_images_of_the_claim() -> None:
    after = hear(held(images=(known_image(0),)), queried(FAILED)).task

    assert (TaskState.FAILED, ()) == (after.state, after.images)


def test_proven_images_outlive_a_refuted_claim() -> None:
    after = hear(held(images=(known_image(0),), images_proven=True), queried(PROCESSING)).task

    assert (known_image(0),) == after.images


@pytest.mark.parametrize("status", [SUBMITTED, PROCESSING])
def test_a_query_refutes_a_claim_though_it_said_the_same_before_the_claim(status: ReportedStatus) -> None:
    """The same words answer another question now: `still processing` is news about the claim."""
    decision = hear(held(images=(known_image(0),)), queried(status), heard_before=Trust.QUERIED)

    assert (None, None, ()) == (decision.task.held, decision.task.doubt, decision.task.images)


@pytest.mark.parametrize("claim", [callback(SUCCEED), callback(SUCCEED, image(0, A), is_series=True)])
def test_the_create_s_own_answer_refutes_no_claim(claim: News) -> None:
    """A callback may overtake the create's answer (wire.md §4): that answer speaks of the time before."""
    waiting = hear(task(), claim).task

    after = hear(waiting, create_answer(SUBMITTED)).task

    assert (SUCCEED, waiting.doubt, waiting.images) == (after.held, after.doubt, after.images)


@pytest.mark.parametrize("late", [callback(PROCESSING), callback(SUBMITTED), signed(PROCESSING), signed(SUBMITTED)])
def test_a_callback_that_comes_late_refutes_no_claim(late: News) -> None:
    """Held until a *query* answers: callbacks come in any order, signed ones too."""
    waiting = held(images=(known_image(0),))

    after = hear(waiting, late).task

    assert (SUCCEED, Doubt.INCOMPLETE, waiting.images) == (after.held, after.doubt, after.images)


def test_an_unknown_word_answers_no_doubt() -> None:
    """Kept raw and stale: it says neither that the claim is true nor that it is not."""
    waiting = held(images=(known_image(0),))

    after = hear(waiting, queried("under_review")).task

    assert (SUCCEED, Doubt.INCOMPLETE, waiting.images) == (after.held, after.doubt, after.images)


@pytest.mark.parametrize(
    "news", [signed(SUCCEED), signed(SUCCEED, image(0, A), is_series=True), signed(SUCCEED, image(0, A))]
)
def test_a_signed_success_that_lacks_images_is_held_like_any_other(news: News) -> None:
    """A signature proves who says it, not that it is all: callbacks carry part of the result (wire.md §4)."""
    decision = hear(task(TaskState.SUBMITTED, images_asked=2), news)

    assert (TaskState.PROCESSING, SUCCEED, True) == (decision.task.state, decision.task.held, decision.ask_now)


# --- other images


def test_two_successes_by_token_that_show_different_images_are_in_doubt() -> None:
    """One of them is forged, and nobody but the provider can say which."""
    before = task(TaskState.SUCCEEDED)

    decision = hear(before, callback(SUCCEED, image(0, B)))

    assert (Doubt.OTHER_IMAGES, True, ()) == (decision.task.doubt, decision.ask_now, decision.events)
    assert (Verdict.STALE, before.images) == (decision.verdict, decision.task.images)


@pytest.mark.parametrize(
    ("before", "news", "rules"),
    [
        (task(TaskState.SUCCEEDED), callback(SUCCEED, image(0, A_SIGNED_ANEW)), DOUBTING),
        (task(TaskState.SUCCEEDED), callback(SUCCEED, image(1, B)), DOUBTING),
        (task(TaskState.SUCCEEDED), callback(SUCCEED), DOUBTING),
        (task(TaskState.SUCCEEDED), callback(SUCCEED, image(0, B)), NEVER),
        (task(TaskState.SUCCEEDED, trust=Trust.QUERIED), callback(SUCCEED, image(0, B)), DOUBTING),
    ],
)
def test_the_same_images_and_proven_ones_are_not(before: Task, news: News, rules: Rules) -> None:
    assert hear(before, news, rules=rules).task.doubt is None


def test_a_query_that_shows_the_other_images_overturns_audibly() -> None:
    doubtful = hear(task(TaskState.SUCCEEDED), callback(SUCCEED, image(0, B))).task

    decision = hear(doubtful, queried(SUCCEED, image(0, B)), heard_before=Trust.TOKEN)

    assert [EventType.CONFLICT, EventType.SUCCEEDED] == [event.type for event in decision.events]
    assert (None, [B]) == (decision.task.doubt, [each.url for each in decision.task.images])


def test_a_query_that_shows_the_known_images_ends_the_doubt_in_silence() -> None:
    doubtful = hear(task(TaskState.SUCCEEDED), callback(SUCCEED, image(0, B))).task

    decision = hear(doubtful, queried(SUCCEED, image(0, A)), heard_before=Trust.TOKEN)

    assert (None, Trust.QUERIED, ()) == (decision.task.doubt, decision.task.trust, decision.events)


# --- not answered


@pytest.mark.parametrize("doubt", Doubt)
def test_after_fifteen_minutes_without_an_answer_a_task_settles_on_what_was_heard(doubt: Doubt) -> None:
    decision = overdue(held(doubt), rules=DOUBTING, now=NOW + millis(HELD_FOR))

    assert decision is not None
    after = decision.task
    assert (TaskState.SUCCEEDED, SettledBy.CALLBACK, Trust.TOKEN) == (after.state, after.settled_by, after.trust)
    assert (None, None) == (after.held, after.doubt)
    assert [EventType.SUCCEEDED] == [event.type for event in decision.events]


def test_a_signed_claim_is_released_as_signed() -> None:
    waiting = hear(task(TaskState.SUBMITTED), signed(SUCCEED)).task

    decision = overdue(waiting, rules=DOUBTING, now=NOW + 15 * MINUTE)

    assert decision is not None
    assert (TaskState.SUCCEEDED, Trust.SIGNED) == (decision.task.state, decision.task.trust)


def test_a_held_failure_is_released_as_a_failure() -> None:
    decision = overdue(held(held=FAILED), rules=DOUBTING, now=NOW + 15 * MINUTE)

    assert decision is not None
    assert TaskState.FAILED == decision.task.state


def test_a_held_task_is_not_released_a_millisecond_early() -> None:
    assert overdue(held(), rules=DOUBTING, now=NOW + 15 * MINUTE - 1) is None


def test_under_terminal_a_held_task_waits_for_the_deadline_and_then_expires() -> None:
    waiting = held(Doubt.UNCONFIRMED)

    late = overdue(waiting, rules=TERMINAL, now=waiting.deadline_at - 1)
    over = overdue(waiting, rules=TERMINAL, now=waiting.deadline_at)

    assert late is None
    assert over is not None
    assert (TaskState.EXPIRED, None, None) == (over.task.state, over.task.held, over.task.doubt)


def test_a_released_claim_may_still_be_overturned() -> None:
    released = overdue(held(), rules=DOUBTING, now=NOW + 15 * MINUTE)
    assert released is not None

    decision = hear(released.task, queried(FAILED))

    assert [EventType.CONFLICT, EventType.FAILED] == [event.type for event in decision.events]


def test_a_doubt_without_a_claim_releases_nothing() -> None:
    doubtful = held(Doubt.FOREIGN_ID, held=None)

    assert overdue(doubtful, rules=DOUBTING, now=NOW + 15 * MINUTE) is None


def test_a_second_doubt_does_not_hold_a_claim_any_longer() -> None:
    waiting = held(Doubt.INCOMPLETE)

    after = hear(waiting, callback(FAILED), now=NOW + 14 * MINUTE).task

    assert NOW == after.doubt_since


def test_a_claim_is_held_for_fifteen_minutes_of_its_own_whatever_was_in_doubt_before() -> None:
    """Else a success heard late in an older doubt is believed before anybody asked about it."""
    doubtful = hear(
        task(TaskState.SUBMITTED), callback(PROCESSING, provider_task_id=UPSTREAM), rules=SAME_IDS, now=NOW
    ).task
    assert NOW == doubtful.doubt_since

    waiting = hear(
        doubtful, callback(SUCCEED, image(0, A), provider_task_id=UPSTREAM), rules=SAME_IDS, now=NOW + 20 * MINUTE
    ).task

    assert SUCCEED == waiting.held
    assert overdue(waiting, rules=SAME_IDS, now=NOW + 20 * MINUTE) is None


# --- foreign ids


@pytest.mark.parametrize("state", [TaskState.SUBMITTED, TaskState.PROCESSING])
def test_a_foreign_id_is_doubted_where_the_two_should_be_one(state: TaskState) -> None:
    decision = hear(task(state), callback(PROCESSING, provider_task_id=UPSTREAM), rules=SAME_IDS)

    assert (Doubt.FOREIGN_ID, True) == (decision.task.doubt, decision.ask_now)


@pytest.mark.parametrize(
    ("before", "said", "rules"),
    [
        (task(TaskState.SUBMITTED), UPSTREAM, DOUBTING),
        (task(TaskState.SUBMITTED), ID, SAME_IDS),
        (task(TaskState.SUBMITTED), None, SAME_IDS),
        (task(TaskState.PENDING), UPSTREAM, SAME_IDS),
        (task(TaskState.SUBMITTED, task_id_source=Source.CALLBACK), UPSTREAM, SAME_IDS),
        (task(TaskState.SUBMITTED), UPSTREAM, NEVER),
    ],
)
def test_another_id_alone_is_no_reason_to_doubt(before: Task, said: str | None, rules: Rules) -> None:
    after = hear(before, callback(PROCESSING, provider_task_id=said), rules=rules).task

    assert after.doubt is None


def test_expiry_ends_doubt_too() -> None:
    expired = expire(held(), "gone", now=NOW).task

    assert (None, None, None) == (expired.held, expired.doubt, expired.doubt_since)
