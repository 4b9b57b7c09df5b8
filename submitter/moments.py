"""Moments as the ledger and the wire count them: whole milliseconds since 1970, UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TypeAlias

Moment: TypeAlias = int
"""Unix milliseconds. Always given as an argument, never read from a clock in a deciding function."""

EARLIEST: Moment = 946_684_800_000  # 2000-01-01: older is no time a provider meant
LATEST: Moment = 4_102_444_800_000  # 2100-01-01
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def millis(duration: timedelta) -> int:
    """The duration in whole milliseconds."""
    return duration // timedelta(milliseconds=1)


def iso(moment: Moment) -> str:
    """`2026-11-20T10:00:00.000Z`, as every JSON of this project writes a time."""
    seconds, rest = divmod(moment, 1000)
    return f"{_iso_second(seconds)}.{rest:03d}Z"


def iso_or_none(moment: Moment | None) -> str | None:
    """`iso`, where the moment may not have come yet."""
    return None if moment is None else iso(moment)


def moment_of_iso(text: str) -> Moment:
    """The moment that `iso` wrote. Raises ValueError."""
    return millis(datetime.fromisoformat(text) - _EPOCH)


@lru_cache(maxsize=1024)  # the tasks of a moment share their seconds
def _iso_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]
