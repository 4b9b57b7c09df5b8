"""What a question about a silent task leads to."""

from __future__ import annotations

from datetime import timedelta

import pytest

from receiver.pathhealth import PathHealth
from receiver.schedule import LOOK_UP, LOOK_UPS, SENDS, QueryPlan, next_query_at
from receiver.straggler import AnswerKind, Next, Outcome, after_query
from receiver.task import Doubt, Task, TaskState
from receiver.values import replace
from submitter.moments import Moment
from tests.pure.builders import MINUTE, NOW, OURS, SECOND, held, task

PLAN = QueryPlan()
SILENT = task(TaskState.SUBMITTED)
UNANSWERED = task()
ADOPTED = task(TaskState.PROCESSING, adopted=True, endpoint=None)


def _after(
    before: Task,
    kind: AnswerKind,
    *,
    after: timedelta | None = None,
    misses: int = 0,
    missed_since: Moment | None = None,
    sends: int = 1,
) -> tuple[Next, Moment | None]:
    outcome = Outcome(external_task_id=OURS, fence=1, kind=kind, now=NOW, after=after)
    return after_query(before, outcome, PLAN, path=PathHealth(), misses=misses, missed_since=missed_since, sends=sends)


@pytest.mark.parametrize("kind", [AnswerKind.HEARD, AnswerKind.TROUBLE])
def test_a_task_that_is_still_open_is_asked_about_again(kind: AnswerKind) -> None:
    assert (Next.ASK, next_query_at(SILENT, PLAN, path=PathHealth(), now=NOW)) == _after(SILENT, kind)


@pytest.mark.parametrize("kind", [AnswerKind.HEARD, AnswerKind.TROUBLE])
@pytest.mark.parametrize("state", [TaskState.SUCCEEDED, TaskState.FAILED, TaskState.EXPIRED])
def test_a_task_at_rest_is_asked_about_no_more(state: TaskState, kind: AnswerKind) -> None:
    assert (Next.ASK, None) == _after(task(state), kind)


def test_trouble_waits_as_long_as_the_provider_says() -> None:
    _, at = _after(SILENT, AnswerKind.TROUBLE, after=timedelta(minutes=5))

    assert at is not None
    assert at >= NOW + 5 * MINUTE + 25 * SECOND


@pytest.mark.parametrize(("after", "at"), [(None, None), (timedelta(seconds=7), NOW + 7 * SECOND)])
def test_a_question_that_never_left_is_put_when_it_may_be(after: timedelta | None, at: Moment | None) -> None:
    assert (Next.ASK, at) == _after(UNANSWERED, AnswerKind.NOT_ASKED, after=after)


def test_a_question_that_found_nothing_to_ask_by_is_put_once_an_id_was_heard() -> None:
    following, at = _after(SILENT, AnswerKind.NOT_ASKED)

    assert Next.ASK is following
    assert at is not None


def test_an_id_that_was_used_before_we_sent_ours_ends_the_task() -> None:
    assert (Next.END, None) == _after(UNANSWERED, AnswerKind.NOT_OURS)


@pytest.mark.parametrize(
    ("misses", "since", "is_over"),
    [
        (1, 0, False),
        (2, 10 * MINUTE, False),
        (3, 10 * MINUTE - 1, False),
        (3, 10 * MINUTE, True),
        (9, MINUTE, False),
        (9, 60 * MINUTE, True),
    ],
)
@pytest.mark.parametrize("state", [TaskState.SUBMITTED, TaskState.PROCESSING])
def test_task_not_exist_is_final_after_three_answers_over_ten_minutes(
    state: TaskState, misses: int, since: int, is_over: bool
) -> None:
    follows, at = _after(task(state), AnswerKind.NOT_FOUND, misses=misses, missed_since=NOW - since)

    assert (Next.END if is_over else Next.ASK) == follows
    assert is_over == (at is None)


def test_a_miss_that_was_never_dated_ends_nothing() -> None:
    follows, _ = _after(SILENT, AnswerKind.NOT_FOUND, misses=9, missed_since=None)

    assert Next.ASK == follows


