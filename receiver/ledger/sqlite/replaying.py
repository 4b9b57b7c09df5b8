"""What lay in the drawer as unreadable is heard at last, and leaves it in the same transaction."""

from __future__ import annotations

import sqlite3

from receiver.ledger.errors import Refusal
from receiver.ledger.judging import Heard, Judge
from receiver.ledger.sqlite.hearing import Hear
from receiver.task import Decision


def replay(raw: sqlite3.Connection, key: int, heard: Heard, judge: Judge) -> Decision | None:
    """Hear it, and take it out of the drawer with its effect. None where it is gone. Raises ForeignTask."""
    if raw.execute("select 1 from unreadable where key = ?", (key,)).fetchone() is None:
        return None
    [outcome] = Hear(judge).run(raw, [heard])
    if isinstance(outcome, Refusal):
        raise outcome
    raw.execute("delete from unreadable where key = ?", (key,))
    return outcome
