"""Whether callbacks reach us: alive, limping or dark, by sequential tests over finished tasks. Pure.

Each task that finishes is one observation of its account's path: its callback *came*, or it was *missed*: a question
found the final, and no callback had brought it by then. Two tests weigh them, each by the logarithm of a likelihood
ratio, ln(P(seen | the other) / P(seen | what is believed)).

**Dark** (Page's CUSUM, 1954). Believed is a path that loses at most `BEARABLE` of the callbacks, or `HALF` of them
where it limps; the other loses all but one in a thousand. A miss adds ln(0.999 / 0.05) = 3.0, a callback takes
ln(0.95 / 0.001) = 6.9 away, and the sum never falls below nothing. It crosses h = ln(1 / `FALSE_DARK`) on average not
before `1 / FALSE_DARK` finished tasks, as long as what is believed holds (Lorden, 1971): that is five misses in a row,
and at a path that limps ten of 0.69 each. In the dark the same ratio is summed for the other side: three callbacks
bring a path back, unless many misses lie between; one that brings a callback in ten stays dark, and seldom turns.

The order counts there, and it is not the order of knowing: of a burst the callbacks come first, and the misses are
found together, long after. So a miss counts if its task *finished* after the latest callback had come; else that
callback has answered already. What finished less than `GRACE` before it was asked about was not missed yet.

**Limping** (Wald's SPRT over a fading memory). Believed is a loss of `TOLERATED`, the other one of `LASTING`. No order
counts: both kinds are summed with weights that fade over `MEMORY` tasks. Above ln(1 / `FALSE_TURN`) the path limps,
below the negative it is alive, in between it stays what it was.

Nothing here moves by itself: an account without tasks says nothing, however long.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from math import log

from receiver.values import replace
from submitter.moments import Moment, millis


class PathState(StrEnum):
    """What is believed of the road that an account's callbacks take."""

    ALIVE = "alive"
    LIMPING = "limping"
    DARK = "dark"


BEARABLE = 0.05  # lost now and then by networks and restarts: no path is called dark for it
HALF = 0.5  # what a limping path is taken to lose, before it is called dark
ALL = 0.999  # nothing is certain: a callback may stray in
FALSE_DARK = {PathState.ALIVE: 1e-6, PathState.LIMPING: 1e-3}  # for each task that finishes
FALSE_LIFE = 1e-6  # for each callback in the dark
FALSE_SUSPICION = 1e-2  # it costs a few questions, and who sends one task after another knows sooner

TOLERATED, LASTING = 0.02, 0.10
FALSE_TURN = 1e-3
MEMORY = 200  # tasks: at a loss of LASTING twenty misses, enough to tell

GRACE = timedelta(seconds=5)  # a callback may be on its way for so long
# What is believed of the loss before anything is known, as if so many tasks had been seen.
USUAL_LOSS, USUAL_SEEN = 0.01, 20

_BELIEVED = {PathState.ALIVE: BEARABLE, PathState.LIMPING: HALF, PathState.DARK: HALF}
_DARK_BY_MISS = {state: log(ALL / lost) for state, lost in _BELIEVED.items()}
_ALIVE_BY_CALLBACK = {state: log((1 - lost) / (1 - ALL)) for state, lost in _BELIEVED.items()}
_DARK_AT = {state: log(1 / rate) for state, rate in FALSE_DARK.items()}
_ALIVE_AT = log(1 / FALSE_LIFE)
_SUSPECTED_AT = log(1 / FALSE_SUSPICION)
_LIMPS_BY_MISS, _LIMPS_BY_CALLBACK = log(LASTING / TOLERATED), log((1 - LASTING) / (1 - TOLERATED))
_TURNS_AT = log(1 / FALSE_TURN)
_FADING = 1 - 1 / MEMORY


@dataclass(frozen=True, kw_only=True)  # without slots: receiver.values.replace copies its dictionary
class PathHealth:
    """What is known of one account's path. `evidence` speaks against the state: for dark, and in the dark for life.

    `came` and `missed` are counts that fade. What finished before `revived_at` belongs to a darkness that is over,
    or to a time without a receiver.
    `told` counts the events `path.dark` and `path.alive`, and `soundings` those since the latest callback
    (`receiver.sounding`), of which the last was at `sounded_at`.
    """

    state: PathState = PathState.ALIVE
    since: Moment = 0
    heard_at: Moment = 0
    revived_at: Moment = 0
    evidence: float = 0.0
    came: float = 0.0
    missed: float = 0.0
    told: int = 0
    sounded_at: Moment = 0
    soundings: int = 0

    @property
    def asks_eagerly(self) -> bool:
        """Whether silence means nothing: then every task is asked about when it is likely to have finished.

        In the dark, and while two misses without a callback since (seven where it limps) make one suspect it.
        """
        return self.state is PathState.DARK or self.evidence >= _SUSPECTED_AT

    @property
    def is_calm(self) -> bool:
        """Whether another callback, of whatever kind, would be no news."""
        return self.evidence == 0 and self.state is not PathState.DARK

    @property
    def times_dark(self) -> int:
        """How often it was called dark: every other event, beginning with the first."""
        return (self.told + 1) // 2

    @property
    def loss(self) -> float:
        """The share of callbacks that is being lost, as far as it is known."""
        if self.state is PathState.DARK:
            return ALL
        return (self.missed + USUAL_LOSS * USUAL_SEEN) / (self.came + self.missed + USUAL_SEEN)


