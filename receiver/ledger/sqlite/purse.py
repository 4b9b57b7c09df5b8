"""An account's units: reserved when a create leaves, corrected when its final says what it took."""

from __future__ import annotations

import json
import sqlite3

from receiver.savings import units_of
from receiver.units import class_of, day_of, estimate, fits_no_day, reason_to_wait
from submitter.moments import Moment


class Purse:
    """What one account with a limit may still spend today. What ended since the last look is settled first.

    So nothing of this is done where reports come in, and only what is in flight is looked through.
    """

    def __init__(self, raw: sqlite3.Connection, provider: str, *, per_day: int, now: Moment) -> None:
        self._raw = raw
        self._provider = provider
        self._per_day = per_day
        self._day = day_of(now)
        _settle(raw, provider)
        found = raw.execute(
            """
            select coalesce((select spent from unit_days where provider = :provider and day = :day), 0)
                 + coalesce((select sum(units) from reservations where provider = :provider and day = :day), 0)
            """,
            {"provider": provider, "day": self._day},
        )
        self._taken = float(found.fetchone()[0])

    def reason_to_wait(self, endpoint: str, request: str, images: int) -> str | None:
        """Why a create must wait, if it must. `request` is JSON."""
        return reason_to_wait(self._estimate(endpoint, request, images), taken=self._taken, per_day=self._per_day)

    def fits_no_day(self, endpoint: str, request: str, images: int) -> bool:
        """Whether it waits however the days turn."""
        return fits_no_day(self._estimate(endpoint, request, images), per_day=self._per_day)

    def reserve(self, key: int, endpoint: str, request: str, images: int) -> None:
        """This create leaves now. One that is sent again may be paid for again."""
        units = self._estimate(endpoint, request, images)
        self._taken += units
        self._raw.execute(
            """
            insert into reservations (task, provider, day, class, images, units) values (?, ?, ?, ?, ?, ?)
            on conflict (task) do update set day = excluded.day, units = units + excluded.units
            """,
            (key, self._provider, self._day, class_of(endpoint, json.loads(request)), images, units),
        )

    def _estimate(self, endpoint: str, request: str, images: int) -> float:
        class_ = class_of(endpoint, json.loads(request))
        found = self._raw.execute(
            "select units from unit_prices where provider = ? and class = ?", (self._provider, class_)
        ).fetchone()
        return estimate(class_, images, seen=None if found is None else found["units"])


def purse_of(raw: sqlite3.Connection, provider: str, per_day: int | None, *, now: Moment) -> Purse | None:
    """The account's purse, where it has a limit."""
    return None if per_day is None else Purse(raw, provider, per_day=per_day, now=now)


def take_back(raw: sqlite3.Connection, key: int) -> None:
    """Its create was refused, or never got there: nothing was spent."""
    raw.execute("delete from reservations where task = ?", (key,))


def unreserve_one(raw: sqlite3.Connection, key: int, *, sends: int) -> None:
    """Of so many creates the latest came to nothing; those before it may be paid for yet."""
    if sends <= 1:
        take_back(raw, key)
    else:
        raw.execute("update reservations set units = units * ? / ? where task = ?", (sends - 1, sends, key))


def _settle(raw: sqlite3.Connection, provider: str) -> None:
    """Spend what was reserved for tasks that have ended: what their finals say, or as much as was thought."""
    ended = raw.execute(
        """
        select reservations.*, state, sent_at, unit_deduction
          from reservations cross join tasks on tasks.key = reservations.task
         where reservations.provider = ? and (settled_at is not null or sent_at is null)
        """,
        (provider,),
    ).fetchall()
    for row in ended:
        told = units_of(row["unit_deduction"])
        is_created = row["sent_at"] is not None and row["state"] != "refused"
        if is_created:
            _spend(raw, row, row["units"] if told is None else told)
        if told is not None and row["state"] == "succeeded" and row["images"] > 0:
            raw.execute(
                "insert or replace into unit_prices (provider, class, units) values (?, ?, ?)",
                (provider, row["class"], told / row["images"]),
            )
        take_back(raw, row["task"])


def _spend(raw: sqlite3.Connection, row: sqlite3.Row, units: float) -> None:
    raw.execute(
        """
        insert into unit_days (provider, day, spent) values (?, ?, ?)
        on conflict (provider, day) do update set spent = spent + excluded.spent
        """,
        (row["provider"], row["day"], units),
    )
