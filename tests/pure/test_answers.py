"""What an app's answer means: every status, every Retry-After, and reasons that may be shown."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.outbox.answers import AnswerHead, attempt_of, try_again
from receiver.outbox.destination import Delivered, GiveUp, TryAgain
from submitter.moments import Moment

NOW: Moment = 1_795_168_800_000  # Fri, 20 Nov 2026 10:00:00 GMT
ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=400)


def asked(retry_after: str, *, status: int = 503, date: str = "") -> timedelta | None:
    """How long such an answer asks to be left in peace."""
    attempt = attempt_of(AnswerHead(status=status, retry_after=retry_after, date=date), now=NOW)
    assert isinstance(attempt, TryAgain)
    return attempt.after


def test_every_status_means_one_thing() -> None:
    meanings = {status: attempt_of(AnswerHead(status=status), now=NOW) for status in range(100, 1000)}

    assert list(range(200, 300)) == [status for status, meant in meanings.items() if meant == Delivered()]
    assert [410] == [status for status, meant in meanings.items() if isinstance(meant, GiveUp) and meant.is_gone]
    others = [status for status in meanings if not 200 <= status < 300 and status != 410]
    assert all(isinstance(meanings[status], TryAgain) for status in others)
    assert all(f"answered {status}" in getattr(meanings[status], "reason", "") for status in others)


@pytest.mark.parametrize(
    ("header", "after"),
    [
        ("0", timedelta(0)),
        ("7", timedelta(seconds=7)),
        (" 120 ", timedelta(minutes=2)),
        ("86400", timedelta(hours=24)),
        ("86401", timedelta(hours=24)),
        ("9" * 5_000, timedelta(hours=24)),
        ("Fri, 20 Nov 2026 10:00:30 GMT", timedelta(seconds=30)),
        ("Fri, 20 Nov 2099 10:00:30 GMT", timedelta(hours=24)),
        ("Fri, 20 Nov 2026 09:59:59 GMT", None),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("1e9", None),
        ("soon", None),
        ("٣", None),
        ("Fri, 20 Nov 99999 10:00:30 GMT", None),
    ],
)
def test_retry_after_is_bounded_and_nonsense_ignored(header: str, after: timedelta | None) -> None:
    assert after == asked(header)


def test_a_date_is_counted_from_the_answers_own() -> None:
    late = "Fri, 20 Nov 2026 10:05:00 GMT"  # its clock is five minutes ahead of ours

    assert timedelta(seconds=30) == asked("Fri, 20 Nov 2026 10:05:30 GMT", date=late)


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://other.example/a?token=secret#x", "https://other.example"),
        ("https://user:secret@other.example:8443/a", "https://other.example:8443"),
        ("http://[2001:db8::1]:80/", "http://[2001:db8::1]:80"),
        ("/elsewhere?token=secret", "another path there"),
        ("", "nowhere"),
        ("https://[", "no URL"),
        ("https://other.example:secret/", "no URL"),
    ],
)
def test_of_where_a_redirect_leads_the_origin_is_told(location: str, shown: str) -> None:
    attempt = attempt_of(AnswerHead(status=302, location=location), now=NOW)

    assert TryAgain(reason=f"redirects are refused: answered 302 Found, to {shown}") == attempt


@given(status=st.integers(100, 999), location=ANY_TEXT, retry_after=ANY_TEXT, date=ANY_TEXT)
def test_any_head_has_a_meaning_that_may_be_shown(status: int, location: str, retry_after: str, date: str) -> None:
    attempt = attempt_of(AnswerHead(status=status, location=location, retry_after=retry_after, date=date), now=NOW)

    reason = getattr(attempt, "reason", "")
    assert reason.isprintable()
    assert 300 >= len(reason)
    after = getattr(attempt, "after", None)
    assert after is None or timedelta(0) <= after <= timedelta(hours=24)


def test_a_long_or_unprintable_reason_is_cut_and_cleaned() -> None:
    assert TryAgain(reason="a?b") == try_again("a\x1bb")
    assert 300 == len(try_again("x" * 1_000).reason)
