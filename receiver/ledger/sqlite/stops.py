"""Accounts left in peace: until when, in which words, and the one request that tries whether they are served."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from datetime import timedelta

from receiver.ledger.asking import Pause
from receiver.ledger.openings import AccountRefusal
from submitter.moments import Moment, millis

TRIAL_LEASE = timedelta(seconds=90)  # three time-outs of an answer: what died midway is tried again then
CREATES_FIRST = timedelta(seconds=2)  # their start: an account may answer questions that takes no create


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """Until when an account is left in peace, and whether what goes next goes alone."""

    until: Moment = 0
    is_on_trial: bool = False


def rest_of(raw: sqlite3.Connection, provider: str) -> Rest:
    """As it stands; none where nobody asked for it."""
    text = "select paused_until, is_on_trial from query_budgets where provider = ?"
    row = raw.execute(text, (provider,)).fetchone()
    return Rest() if row is None else Rest(until=row["paused_until"], is_on_trial=bool(row["is_on_trial"]))


def refusal_in_force(raw: sqlite3.Connection, provider: str, *, now: Moment) -> AccountRefusal | None:
    """In which words the provider has stopped the account; None where it has not."""
    text = "select refusal from query_budgets where provider = ? and is_stopped and paused_until > ?"
    row = raw.execute(text, (provider, now)).fetchone()
    if row is None or row["refusal"] is None:
        return None
    http_status, code, message = json.loads(row["refusal"])
    return AccountRefusal(http_status=http_status, code=code, message=message)


def pause(raw: sqlite3.Connection, asked: Pause) -> None:
    """Leave it in peace, unless it is for longer already. What a stop says holds until the account is served again."""
    raw.execute(
        """
        insert into query_budgets (provider, paused_until, pause_reason, is_stopped) values (?, ?, ?, ?)
        on conflict (provider) do update
           set paused_until = excluded.paused_until, pause_reason = excluded.pause_reason,
               is_stopped = excluded.is_stopped
         where excluded.paused_until >= paused_until
        """,
        (asked.provider, asked.until, asked.reason, asked.is_stop),
    )
    if asked.is_stop:  # and a trial that is out is none any more
        raw.execute(
            "update query_budgets set is_on_trial = 1, trial = trial + 1, refusal = ? where provider = ?",
            (_refusal_text(asked.refusal), asked.provider),
        )


def begin_trial(raw: sqlite3.Connection, provider: str, *, now: Moment) -> int:
    """What was claimed goes alone: for its lease the account is stopped as it was. The number of the trial."""
    text = """
        update query_budgets set paused_until = ?, is_stopped = 1, trial = trial + 1 where provider = ?
        returning trial
    """
    return int(raw.execute(text, (now + millis(TRIAL_LEASE), provider)).fetchone()[0])


def lift(raw: sqlite3.Connection, provider: str, *, trial: int) -> bool:
    """The account is served again. Of an older trial nothing is believed: False. What else it rests for stays."""
    done = raw.execute(
        """
        update query_budgets
           set is_on_trial = 0, is_stopped = 0, refusal = null,
               paused_until = case when is_stopped then 0 else paused_until end
         where provider = ? and trial = ? and is_on_trial
        """,
        (provider, trial),
    )
    return done.rowcount > 0


def does_create_wait(raw: sqlite3.Connection, provider: str, *, now: Moment) -> bool:
    """Whether one might leave, slots and units willing."""
    found = raw.execute("select 1 from heads where provider = ? and send_at <= ? limit 1", (provider, now))
    return found.fetchone() is not None


def _refusal_text(refusal: AccountRefusal | None) -> str | None:
    """As `refusal_in_force` reads it."""
    return None if refusal is None else json.dumps([refusal.http_status, refusal.code, refusal.message])