@pytest.mark.parametrize("misses", range(1, LOOK_UPS))
def test_an_unanswered_create_is_looked_up_with_backoff(misses: int) -> None:
    expected = LOOK_UP.next_at(OURS, attempt=misses, now=NOW)

    assert (Next.ASK, expected) == _after(UNANSWERED, AnswerKind.NOT_FOUND, misses=misses)


@pytest.mark.parametrize("questions", [1, 3, 9])
def test_a_look_up_in_trouble_is_repeated_as_soon_as_any_look_up(questions: int) -> None:
    """The provider may be well again in a minute, and nobody knows whether there is a task at all."""
    asked = replace(UNANSWERED, queries=questions)

    expected = LOOK_UP.next_at(OURS, attempt=questions - 1, now=NOW)
    assert (Next.ASK, expected) == _after(asked, AnswerKind.TROUBLE)
    assert (Next.ASK, expected + 30 * SECOND) == _after(asked, AnswerKind.TROUBLE, after=timedelta(seconds=30))


def test_a_create_that_is_taken_as_lost_for_good_is_looked_up_as_seldom_as_any_silent_task() -> None:
    asked = replace(UNANSWERED, queries=9)

    expected = next_query_at(asked, PLAN, path=PathHealth(), now=NOW)
    assert (Next.ASK, expected) == _after(asked, AnswerKind.TROUBLE, misses=LOOK_UPS, sends=SENDS)


@pytest.mark.parametrize(("sends", "follows"), [(1, Next.SEND_AGAIN), (2, Next.SEND_AGAIN), (SENDS, Next.ASK)])
def test_a_create_that_is_still_missing_is_sent_again_a_few_times(sends: int, follows: Next) -> None:
    assert follows == _after(UNANSWERED, AnswerKind.NOT_FOUND, misses=LOOK_UPS, sends=sends)[0]


def test_an_unanswered_create_whose_id_is_known_is_never_sent_again() -> None:
    """A callback named it before its status could be read: it exists."""
    known = task(task_id="1")

    for misses in range(1, 20):
        follows, _ = _after(known, AnswerKind.NOT_FOUND, misses=misses, missed_since=NOW)
        assert Next.SEND_AGAIN != follows


@pytest.mark.parametrize("kind", [AnswerKind.HEARD, AnswerKind.TROUBLE, AnswerKind.NOT_ASKED, AnswerKind.NOT_OURS])
@pytest.mark.parametrize("misses", range(LOOK_UPS + 3))
def test_only_an_answer_that_there_is_no_such_task_leads_to_sending_again(kind: AnswerKind, misses: int) -> None:
    assert Next.SEND_AGAIN != _after(UNANSWERED, kind, misses=misses)[0]


@pytest.mark.parametrize("state", [state for state in TaskState if state is not TaskState.PENDING])
@pytest.mark.parametrize("misses", range(LOOK_UPS + 3))
def test_nothing_but_an_unanswered_create_is_sent_again(state: TaskState, misses: int) -> None:
    follows, _ = _after(task(state), AnswerKind.NOT_FOUND, misses=misses, missed_since=NOW - 60 * MINUTE)

    assert Next.SEND_AGAIN != follows


@pytest.mark.parametrize(("misses", "at"), [(1, NOW), (2, None), (3, None)])
def test_an_adopted_task_is_asked_for_at_each_endpoint_once(misses: int, at: Moment | None) -> None:
    assert (Next.ASK, at) == _after(ADOPTED, AnswerKind.NOT_FOUND, misses=misses)


@pytest.mark.parametrize(("asked", "is_asked_again"), [(1, True), (2, True), (3, False)])
def test_a_settled_task_that_is_not_found_stays_settled(asked: int, is_asked_again: bool) -> None:
    doubtful = task(TaskState.SUCCEEDED, doubt=Doubt.OPPOSITE_FINALS, doubt_queries=asked)

    follows, at = _after(doubtful, AnswerKind.NOT_FOUND, misses=9, missed_since=NOW - 60 * MINUTE)

    assert (Next.ASK, is_asked_again) == (follows, at is not None)


def test_a_held_claim_is_asked_about_by_the_spacing_of_doubts() -> None:
    assert (Next.ASK, NOW + 20 * SECOND) == _after(held(doubt_queries=1), AnswerKind.TROUBLE)
