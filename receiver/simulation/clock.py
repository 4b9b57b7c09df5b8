"""Virtual time: each thing that happens has a moment of its own, and the receiver's clock may be wrong."""

from __future__ import annotations

from bisect import bisect_right
from contextvars import ContextVar

from submitter.moments import Moment

_now: ContextVar[Moment] = ContextVar("simulated moment")


class VirtualClock:
    """What the receiver takes for the time. It never goes on by itself.

    Things that happen within the same part of a second are run side by side: the moment belongs to the context of
    each, so that what one of them waits for in virtual time does not age the others.
    """

    def __init__(self) -> None:
        self._steps_at: list[Moment] = []
        self._offsets: list[int] = [0]

    def __call__(self) -> Moment:
        """The receiver's time."""
        return _now.get() + self._offsets[-1]

    @property
    def true_now(self) -> Moment:
        """The world's time."""
        return _now.get()

    def set(self, moment: Moment) -> None:
        """It is this moment, for what runs in this context."""
        _now.set(moment)

    def pass_by(self, milliseconds: int) -> None:
        """Time passes, for what runs in this context."""
        _now.set(_now.get() + milliseconds)

    def step(self, offset: int) -> None:
        """Somebody sets the receiver's clock: from now on it is so far ahead of the world's."""
        self._steps_at.append(_now.get())
        self._offsets.append(offset)

    def true_moment_of(self, read: Moment, *, not_before: Moment) -> Moment:
        """When the receiver's clock showed this: the first such moment that is not before the given one."""
        first = bisect_right(self._steps_at, not_before)
        ends = [*self._steps_at, None]
        for offset, end in zip(self._offsets[first:], ends[first:], strict=True):
            moment = read - offset
            if moment >= not_before and (end is None or moment <= end):
                return moment
        return max(read - self._offsets[-1], not_before)
