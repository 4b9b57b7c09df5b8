"""What a create is expected to cost, and when a day has no room for it."""

from __future__ import annotations

from typing import Any

import pytest

from receiver.units import class_of, day_of, estimate, fits_no_day, reason_to_wait
from tests.pure.builders import HOUR, NOW


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({}, "omni-image/default/1k"),
        ({"model_name": "kling-v3-omni", "resolution": "4K"}, "omni-image/kling-v3-omni/4k"),
        ({"resolution": None}, "omni-image/default/1k"),
    ],
)
def test_a_class_is_what_has_one_price(request_: dict[str, Any], expected: str) -> None:
    assert expected == class_of("omni-image", request_)


@pytest.mark.parametrize(
    ("class_", "seen", "units"),
    [("omni-image/default/1k", None, 24), ("omni-image/default/4k", None, 48), ("omni-image/default/4k", 2.5, 7.5)],
)
def test_an_estimate_goes_by_what_was_seen_and_else_by_the_wire(class_: str, seen: float | None, units: float) -> None:
    assert units == estimate(class_, 3, seen=seen)


@pytest.mark.parametrize(("taken", "waits"), [(0, False), (92, False), (92.5, True), (100, True), (500, True)])
def test_a_create_waits_where_it_would_go_over_the_day(taken: float, waits: bool) -> None:
    assert waits == (reason_to_wait(8, taken=taken, per_day=100) is not None)


def test_why_a_create_waits_stays_the_same_while_it_does() -> None:
    assert reason_to_wait(8, taken=99, per_day=100) == reason_to_wait(8, taken=100, per_day=100)


def test_what_no_day_has_room_for_says_so() -> None:
    assert fits_no_day(101, per_day=100)
    assert "until that is raised" in (reason_to_wait(101, taken=0, per_day=100) or "")


def test_a_day_is_utcs() -> None:
    assert 10 * HOUR == NOW - day_of(NOW)
    assert day_of(NOW) == day_of(day_of(NOW) + 24 * HOUR - 1) == day_of(day_of(NOW))
