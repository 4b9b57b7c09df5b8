"""Which of an account's tasks its provider knew of late: a row, looked at and written with the outcomes."""

from __future__ import annotations

import json
import sqlite3

from receiver.acquaintance import QUESTIONS_REST, REASON, Recent, is_stranger, remember
from receiver.ledger.sqlite.rows import TaskRow
from receiver.straggler import AnswerKind, Outcome, Purpose
from submitter.moments import Moment, millis


class Acquaintances:
    """The accounts that a batch of outcomes is about."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        self._raw = raw
        self._recent: dict[str, Recent] = {}
        self._unknown_at: dict[str, Moment] = {}  # by provider: when the latest unknown task was met

    def note(self, row: TaskRow, outcome: Outcome) -> None:
        """One more answer, if it says whether the provider knows the task. Look-ups may well be in vain."""
        is_unknown = outcome.kind is AnswerKind.NOT_FOUND
        is_about_us = outcome.purpose is not Purpose.LOOK_UP and not (row.task.adopted and row.task.endpoint is None)
        if not is_about_us or outcome.kind not in {AnswerKind.HEARD, AnswerKind.NOT_FOUND}:
            return
        provider = row.task.provider
        self._recent[provider] = remember(self._of(provider), row.key, is_unknown=is_unknown)
        if is_unknown:
            self._unknown_at[provider] = outcome.now

    def doubts(self, row: TaskRow, outcome: Outcome) -> bool:
        """Whether 'no such task' is not to be believed: this provider says so of most."""
        return outcome.kind is AnswerKind.NOT_FOUND and is_stranger(self._of(row.task.provider))

    def write(self) -> None:
        """Keep what was noted, and pause the questions of an account whose tasks are mostly unknown."""
        for provider, recent in self._recent.items():
            unknown_at = self._unknown_at.get(provider)
            until = unknown_at + millis(QUESTIONS_REST) if unknown_at is not None and is_stranger(recent) else 0
            self._raw.execute(
                """
                insert into query_budgets (provider, recent, unknown_until, unknown_reason)
                values (:provider, :recent, :until, :reason)
                on conflict (provider) do update
                   set recent = excluded.recent, unknown_until = max(unknown_until, excluded.unknown_until),
                       unknown_reason = excluded.unknown_reason
                """,
                {
                    "provider": provider,
                    "recent": json.dumps([[key, int(is_unknown)] for key, is_unknown in recent]),
                    "until": until,
                    "reason": REASON,
                },
            )

    def _of(self, provider: str) -> Recent:
        if provider not in self._recent:
            row = self._raw.execute("select recent from query_budgets where provider = ?", (provider,)).fetchone()
            known = [] if row is None else json.loads(row["recent"])
            self._recent[provider] = [(key, bool(is_unknown)) for key, is_unknown in known]
        return self._recent[provider]
