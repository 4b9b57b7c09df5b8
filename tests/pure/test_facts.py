"""Facts merge whatever the verdict: ids, images, units, times."""

from __future__ import annotations

from itertools import permutations

import pytest

from receiver.task import Source, TaskState
from submitter.providers import Trust
from submitter.report import ReportedStatus
from tests.pure.builders import (
    A_MARKED,
    A_SIGNED_ANEW,
    FAILED,
    ID,
    PROCESSING,
    SUBMITTED,
    SUCCEED,
    UPSTREAM,
    A,
    B,
    C,
    News,
    callback,
    create_answer,
    hear,
    image,
    known_image,
    queried,
    signed,
    task,
)

# --- ids


def test_a_callback_s_id_fills_an_empty_place() -> None:
    after = hear(task(), callback(SUBMITTED, provider_task_id=UPSTREAM)).task

    assert (UPSTREAM, None) == (after.task_id, after.upstream_task_id)


def test_the_create_answer_s_id_replaces_a_callback_s_which_becomes_the_upstream_s() -> None:
    early = hear(task(), callback(SUBMITTED, provider_task_id=UPSTREAM)).task

    after = hear(early, create_answer(SUBMITTED)).task

    assert (ID, UPSTREAM) == (after.task_id, after.upstream_task_id)


def test_another_id_heard_by_callback_is_kept_as_the_upstream_s() -> None:
    after = hear(task(TaskState.SUBMITTED), callback(PROCESSING, provider_task_id=UPSTREAM)).task

    assert (ID, UPSTREAM) == (after.task_id, after.upstream_task_id)


def test_a_query_s_id_replaces_a_callback_s_but_not_the_create_s() -> None:
    by_callback = task(TaskState.SUBMITTED, task_id=UPSTREAM, task_id_source=Source.CALLBACK)
    by_answer = task(TaskState.SUBMITTED)

    asked = [hear(each, queried(PROCESSING, provider_task_id="queried")).task for each in (by_callback, by_answer)]

    assert [("queried", UPSTREAM), (ID, "queried")] == [(each.task_id, each.upstream_task_id) for each in asked]


def test_a_report_without_an_id_changes_none() -> None:
    before = task(TaskState.SUBMITTED)

    after = hear(before, callback(PROCESSING, provider_task_id=None)).task

    assert (ID, None, Source.ANSWER) == (after.task_id, after.upstream_task_id, after.task_id_source)


def test_an_id_confirmed_by_the_create_answer_is_not_replaced_by_a_query() -> None:
    early = hear(task(), callback(SUBMITTED, provider_task_id="9")).task
    confirmed = hear(early, create_answer(SUBMITTED, provider_task_id="9"), heard_before=Trust.TOKEN).task

    after = hear(confirmed, queried(PROCESSING, provider_task_id="1")).task

    assert "9" == after.task_id


@pytest.mark.parametrize("order", list(permutations([("3", callback), ("1", queried), ("2", create_answer)])))
def test_ids_are_ranked_by_their_road_in_any_order(order: tuple) -> None:
    after = task()
    for said, road in order:
        after = hear(after, road(SUBMITTED, provider_task_id=said)).task

    assert ("2", "1") == (after.task_id, after.upstream_task_id)


@pytest.mark.parametrize("status", [*ReportedStatus, "under_review"])
@pytest.mark.parametrize("state", TaskState)
def test_an_id_is_learned_whatever_the_verdict(state: TaskState, status: ReportedStatus | str) -> None:
    before = task(state, task_id=None, task_id_source=None)

    after = hear(before, callback(status, provider_task_id=UPSTREAM)).task

    assert UPSTREAM == after.task_id


# --- images


def _images(news: list[News], **changes: object) -> list[tuple[int, str, str | None]]:
    after = task(TaskState.SUBMITTED, **changes)
    for each in news:
        after = hear(after, each).task
    return [(each.index, each.url, each.watermark_url) for each in after.images]


def test_images_merge_by_index_in_the_order_of_their_index() -> None:
    merged = _images([callback(SUCCEED, image(1, B)), callback(SUCCEED, image(0, A))], images_asked=2)

    assert [(0, A, None), (1, B, None)] == merged


def test_a_watermarked_copy_that_came_later_is_added() -> None:
    merged = _images([callback(SUCCEED, image(0, A)), callback(SUCCEED, image(0, A, A_MARKED))])

    assert [(0, A, A_MARKED)] == merged


