"""What is asked in one request, what waits for company, and when a list is left alone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.listing import (
    COMPANY,
    IDLE_PAGES,
    MOST_PAGES,
    Due,
    Listing,
    Round,
    Shape,
    Sharing,
    Together,
    after_page,
    before_page,
    choose,
    without_page,
)
from submitter.providers.base import MOST_IN_BATCH, MOST_LISTED
from tests.pure.builders import HOUR, MINUTE, NOW, SECOND

OMNI = "omni-image"
PATIENCE = timedelta(seconds=10)
LIST = Sharing(has_list=True, has_batch=False, patience=PATIENCE)
BATCH = Sharing(has_list=False, has_batch=True, patience=PATIENCE)
BOTH = Sharing(has_list=True, has_batch=True, patience=PATIENCE)
NEITHER = Sharing(has_list=False, has_batch=False, patience=PATIENCE)


def due(count: int, *, first: int = 0, endpoint: str | None = OMNI, rank: int | None = 0, **more: bool) -> list[Due]:
    """Tasks that are due, one after the other in the list from this rank on."""
    return [
        Due(
            key=first + each,
            endpoint=endpoint,
            fits_page=more.get("fits_page", True),
            fits_batch=more.get("fits_batch", True),
            rank=None if rank is None else rank + each,
        )
        for each in range(count)
    ]


def chosen(
    tasks: list[Due], sharing: Sharing = LIST, listings: Mapping[str, Listing] | None = None, *, soon: int = 0
) -> Round:
    return choose(tasks, sharing, listings or {}, soon=soon, now=NOW)


def page(number: int, endpoint: str = OMNI) -> Together:
    return Together(shape=Shape.PAGE, endpoint=endpoint, page=number)


def asked(number: int, *, ago: int) -> dict[str, Listing]:
    return {OMNI: before_page(Listing(), page=number, now=NOW - ago)}


def test_a_lone_task_is_asked_about_by_itself() -> None:
    assert Round(keys=[0]) == chosen(due(1), BOTH)


def test_two_on_one_page_are_asked_about_together() -> None:
    assert Round(keys=[0, 1], together=page(1)) == chosen(due(2))


@pytest.mark.parametrize("count", [1, 2, 30])
def test_without_a_list_or_batches_each_is_asked_about_by_itself(count: int) -> None:
    assert Round(keys=list(range(count))) == chosen(due(count), NEITHER)


def test_the_page_that_has_most_of_what_is_due_comes_first() -> None:
    tasks = [*due(3, rank=0), *due(5, first=10, rank=MOST_LISTED), *due(4, first=20, endpoint="generations")]

    assert Round(keys=[10, 11, 12, 13, 14], together=page(2)) == chosen(tasks)


def test_entries_that_are_not_ours_push_a_task_further_down() -> None:
    stretched = {OMNI: Listing(stretch=3.0)}

    assert page(2) == chosen(due(2, rank=MOST_LISTED // 3 + 1), LIST, stretched).together


@pytest.mark.parametrize(
    "tasks",
    [due(5, rank=None), due(5, endpoint=None), due(5, fits_page=False), due(5, rank=MOST_PAGES * MOST_LISTED)],
    ids=["beyond looking for", "of an unknown endpoint", "not shown by a page", "too far down"],
)
def test_what_no_page_would_show_is_asked_about_by_itself(tasks: list[Due]) -> None:
    assert Round(keys=[0, 1, 2, 3, 4]) == chosen(tasks)


def test_what_is_due_shortly_after_its_page_was_asked_waits_for_company() -> None:
    assert Round(keys=[]) == chosen(due(1), LIST, asked(1, ago=9 * SECOND), soon=COMPANY - 1)
    assert page(1) == chosen(due(1), LIST, asked(1, ago=10 * SECOND), soon=COMPANY - 1).together


def test_what_was_asked_before_the_clock_was_set_back_keeps_nothing_waiting() -> None:
    hours_ahead = {OMNI: before_page(Listing(), page=1, now=NOW + HOUR)}
    batches_ahead = {"": before_page(Listing(), page=0, now=NOW + HOUR)}

    assert page(1) == chosen(due(COMPANY), LIST, hours_ahead).together
    assert Together(shape=Shape.BATCH) == chosen(due(COMPANY), BATCH, batches_ahead).together


def test_a_task_that_expects_no_company_waits_for_none() -> None:
    assert Round(keys=[0]) == chosen(due(1), LIST, asked(1, ago=SECOND), soon=COMPANY - 2)


def test_another_page_is_not_held_up() -> None:
    assert page(2) == chosen(due(6, rank=MOST_LISTED), LIST, asked(1, ago=SECOND)).together


def test_a_batch_takes_twenty_of_whatever_endpoint() -> None:
    tasks = [*due(15), *due(15, first=15, endpoint=None, rank=None)]

    assert Round(keys=list(range(MOST_IN_BATCH)), together=Together(shape=Shape.BATCH)) == chosen(tasks, BATCH)


@pytest.mark.parametrize(("count", "shape"), [(MOST_IN_BATCH - 1, Shape.PAGE), (MOST_IN_BATCH + 1, Shape.PAGE)])
def test_of_a_page_and_a_batch_the_one_that_covers_more_is_asked(count: int, shape: Shape) -> None:
    together = chosen(due(count), BOTH).together

    assert together is not None
    assert shape is together.shape


def test_what_is_scattered_over_pages_makes_a_batch() -> None:
    tasks = [each for place in range(5) for each in due(1, first=place, rank=place * MOST_LISTED)]

    assert Together(shape=Shape.BATCH) == chosen(tasks, BOTH).together


def test_a_batch_that_is_not_full_waits_for_company_but_a_full_one_does_not() -> None:
    just_asked = {"": before_page(Listing(), page=0, now=NOW - SECOND)}

    assert Round(keys=[]) == chosen(due(5), BATCH, just_asked)
    assert Together(shape=Shape.BATCH) == chosen(due(MOST_IN_BATCH), BATCH, just_asked).together


def test_what_a_batch_did_not_show_is_asked_about_by_itself() -> None:
    assert Round(keys=[0, 1, 2]) == chosen(due(3, fits_batch=False), BATCH)


def test_a_list_that_brings_nothing_three_times_is_left_alone_ever_longer_until_it_pays() -> None:
    listing = Listing()
    rests = []
    for _ in range(IDLE_PAGES + 8):
        listing = after_page(OMNI, listing, brought=1, ours=5, listed=500, now=NOW)
        rests.append(listing.resumes_at - NOW if listing.resumes_at else 0)
    paid = after_page(OMNI, listing, brought=2, ours=5, listed=500, now=NOW)

    assert [0] * (IDLE_PAGES - 1) == rests[: IDLE_PAGES - 1]
    assert 10 * MINUTE <= rests[IDLE_PAGES - 1] <= 11 * MINUTE
    assert 6 * HOUR <= rests[-1] <= 6.6 * HOUR
    assert 0 == paid.idle


def test_a_list_that_is_none_is_left_alone_at_once() -> None:
    listing = without_page(OMNI, Listing(), now=NOW)

    assert Round(keys=[0, 1, 2]) == choose(due(3), LIST, {OMNI: listing}, soon=0, now=NOW)
    assert page(1) == choose(due(3), LIST, {OMNI: listing}, soon=0, now=NOW + 11 * MINUTE).together


def test_how_many_entries_there_are_for_each_of_ours_is_learned_from_the_page() -> None:
    listing = after_page(OMNI, Listing(), brought=9, ours=100, listed=400, now=NOW)

    assert 4.0 == listing.stretch
    assert 4.0 == after_page(OMNI, listing, brought=9, ours=0, listed=400, now=NOW).stretch


@given(
    ranks=st.lists(st.none() | st.integers(0, 6_000), max_size=60),
    flags=st.integers(0, 3),
    soon=st.integers(0, 5),
    ago=st.integers(0, 20_000),
    sharing=st.sampled_from([LIST, BATCH, BOTH, NEITHER]),
)
def test_a_round_is_of_tasks_that_are_due_once_each_and_as_many_as_a_request_holds(
    ranks: list[int | None], flags: int, soon: int, ago: int, sharing: Sharing
) -> None:
    tasks = [
        Due(key=key, endpoint=OMNI, fits_page=flags < 2, fits_batch=flags % 2 == 0, rank=rank)
        for key, rank in enumerate(ranks)
    ]

    round_ = choose(tasks, sharing, asked(1, ago=ago), soon=soon, now=NOW)

    assert len(set(round_.keys)) == len(round_.keys)
    assert set(round_.keys) <= {each.key for each in tasks}
    if round_.together is not None:
        assert 1 <= len(round_.keys) <= (MOST_IN_BATCH if round_.together.shape is Shape.BATCH else MOST_LISTED)
    else:
        waiting = {each.key for each in tasks} - set(round_.keys)
        assert not waiting or ago < 10_000 or sharing is BATCH
