"""When a delivery is tried again, and when a destination is left in peace: a circuit breaker as a value. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from receiver.schedule import Backoff, spread
from submitter.moments import Moment, millis

# After the first attempt, in the manner of Standard Webhooks' own advice: seconds, minutes, hours; two and a half
# days in all. Who is away for longer has its dead letters redelivered.
RETRY_AFTER = (
    timedelta(seconds=5),
    timedelta(seconds=30),
    timedelta(minutes=2),
    timedelta(minutes=10),
    timedelta(minutes=30),
    timedelta(hours=1),
    timedelta(hours=2),
    timedelta(hours=4),
    timedelta(hours=8),
    timedelta(hours=20),
    timedelta(hours=24),
)
# A client asks too, and will have seen its result: seventeen hours at most.
CLIENT_RETRY_AFTER = RETRY_AFTER[:9]
FINAL_WAITS_FOR = 2  # failed attempts of an earlier event of its task, which is then superseded
OPENS_AFTER = 5  # failures in a row: less may be chance, more only costs both sides
PAUSES = Backoff(first=timedelta(seconds=5), factor=2, longest=timedelta(minutes=5))
DISABLED_AFTER = timedelta(days=5)  # of nothing but failures
CLIENT_WAITS_FOR = timedelta(days=1)  # of nothing but failures; what has waited for as long is then given up
LONGEST_PAUSE = timedelta(hours=1)  # that a destination may ask for with Retry-After


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How a destination fares: failures in a row, since when, and until when it is left in peace.

    `probe` is the key of the delivery that is out to see whether it is back; `paused_until` is then its lease's end.
    """

    failures: int = 0
    failing_since: Moment | None = None
    paused_until: Moment = 0
    probe: int | None = None
    disabled_at: Moment | None = None
    reason: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it is probed with one delivery at a time, until one arrives."""
        return self.failures >= OPENS_AFTER

    @property
    def state(self) -> str:
        """In the words of circuit breakers, and `disabled`."""
        if self.disabled_at is not None:
            return "disabled"
        return "open" if self.is_open else "closed"


def retry_at(
    message_id: str, *, attempts: int, now: Moment, delays: Sequence[timedelta] = RETRY_AFTER
) -> Moment | None:
    """When to try again after so many attempts (1 after the first); None where it is time to give up."""
    if attempts > len(delays):
        return None
    return now + spread(millis(delays[attempts - 1]), f"{message_id}:{attempts}")


def room(health: Health, *, limit: int, now: Moment) -> int:
    """How many deliveries may leave at this moment: all, one as a probe, or none."""
    if health.disabled_at is not None or health.paused_until > now:
        return 0
    return min(limit, 1) if health.is_open else limit


def after_delivered(health: Health) -> Health:
    """One arrived: all is well, whatever was before. A pause that was asked for while all was well is kept."""
    if health.disabled_at is not None:
        return health
    return Health() if health.is_open else Health(paused_until=health.paused_until)


def probing(health: Health, delivery: int, *, until: Moment) -> Health:
    """This delivery goes alone: nothing else leaves before it is back, or its lease has run out."""
    return replace(health, probe=delivery, paused_until=until)


def after_failed(
    health: Health,
    reason: str,
    *,
    delivery: int,
    name: str,
    now: Moment,
    disabled_after: timedelta | None = DISABLED_AFTER,
) -> Health:
    """One came to nothing. What left before the breaker opened, and fails after, tells nothing new.

    `disabled_after` is how long it may fail before it is told no more, or None where that is not for us to say.
    """
    is_probe = delivery == health.probe
    if health.disabled_at is not None or (health.is_open and health.paused_until > now and not is_probe):
        return health
    since = now if health.failing_since is None else health.failing_since
    failing = replace(health, failures=health.failures + 1, failing_since=since, reason=reason, probe=None)
    if disabled_after is not None and now - since >= millis(disabled_after):
        return replace(failing, disabled_at=now)
    if not failing.is_open:
        return failing
    opened = PAUSES.next_at(f"{name}:{since}", attempt=failing.failures - OPENS_AFTER, now=now)
    return replace(failing, paused_until=opened if is_probe else max(failing.paused_until, opened))


def after_nothing(health: Health, *, delivery: int, now: Moment) -> Health:
    """It was not told, for a reason that is not its own: if that was the probe, another may go."""
    return replace(health, probe=None, paused_until=now) if delivery == health.probe else health


def after_pause(health: Health, asked: timedelta, *, now: Moment) -> Health:
    """It asked to be left in peace for so long."""
    until = now + millis(min(asked, LONGEST_PAUSE))
    return replace(health, paused_until=max(health.paused_until, until))


def is_time_to_give_up(health: Health, *, now: Moment) -> bool:
    """Whether a client's origin has been dead for so long that what waits for it is no news any more."""
    return (
        health.is_open and health.failing_since is not None and now - health.failing_since >= millis(CLIENT_WAITS_FOR)
    )


def after_gone(health: Health, reason: str, *, now: Moment) -> Health:
    """It wants no more."""
    return health if health.disabled_at is not None else replace(health, disabled_at=now, reason=reason)
