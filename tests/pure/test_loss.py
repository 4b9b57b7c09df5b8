"""What is believed of the share of callbacks that is lost: few misses are chance, many are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.loss import believed_loss

COUNTS = st.floats(0, 1_500)


def test_before_anything_is_known_a_path_is_likely_to_lose_about_one_in_a_hundred_and_may_lose_more() -> None:
    assert 0.01 < believed_loss(found=0, called=0) < 0.15


@pytest.mark.parametrize("found", [1, 2, 4, 6])
def test_a_few_misses_among_the_first_tasks_are_taken_for_chance(found: int) -> None:
    assert 0.01 < believed_loss(found=found, called=200 - found) < 0.04


@pytest.mark.parametrize("lost", [0.05, 0.1, 0.3, 0.6])
@pytest.mark.parametrize("seen", [200, 1_500])
def test_a_path_that_loses_many_is_believed_to(lost: float, seen: int) -> None:
    assert lost <= believed_loss(found=lost * seen, called=(1 - lost) * seen) <= 2 * lost


def test_where_nothing_is_lost_ever_less_is_believed() -> None:
    believed = [believed_loss(found=0, called=called) for called in (200, 600, 1_500)]

    assert sorted(believed, reverse=True) == believed
    assert believed[-1] < 0.01


@given(found=COUNTS, called=COUNTS)
def test_it_is_a_share_and_no_less_than_what_is_likely(found: float, called: float) -> None:
    assert 0 < believed_loss(found=found, called=called) <= 1


@given(found=st.integers(0, 300), called=st.integers(0, 1_500))
def test_another_miss_makes_it_no_smaller(found: int, called: int) -> None:
    assert believed_loss(found=found, called=called) <= believed_loss(found=found + 1, called=called)