def test_a_watermarked_copy_that_came_first_stays() -> None:
    merged = _images([callback(SUCCEED, image(0, A, A_MARKED)), callback(SUCCEED, image(0, A))])

    assert [(0, A, A_MARKED)] == merged


@pytest.mark.parametrize("known_by", Trust)
def test_a_success_with_other_urls_by_callback_is_stale(known_by: Trust) -> None:
    before = task(TaskState.SUCCEEDED, trust=known_by, images_proven=known_by.is_proof)

    decision = hear(before, callback(SUCCEED, image(0, B)))

    assert ("stale", before.images) == (decision.verdict, decision.task.images)


def test_a_success_with_other_urls_by_query_replaces_them() -> None:
    decision = hear(task(TaskState.SUCCEEDED), queried(SUCCEED, image(0, B)))

    assert ("applied", (known_image(0, B),)) == (decision.verdict, decision.task.images)


def test_a_signed_success_with_other_urls_replaces_none_that_were_queried() -> None:
    """`stale, unless queried`: a signed callback carries less than a query, not more."""
    before = task(TaskState.SUCCEEDED, trust=Trust.QUERIED, images_proven=True, images_asked=None)

    decision = hear(before, signed(SUCCEED, image(0, B)))

    assert ("stale", before.images) == (decision.verdict, decision.task.images)


def test_a_signed_callback_takes_away_no_watermark_that_a_query_told() -> None:
    merged = _images([queried(SUCCEED, image(0, A, A_MARKED)), signed(SUCCEED, image(0, A))])

    assert [(0, A, A_MARKED)] == merged


def test_a_signed_callback_takes_away_no_image_of_a_series_that_a_query_told() -> None:
    merged = _images(
        [queried(SUCCEED, image(0, A), image(1, B), is_series=True), signed(SUCCEED, image(0, A), is_series=True)],
        images_asked=None,
    )

    assert [(0, A, None), (1, B, None)] == merged


def test_an_image_signed_anew_by_a_query_keeps_our_copy_of_it() -> None:
    before = task(TaskState.SUCCEEDED, images=(known_image(0, A, archived="file:///images/a.png"),))

    after = hear(before, queried(SUCCEED, image(0, A_SIGNED_ANEW))).task

    assert (known_image(0, A_SIGNED_ANEW, archived="file:///images/a.png"),) == after.images


def test_another_image_in_its_place_has_no_copy_of_ours() -> None:
    before = task(TaskState.SUCCEEDED, images=(known_image(0, A, archived="file:///images/a.png"),))

    after = hear(before, queried(SUCCEED, image(0, B))).task

    assert (known_image(0, B),) == after.images


def test_a_callback_by_token_adds_no_image_once_a_query_has_told() -> None:
    """Not even where the query told of fewer than were asked for: the place might be filled by a forger."""
    merged = _images([queried(SUCCEED, image(0, A)), callback(SUCCEED, image(1, B), image(2, C))], images_asked=2)

    assert [(0, A, None)] == merged


@pytest.mark.parametrize("news", [callback(FAILED, image(0, B)), queried(PROCESSING), callback(PROCESSING)])
def test_a_settled_success_keeps_its_images_whatever_a_weaker_word_says(news: News) -> None:
    before = task(TaskState.SUCCEEDED, trust=Trust.QUERIED, images_proven=True)

    after = hear(before, news).task

    assert before.images == after.images


# --- units and times


def test_the_first_units_told_stay() -> None:
    first = hear(task(), callback(SUCCEED, image(0, A), unit_deduction="8")).task

    second = hear(first, callback(SUCCEED, image(0, A), unit_deduction="9"), heard_before=Trust.TOKEN).task

    assert "8" == second.unit_deduction


def test_the_first_balance_told_stays_and_one_that_comes_later_is_learned() -> None:
    silent = hear(task(), callback(SUCCEED, image(0, A))).task

    first = hear(silent, queried(SUCCEED, image(0, A), balance_deduction='{"quota":"1"}')).task
    second = hear(first, queried(SUCCEED, image(0, A), balance_deduction='{"quota":"2"}')).task

    assert (None, '{"quota":"1"}', '{"quota":"1"}') == tuple(each.balance_deduction for each in (silent, first, second))


def test_units_told_by_a_duplicate_are_learned() -> None:
    first = hear(task(), callback(SUCCEED, image(0, A))).task

    second = hear(first, callback(SUCCEED, image(0, A), unit_deduction="8"), heard_before=Trust.TOKEN)

    assert ("duplicate", "8", first.version + 1) == (
        second.verdict,
        second.task.unit_deduction,
        second.task.version,
    )
