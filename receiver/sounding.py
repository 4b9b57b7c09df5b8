"""When the silence of a whole account is worth a handful of questions, and about which of its tasks. Pure.

Where many tasks run, their path may go dark long before any of them has been silent for long: together they tell it
sooner. Let an account have heard nothing since a moment. Of a task that was known to run at the age `r`, that was `a`
old then and is `b` old now, with `S` the share that takes longer and `p` the share of callbacks lost, the chance of
so much more silence on a path that is alive is

    (p · S(r) + (1 - p) · S(b)) / (p · S(r) + (1 - p) · S(a))

Tasks end independently, so the chance of the account's silence is the product, and its negative logarithm the sum:
how many callbacks should have come, but for those that may be lost. At `IMPROBABLE` = 7 such a silence follows one
callback in `e^7` = 1100, and it is sounded: a `HANDFUL` of tasks are asked about, those likeliest to have ended since,
as soon as `EXPECTED` of them should have. What ended within the last `GRACE` does not count: its callback may be on
its way.

A sounding judges nothing. Its answers are evidence as all others are (`receiver.pathhealth`): two misses make a
suspicion, and that asks about the rest. If all of the handful still run, it is the provider that is slow: the silence
is counted anew from then on, and each sounding without a callback in between takes one twice as improbable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from receiver.durations import share_within
from receiver.pathhealth import GRACE, PathHealth
from receiver.timing import Known
from submitter.moments import Moment

HANDFUL = 5  # questions
IMPROBABLE = 7.0  # nats
EXPECTED = 2.5  # of the handful, to have ended: two misses make a suspicion
SHORTEST = 1_000  # ms of silence: below, an account that is busy is not looked at
AHEAD = 5_000  # ms that are looked ahead: by then the poller looks again (receiver.worker.LONGEST_SLEEP)
_NEAR = 100  # ms: as exact as a moment ahead is sought
_MOST_DOUBLED = 20
_NEVER = 1e-12  # the share that takes longer than any


@dataclass(frozen=True, slots=True, kw_only=True)
class Silent:
    """A task that runs, as far as anybody knows, and how long such tasks take."""

    key: int
    sent_at: Moment
    running_at: Moment | None
    is_due: bool
    known: Known


def silent_since(path: PathHealth) -> Moment:
    """Since when an account has been silent: the beginning of what is to be explained.

    Where a question has found a final that no callback brought, what was sounded before explains nothing.
    """
    heard_at = max(path.heard_at, path.revived_at)
    return heard_at if path.evidence else max(heard_at, path.sounded_at)


def is_too_short(path: PathHealth, *, now: Moment) -> bool:
    """Whether there is nothing to look for: in the dark, and under suspicion, every task is asked about anyway."""
    return path.asks_eagerly or now - silent_since(path) < SHORTEST


def handful(silent: Sequence[Silent], path: PathHealth, *, now: Moment) -> Sequence[int]:
    """The keys of the tasks to make due now, the likeliest to have ended first; none while silence is no news.

    What was sounded may wait, for company or for a pause to end: until it is asked about, it is not sounded again.
    """
    if is_too_short(path, now=now):
        return ()
    since = silent_since(path)
    weighed = [_weighed(each, since, now) for each in silent]
    surprise = sum(each for each, _ in weighed)
    likely = sorted(zip(weighed, silent, strict=True), key=lambda pair: (-pair[0][1], pair[1].key))[:HANDFUL]
    is_sounded = surprise >= _needed(path) and sum(ended for (_, ended), _ in likely) >= EXPECTED
    return [each.key for _, each in likely if not (each.is_due and _was_sounded(path))] if is_sounded else ()


def sounding_at(silent: Sequence[Silent], path: PathHealth, *, now: Moment) -> Moment | None:
    """When the silence is to be sounded, if it lasts; None where that is not soon."""
    if handful(silent, path, now=now):
        return now
    if not handful(silent, path, now=now + AHEAD):
        return None
    early, late = now, now + AHEAD
    while late - early > _NEAR:
        middle = (early + late) // 2
        early, late = (early, middle) if handful(silent, path, now=middle) else (middle, late)
    return late


def _was_sounded(path: PathHealth) -> bool:
    """Whether this silence was, since the latest callback."""
    return path.soundings > 0 and path.sounded_at >= path.heard_at


def _needed(path: PathHealth) -> float:
    if path.evidence or not _was_sounded(path):
        return IMPROBABLE
    return IMPROBABLE * 2.0 ** min(path.soundings, _MOST_DOUBLED)


def _weighed(task: Silent, since: Moment, now: Moment) -> tuple[float, float]:
    """How surprising its silence is, in nats, and how likely it has ended by what would be known by now."""
    histogram, lost = task.known.timing.histogram, task.known.lost
    ran = 0.0 if task.running_at is None else max(0.0, (task.running_at - task.sent_at) / 1_000)
    begin, end = max(ran, (since - task.sent_at) / 1_000), (now - task.sent_at) / 1_000
    if end <= begin:
        return 0.0, 0.0
    alive, before, after = (max(1 - share_within(histogram, age), _NEVER) for age in (ran, begin, end))
    unheard = lost * alive + (1 - lost) * before
    surprise = math.log(unheard / (lost * alive + (1 - lost) * after))
    known = 1 - share_within(histogram, max(begin, end - GRACE.total_seconds()))
    return surprise, max(0.0, before - known) / unheard
