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
        self._known: dict[tuple[str, str | None], Known | None] = {}
        self._ends: dict[tuple[str, str | None], list[Finish]] = {}
        self._now = 0
        self._has_new = False

    def known(self, provider: str, timing_class: str | None) -> Known | None:
        """What was learned of such a task before this transaction; None while too few have finished."""
        key = provider, timing_class
        if key not in self._known:
            self._look(provider, timing_class)
            timings = {each: self._timings[provider, each] for each in path_of(timing_class)}
            self._known[key] = known_of(timings, timing_class)
        return self._known[key]

    def note(self, provider: str, timing_class: str | None, finish: Finish, *, now: Moment) -> None:
        """Such a task has finished."""
        self._ends.setdefault((provider, timing_class), []).append(finish)
        self._now = max(self._now, now)

    def write(self) -> None:
        """What has changed: a class knows of the ends in it, and all coarser ones do."""
        if not self._ends:
            return
        ends: dict[tuple[str, str], list[Finish]] = {}
        for (provider, timing_class), finishes in self._ends.items():
            self._look(provider, timing_class)
            for each in path_of(timing_class):
                ends.setdefault((provider, each), []).extend(finishes)
        changed = {key: self._timings[key].with_finishes(finishes, now=self._now) for key, finishes in ends.items()}
        put_rows(self._raw, "timings", _COLUMNS, [_row(key, each, self._now) for key, each in changed.items()])
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