def finished_at(sent_at: Moment, created_at: Moment | None, updated_at: Moment | None, *, asked_at: Moment) -> Moment:
    """When a task finished, by our clock: the provider's two moments are only compared with each other."""
    if created_at is None or updated_at is None:
        return (sent_at + asked_at) // 2
    return min(max(sent_at, sent_at + updated_at - created_at), asked_at)


def is_too_fresh(finished: Moment, *, asked_at: Moment) -> bool:
    """Whether its callback may still be on its way: then that it has not come says nothing."""
    return asked_at - finished < millis(GRACE)


def after_start(path: PathHealth, *, now: Moment) -> PathHealth:
    """The receiver was down until now: whoever called back in between found nobody, whatever the path is like."""
    return replace(_by_the_clock(path, now), revived_at=now)


def after_life(path: PathHealth, *, now: Moment) -> PathHealth:
    """Some callback arrived, whatever it said."""
    if path.is_calm:
        return path
    if path.state is not PathState.DARK:
        return replace(path, evidence=_relieved(path), heard_at=now)
    evidence = path.evidence + _ALIVE_BY_CALLBACK[path.state]
    if evidence < _ALIVE_AT:
        return replace(path, evidence=evidence, heard_at=now)
    return PathHealth(since=now, heard_at=now, revived_at=now, told=path.told + 1)


def after_came(path: PathHealth, *, now: Moment) -> PathHealth:
    """A task finished, and its callback brought the news."""
    if path.state is PathState.DARK:
        return after_life(path, now=now)
    path = _by_the_clock(path, now)
    came, missed = path.came * _FADING + 1, path.missed * _FADING
    return _weighed(replace(path, came=came, missed=missed, evidence=_relieved(path), heard_at=now), now=now)


def after_missed(path: PathHealth, finished: Moment, *, now: Moment) -> PathHealth:
    """A question found the final of a task, and no callback had brought it."""
    path = _by_the_clock(path, now)
    if finished < path.revived_at:
        return path
    step = _DARK_BY_MISS[path.state] if finished >= path.heard_at else 0.0
    if path.state is PathState.DARK:
        return replace(path, evidence=max(0.0, path.evidence - step))
    came, missed = path.came * _FADING, path.missed * _FADING + 1
    return _weighed(replace(path, came=came, missed=missed, evidence=path.evidence + step), now=now)


def after_late(path: PathHealth, finished: Moment, *, now: Moment) -> PathHealth:
    """The callback of what was counted as missed has come after all: it was late, not lost."""
    if path.state is PathState.DARK or finished < path.revived_at:
        return after_life(path, now=now)
    corrected = replace(path, missed=max(0.0, path.missed - 1))
    return after_came(corrected, now=now)


def after_sounding(path: PathHealth, *, now: Moment) -> PathHealth:
    """Nobody called back for so long that a handful of tasks is being asked about."""
    before = path.soundings if path.sounded_at >= path.heard_at else 0
    return replace(path, sounded_at=now, soundings=before + 1)


def _by_the_clock(path: PathHealth, now: Moment) -> PathHealth:
    """Nothing was in the future: where it seems so the clock was set back, and misses would not count for as long."""
    if max(path.heard_at, path.revived_at, path.sounded_at) <= now:
        return path
    return replace(
        path,
        heard_at=min(path.heard_at, now),
        revived_at=min(path.revived_at, now),
        sounded_at=min(path.sounded_at, now),
    )


def _relieved(path: PathHealth) -> float:
    """What is left of the evidence for darkness once a callback has come."""
    return max(0.0, path.evidence - _ALIVE_BY_CALLBACK[path.state])


def _weighed(path: PathHealth, *, now: Moment) -> PathHealth:
    """The path in the state that its evidence has come to."""
    if path.evidence >= _DARK_AT[path.state]:
        return replace(path, state=PathState.DARK, since=now, evidence=0.0, told=path.told + 1)
    limps = path.missed * _LIMPS_BY_MISS + path.came * _LIMPS_BY_CALLBACK
    state = path.state
    if limps >= _TURNS_AT:
        state = PathState.LIMPING
    elif limps <= -_TURNS_AT:
        state = PathState.ALIVE
    if state is path.state:
        return path
    as_measured_now = path.evidence * _DARK_BY_MISS[state] / _DARK_BY_MISS[path.state]  # the misses are as many
    return replace(path, state=state, since=now, evidence=as_measured_now)
