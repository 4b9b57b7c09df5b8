"""What a provider may be asked in the running minute, and what it was asked: rows, written with the claim."""

from __future__ import annotations

import sqlite3
from datetime import timedelta

from receiver.ledger.sqlite.stops import CREATES_FIRST, begin_trial, does_create_wait
from receiver.listing import Shape
from receiver.straggler import Purpose
from submitter.moments import Moment, millis

HOUR = timedelta(hours=1)
BUDGET_WINDOW = timedelta(minutes=1)
A_SHARE = 4  # doubt may use a quarter of the budget; of a claim a quarter is sure for each purpose


class Budget:
    """A provider's questions of the running minute, as a row. A request about many tasks is one."""

    def __init__(self, raw: sqlite3.Connection, provider: str, *, per_minute: int, now: Moment) -> None:
        self._raw = raw
        self._provider = provider
        row = raw.execute("select * from query_budgets where provider = ?", (provider,)).fetchone()
        window_start = row["window_start"] if row else 0
        is_running = row is not None and window_start <= now < window_start + millis(BUDGET_WINDOW)
        self._window_start = window_start if is_running else now
        self._spent = row["spent"] if row and is_running else 0
        self._spent_on_doubt = row["spent_on_doubt"] if row and is_running else 0
        self._per_minute = per_minute
        self._has_spent = False
        self._now = now
        self._is_on_trial = row is not None and bool(row["is_on_trial"])
        self._paused_until = 0 if row is None else max(self._stopped_until(row["paused_until"]), row["unknown_until"])
        self.is_paused = self._paused_until > now

    @property
    def left(self) -> int:
        """How many more requests this minute holds; of an account on trial one at most."""
        left = self._per_minute - self._spent
        return min(left, 1) if self._is_on_trial else left

    @property
    def ends_at(self) -> Moment:
        """When the next minute's begins."""
        return self._window_start + millis(BUDGET_WINDOW)

    @property
    def rests_until(self) -> Moment:
        """Until when nothing may be asked; long past where something may."""
        return max(self._paused_until, self.ends_at if self.left <= 0 else 0)

    @property
    def left_for_doubt(self) -> int:
        """How many of them doubt may have."""
        return max(0, max(1, self._per_minute // A_SHARE) - self._spent_on_doubt)

    def spend(self, purpose: Purpose) -> None:
        """Take one request."""
        self._has_spent = True
        self._spent += 1
        self._spent_on_doubt += purpose is Purpose.DOUBT

    def write(self) -> int | None:
        """Keep what was spent, if anything was: an idle poller writes nothing. The trial that it is, if it is one."""
        if not self._has_spent:
            return None
        self._raw.execute(
            """
            insert into query_budgets (provider, window_start, spent, spent_on_doubt) values (?, ?, ?, ?)
            on conflict (provider) do update
               set window_start = excluded.window_start, spent = excluded.spent,
                   spent_on_doubt = excluded.spent_on_doubt
            """,
            (self._provider, self._window_start, self._spent, self._spent_on_doubt),
        )
        return begin_trial(self._raw, self._provider, now=self._now) if self._is_on_trial else None

    def _stopped_until(self, paused_until: Moment) -> Moment:
        """A create that waits may try first."""
        if not self._is_on_trial or not does_create_wait(self._raw, self._provider, now=self._now):
            return paused_until
        return paused_until + millis(CREATES_FIRST)


def add_questions(
    raw: sqlite3.Connection, provider: str, shape: Shape, *, requests: int, tasks: int, now: Moment
) -> None:
    """Add to what was asked in the hour: with the claim, before anything leaves."""
    raw.execute(
        """
        insert into questions (provider, hour, shape, requests, tasks) values (?, ?, ?, ?, ?)
        on conflict (provider, hour, shape) do update
           set requests = requests + excluded.requests, tasks = tasks + excluded.tasks
        """,
        (provider, now - now % millis(HOUR), str(shape), requests, tasks),
    )
