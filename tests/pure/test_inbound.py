"""Invalid callbacks are limited by source: how many pass, who counts as one source, and what is remembered."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.inbound import BURST, EVERYONE_ELSE, REFILL_PER_SECOND, InboundLimits, Spell, source_of
from tests.pure.builders import MINUTE, NOW, SECOND

PEER = "203.0.113.7"
STEPS = st.lists(st.integers(-5 * MINUTE, 5 * MINUTE) | st.integers(0, 150), max_size=60)
FLOODS = st.lists(st.tuples(st.integers(0, 20 * SECOND), st.integers(1, 100)), min_size=1, max_size=8)


def admitted(limits: InboundLimits, count: int, *, now: int = NOW, peer: str | None = PEER) -> int:
    """How many of so many at once are answered for what they are."""
    return sum(limits.spend(peer, now=now).is_admitted for _ in range(count))


def address(number: int) -> str:
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def test_a_burst_passes_and_the_one_after_it_is_told_to_wait_a_second() -> None:
    limits = InboundLimits()

    passed = admitted(limits, BURST)
    after = limits.spend(PEER, now=NOW)

    assert BURST == passed
    assert (False, 1, True) == (after.is_admitted, after.retry_after, after.begins)


def test_ten_a_second_come_back_and_never_more_than_a_burst() -> None:
    limits = InboundLimits()
    admitted(limits, BURST)

    a_tenth = admitted(limits, 5, now=NOW + SECOND // REFILL_PER_SECOND)
    a_second = admitted(limits, 50, now=NOW + SECOND + SECOND // REFILL_PER_SECOND)
    a_day = admitted(limits, 2 * BURST, now=NOW + 1440 * MINUTE)

    assert (1, REFILL_PER_SECOND, BURST) == (a_tenth, a_second, a_day)


def test_each_source_has_its_own_bucket() -> None:
    limits = InboundLimits()
    admitted(limits, BURST + 1)

    assert BURST == admitted(limits, BURST + 1, peer="203.0.113.8")


@settings(deadline=None)  # emptying a bucket is hundreds of calls
@given(steps=STEPS)
def test_never_more_than_a_burst_and_what_the_time_that_passed_refills(steps: list[int]) -> None:
    """Whatever the clock does: only its steps ahead are time that passed."""
    limits = InboundLimits()
    passed = admitted(limits, BURST - 3)
    now = NOW
    for step in steps:
        now += step
        passed += admitted(limits, 2, now=now)

    assert passed <= BURST + REFILL_PER_SECOND * sum(max(0, step) for step in steps) / SECOND


@settings(deadline=None)  # emptying a bucket is hundreds of calls
@given(flood=FLOODS, wait=st.integers(0, MINUTE))
def test_who_waits_longer_is_never_admitted_less(flood: list[tuple[int, int]], wait: int) -> None:
    def passed(first_at: int) -> int:
        limits, now = InboundLimits(), NOW
        total = admitted(limits, BURST)
        now += first_at
        for pause, count in flood:
            now += pause
            total += admitted(limits, count, now=now)
        return total

    assert passed(0) <= passed(wait)


@settings(deadline=None)  # emptying a bucket is hundreds of calls
@given(steps=STEPS)
def test_after_any_steps_of_the_clock_a_minute_of_quiet_fills_the_bucket(steps: list[int]) -> None:
    limits, now = InboundLimits(), NOW
    for step in steps:
        now += step
        admitted(limits, 50, now=now)

    assert BURST == admitted(limits, BURST + 1, now=now + MINUTE)


@pytest.mark.parametrize(
    ("peer", "source"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::1", "::/64"),
        (None, "local"),
        ("", ""),
        ("no address", "no address"),
        ("x" * 1000, "x" * 64),
    ],
)
def test_a_source_is_an_address_or_an_ipv6_network(peer: str | None, source: str) -> None:
    assert source == source_of(peer)


@given(peer=st.text(st.characters(exclude_categories=[]), max_size=80))
def test_any_text_is_a_source_of_bounded_length(peer: str) -> None:
    assert len(source_of(peer)) <= 64


def test_the_sources_remembered_are_bounded_and_newcomers_then_share_a_bucket() -> None:
    limits = InboundLimits(sources=8)
    for number in range(8):
        admitted(limits, 1, peer=address(number))

    strangers = [limits.spend(address(100 + number), now=NOW) for number in range(BURST + 1)]

    assert 9 == len(limits)
    assert {EVERYONE_ELSE} == {spent.source for spent in strangers}
    assert [True] * BURST + [False] == [spent.is_admitted for spent in strangers]
    assert limits.spend(address(0), now=NOW).is_admitted


def test_a_source_is_forgotten_once_that_changes_nothing_for_it() -> None:
    limits = InboundLimits(sources=2)
    admitted(limits, 1, peer=address(0))
    admitted(limits, 1, peer=address(1), now=NOW + 50)

    early = limits.spend(address(2), now=NOW + 99).source
    late = limits.spend(address(2), now=NOW + 100).source

    assert (EVERYONE_ELSE, address(2)) == (early, late)


def test_who_is_held_off_is_not_forgotten() -> None:
    limits = InboundLimits(sources=1)
    admitted(limits, BURST + 5)

    assert EVERYONE_ELSE == limits.spend(address(1), now=NOW + 2 * MINUTE).source
    assert [Spell(source=PEER, refused=5)] == limits.ended(now=NOW + 2 * MINUTE)
    assert address(1) == limits.spend(address(1), now=NOW + 2 * MINUTE).source


def test_a_spell_begins_once_and_ends_once_with_its_count() -> None:
    limits = InboundLimits()
    admitted(limits, BURST)
    during = [limits.spend(PEER, now=NOW + number).begins for number in range(50)]

    still = limits.ended(now=NOW + 30 * SECOND)
    over = limits.ended(now=NOW + 2 * MINUTE)
    again = limits.ended(now=NOW + 3 * MINUTE)

    assert [True] + [False] * 49 == during
    assert ([], [Spell(source=PEER, refused=50)], []) == (still, over, again)


def test_a_source_that_goes_on_at_its_rate_is_in_one_spell_all_the_while() -> None:
    limits = InboundLimits()
    admitted(limits, BURST)

    spent = [limits.spend(PEER, now=NOW + 50 * number) for number in range(1, 2001)]

    assert 1 == sum(each.begins for each in spent)
    assert 1000 == sum(each.is_admitted for each in spent)
    assert [Spell(source=PEER, refused=1000)] == limits.end_all()
    assert [] == limits.end_all()
