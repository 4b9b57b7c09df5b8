"""SqliteAsking: the part of the ledger that asks, as `receiver.ledger.asking` has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from receiver.ledger.asking import Asked, Claim, PageResult, Pause
from receiver.ledger.judging import Judge
from receiver.ledger.reading import AccountState
from receiver.ledger.sqlite import claiming, paths, soundings, stops, together
from receiver.ledger.sqlite.store import Store
from receiver.lifecycle import HELD_FOR
from receiver.listing import Sharing
from receiver.pathhealth import PathHealth
from receiver.straggler import Outcome
from receiver.task import Decision, Task
from submitter.moments import Moment, millis


class SqliteAsking(Store):
    """As Asking."""

    async def lift(self, provider: str, *, trial: int) -> bool:
        """As Asking.lift."""
        return await self._write(lambda raw: stops.lift(raw, provider, trial=trial))

    async def claim_stragglers(
        self, *, now: Moment, lease: timedelta, limit: int, budgets: Mapping[str, int]
    ) -> list[Claim]:
        """As Asking.claim_stragglers."""
        return await self._write(
            lambda raw: claiming.claim_stragglers(raw, now=now, lease=lease, limit=limit, budgets=budgets)
        )

    async def claim_round(
        self, provider: str, *, now: Moment, lease: timedelta, limit: int, budget: int, sharing: Sharing
    ) -> list[Claim]:
        """As Asking.claim_round."""
        return await self._write(
            lambda raw: together.claim_round(
                raw, provider, now=now, lease=lease, limit=limit, per_minute=budget, sharing=sharing
            )
        )

    async def claim_riders(
        self, provider: str, external_task_ids: Sequence[str], *, now: Moment, lease: timedelta
    ) -> list[Claim]:
        """As Asking.claim_riders."""
        return await self._write(
            lambda raw: together.claim_riders(raw, provider, external_task_ids, now=now, lease=lease)
        )

    async def claim_task(self, external_task_id: str, *, now: Moment, lease: timedelta) -> Claim:
        """As Asking.claim_task."""
        return await self._write(lambda raw: claiming.claim_task(raw, external_task_id, now=now, lease=lease))

    async def count_questions(self, asked: Sequence[Asked], pages: Sequence[PageResult] = ()) -> None:
        """As Asking.count_questions."""
        await self._write(lambda raw: together.count_questions(raw, asked, pages))

    async def listed_tasks(
        self, provider: str, *, external_task_ids: Sequence[str], task_ids: Sequence[str]
    ) -> list[Task]:
        """As Asking.listed_tasks."""
        return await self._reader.listed_tasks(provider, external_task_ids=external_task_ids, task_ids=task_ids)

    async def count_listed(self, provider: str, *, external_task_ids: Sequence[str], task_ids: Sequence[str]) -> int:
        """As Asking.count_listed."""
        return await self._reader.count_listed(provider, external_task_ids=external_task_ids, task_ids=task_ids)

    async def settle(self, outcomes: Sequence[Outcome], judge: Judge, pauses: Sequence[Pause] = ()) -> None:
        """As Asking.settle."""
        await self._write(lambda raw: claiming.settle(raw, outcomes, judge, pauses))

    async def settle_overdue(self, judge: Judge, *, now: Moment, limit: int) -> list[Decision]:
        """As Asking.settle_overdue."""
        held_before = now - millis(HELD_FOR)
        return await self._write(
            lambda raw: claiming.settle_overdue(raw, judge, now=now, held_before=held_before, limit=limit)
        )

    async def accounts(self) -> list[AccountState]:
        """As Asking.accounts."""
        return await self._reader.accounts()

    async def note_start(self, providers: Sequence[str], *, now: Moment) -> None:
        """As Asking.note_start."""
        await self._write(lambda raw: paths.note_start(raw, providers, now=now))

    async def note_life(self, provider: str, judge: Judge, *, now: Moment) -> PathHealth | None:
        """As Asking.note_life."""
        return await self._write(lambda raw: paths.note_life(raw, provider, judge, now=now))

    async def paths(self) -> Mapping[str, PathHealth]:
        """As Asking.paths."""
        return await self._reader.paths()

    async def plan_anew(self, judge: Judge, *, now: Moment) -> int:
        """As Asking.plan_anew."""
        return await self._write(lambda raw: paths.plan_anew(raw, judge, now=now))

    async def is_left_to_plan(self) -> bool:
        """As Asking.is_left_to_plan."""
        return await self._reader.is_left_to_plan()

    async def sound(self, provider: str, judge: Judge, *, now: Moment) -> int:
        """As Asking.sound."""
        return await self._write(lambda raw: soundings.sound(raw, provider, judge, now=now))

    async def next_query_at(self, provider: str) -> Moment | None:
        """As Asking.next_query_at."""
        return await self._reader.next_query_at(provider)

    async def next_look_at(self, provider: str, *, now: Moment, budget: int, sharing: Sharing) -> Moment | None:
        """As Asking.next_look_at."""
        return await self._reader.next_look_at(provider, now=now, budget=budget, sharing=sharing)

    async def next_sounding_at(self, provider: str, judge: Judge, *, now: Moment) -> Moment | None:
        """As Asking.next_sounding_at."""
        return await self._reader.next_sounding_at(provider, judge, now=now)

    async def next_deadline(self, judge: Judge) -> Moment | None:
        """As Asking.next_deadline."""
        return await self._reader.next_deadline(judge.strict_providers)
