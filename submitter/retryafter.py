"""How long an answer asks to be left in peace: its Retry-After, as seconds or as a date. Pure."""

from __future__ import annotations

from datetime import timedelta
from email.utils import parsedate_to_datetime

from submitter.moments import Moment

_MOST_DIGITS = 9  # of thirty years in seconds; the rest of a longer number changes nothing


def pause_asked(header: str, *, served_at: Moment | None, longest: timedelta) -> timedelta | None:
    """The pause, `longest` at most; None where there is none, or it makes no sense.

    A date is counted from `served_at`, the answer's own, so that two clocks that disagree do not matter.
    """
    header = header.strip()
    if header.isascii() and header.isdigit():
        return min(timedelta(seconds=int(header[:_MOST_DIGITS])), longest)
    until = moment_of(header)
    if until is None or served_at is None or until < served_at:
        return None
    return min(timedelta(milliseconds=until - served_at), longest)


def moment_of(date: str) -> Moment | None:
    """A header's date, such as `Sat, 21 Nov 2026 10:00:00 GMT`; None for anything else."""
    try:
        return int(parsedate_to_datetime(date).timestamp() * 1000)
    except (ValueError, TypeError, OverflowError):
        return None
