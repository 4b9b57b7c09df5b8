"""What was learned of how long tasks take, as rows: read once in a transaction, written once."""

from __future__ import annotations

import sqlite3

from receiver.ledger.sqlite.sets import put_rows, select_in
from receiver.timing import Finish, Known, Timing, known_of, path_of
from submitter.moments import Moment

MOST_CLASSES = 512  # model names are whatever apps say: the longest unused give way, the finest of them first
_COLUMNS = (
    "provider",
    "class",
    "histogram",
    "fresh",
    "finished",
    "called",
    "found",
    "folded_at",
    "updated_at",
)


class Timings:
    """The rows of the classes that a transaction touches."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        self._raw = raw
        self._timings: dict[tuple[str, str], Timing] = {}
        self._changed: dict[tuple[str, str], Moment] = {}
        self._has_new = False

    def known(self, provider: str, timing_class: str | None) -> Known | None:
        """What was learned of such a task; None while too few have finished."""
        self._look(provider, timing_class)
        return known_of({each: self._timings[provider, each] for each in path_of(timing_class)}, timing_class)

    def note(self, provider: str, timing_class: str | None, finish: Finish, *, now: Moment) -> None:
        """Such a task has finished: its class knows, and all coarser ones."""
        self._look(provider, timing_class)
        for each in path_of(timing_class):
            key = provider, each
            self._timings[key] = self._timings[key].with_finish(finish, now=now)
            self._changed[key] = now

    def write(self) -> None:
        """What has changed."""
        if not self._changed:
            return
        put_rows(
            self._raw, "timings", _COLUMNS, [_row(key, self._timings[key], at) for key, at in self._changed.items()]
        )
        if self._has_new:
            self._forget()

    def _look(self, provider: str, timing_class: str | None) -> None:
        wanted = [(provider, each) for each in path_of(timing_class) if (provider, each) not in self._timings]
        if not wanted:
            return
        found = select_in(self._raw, ", ".join(_COLUMNS[:-1]), "timings", ("provider", "class"), wanted)
        stored = {(row[0], row[1]): _timing(row) for row in found}
        self._has_new = self._has_new or len(stored) < len(wanted)
        self._timings.update({key: stored.get(key, Timing()) for key in wanted})

    def _forget(self) -> None:
        """A coarser class is used whenever a finer one is, so that it stays the longer."""
        self._raw.execute(
            """
            delete from timings where class <> '' and (provider, class) in (
                select provider, class from timings order by updated_at desc, length(class) limit -1 offset ?
            )
            """,
            (MOST_CLASSES,),
        )


def _row(key: tuple[str, str], timing: Timing, updated_at: Moment) -> tuple[object, ...]:
    return (
        *key,
        timing.histogram,
        timing.fresh,
        timing.finished,
        timing.called,
        timing.found,
        timing.folded_at,
        updated_at,
    )


def _timing(row: sqlite3.Row) -> Timing:
    _, _, histogram, fresh, finished, called, found, folded_at = row
    return Timing(histogram=histogram, fresh=fresh, finished=finished, called=called, found=found, folded_at=folded_at)
