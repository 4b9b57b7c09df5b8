"""Ledgers that are wrong on purpose, each caught by the conformance suite: what the suite's promises are worth."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from receiver.keys import StoredKey
from receiver.ledger.asking import Claim, Pause
from receiver.ledger.deliveries import ClaimedDelivery, Places
from receiver.ledger.errors import Refusal, TaskExists
from receiver.ledger.judging import Heard, Judge
from receiver.ledger.openings import Lane, Opened, OpenedAs, Opening, Unsent
from receiver.ledger.reading import Page, Query, StoredEvent
from receiver.ledger.sqlite import SqliteLedger
from receiver.ledger.sqlite.connection import in_thread
from receiver.ledger.sqlite.hearing import Hear
from receiver.ledger.sqlite.writer import Writer
from receiver.pathhealth import PathHealth
from receiver.straggler import AnswerKind, Outcome
from receiver.task import Decision
from submitter.moments import Moment
from submitter.providers.base import Trust
from tests.ledger.conformance import CHECKS
from tests.ledger.harness import SqliteEngine


class Meddler(SqliteLedger):
    """A right ledger, and statements that undo what it did: after the commit, or (`within`) inside each."""

    within: ClassVar[str] = "select 1"

    async def _write(self, act: Callable[[sqlite3.Connection], Any], *, size: int = 0) -> Any:
        def meddled(raw: sqlite3.Connection) -> Any:
            outcome = act(raw)
            raw.execute(self.within)
            return outcome

        return await super()._write(meddled, size=size)

    async def meddle(self, *statements: str) -> None:
        def run(raw: sqlite3.Connection) -> None:
            for statement in statements:
                raw.execute(statement)

        await in_thread(self._connection, run)


class ForgetsFingerprints(Meddler):
    async def apply(self, batch: Sequence[Heard], judge: Judge) -> list[Decision | Refusal]:
        outcomes = await super().apply(batch, judge)
        await self.meddle("delete from reports")
        return outcomes


class ConsumesNoFingerprintsWithinABatch(SqliteLedger):
    async def apply(self, batch: Sequence[Heard], judge: Judge) -> list[Decision | Refusal]:
        class Forgetful:
            def decide(self, task: Any, heard: Heard, heard_before: Trust | None) -> Decision:
                return judge.decide(task, heard, heard_before if len(batch) == 1 else None)

            def __getattr__(self, name: str) -> Any:
                return getattr(judge, name)

        return await super().apply(batch, Forgetful())


class IgnoresFences(Meddler):
    async def settle(self, outcomes: Sequence[Outcome], judge: Judge, pauses: Sequence[Pause] = ()) -> None:
        current = await in_thread(self._connection, lambda raw: [_refenced(raw, each) for each in outcomes])
        await super().settle(current, judge, pauses)


class IgnoresFencesOfSends(SqliteLedger):
    async def refuse(self, external_task_id: str, reason: str, *, fence: int | None, now: Moment) -> Any:
        return await super().refuse(external_task_id, reason, fence=None, now=now)


class LetsOneOriginHaveAllPlaces(SqliteLedger):
    async def claim_client_deliveries(self, *, places: Places, **more: Any) -> list[ClaimedDelivery]:
        everything = Places(in_all=places.in_all, of_tenant=places.in_all, of_origin=places.in_all)
        return await super().claim_client_deliveries(places=everything, **more)


class CallsBackWhoWasRefusedAtOnce(SqliteLedger):
    async def refuse(self, external_task_id: str, reason: str, *, fence: int | None, now: Moment) -> Any:
        await self.promise(external_task_id)
        return await super().refuse(external_task_id, reason, fence=fence, now=now)


class ForgetsWhoIsLeasedAtAnOrigin(Meddler):
    within: ClassVar[str] = "update deliveries set next_at = 0 where is_leased and destination like '@%'"


class WritesEventsTwice(Meddler):
    async def apply(self, batch: Sequence[Heard], judge: Judge) -> list[Decision | Refusal]:
        outcomes = await super().apply(batch, judge)
        await self.meddle(
            """
            insert or ignore into events (id, type, external_task_id, time, task, was, now_is)
            select id || '-again', type, external_task_id, time, task, was, now_is from events
             where id not like '%-again'
            """
        )
        return outcomes


class LeavesGapsBetweenEvents(Meddler):
    async def apply(self, batch: Sequence[Heard], judge: Judge) -> list[Decision | Refusal]:
        outcomes = await super().apply(batch, judge)
        await self.meddle("update sqlite_sequence set seq = seq + 1 where name = 'events'")
        return outcomes


class ShowsTheTaskAsItIsNow(SqliteLedger):
    async def events_after(self, position: int, *, limit: int) -> list[StoredEvent]:
        events = await super().events_after(position, limit=limit)
        latest = {event.id.partition(".")[0]: event.task for event in events}
        return [replace(event, task=latest[event.id.partition(".")[0]]) for event in events]


class LosesTheDoubt(Meddler):
    async def apply(self, batch: Sequence[Heard], judge: Judge) -> list[Decision | Refusal]:
        outcomes = await super().apply(batch, judge)
        await self.meddle("update tasks set held = null, doubt = null, doubt_since = null where doubt is not null")
        return outcomes


class DoesNotAskAboutDoubts(Meddler):
    async def apply(self, batch: Sequence[Heard], judge: Judge) -> list[Decision | Refusal]:
        outcomes = await super().apply(batch, judge)
        await self.meddle("update tasks set query_at = query_at + 60000 where doubt is not null")
        return outcomes


class AnswersBeforeCommit(Meddler):
    """Decides at once, and writes when it finds the time."""

    async def apply(self, batch: Sequence[Heard], judge: Judge) -> list[Decision | Refusal]:
        def guess(raw: sqlite3.Connection) -> Sequence[Decision | Refusal]:
            raw.execute("begin")
            try:
                return Hear(judge).run(raw, batch)
            finally:
                raw.execute("rollback")

        outcomes = list(await in_thread(self._connection, guess))
        asyncio.get_running_loop().call_later(0.05, self._write_later, batch, judge)
        return outcomes

    def _write_later(self, batch: Sequence[Heard], judge: Judge) -> None:
        if not self._writer._is_closing:
            for heard in batch:
                self._writer.enqueue(Hear(judge), heard)


class OpensInMemory(Meddler):
    async def open_task(self, opening: Opening) -> Opened:
        return Opened(outcome=OpenedAs.TO_SEND, fence=1, external_task_id=opening.external_task_id)


class ForgetsWhoIsOpen(SqliteLedger):
    async def open_task(self, opening: Opening) -> Opened:
        try:
            opened = await super().open_task(opening)
        except TaskExists:
            return Opened(outcome=OpenedAs.TO_SEND, fence=1, external_task_id=opening.external_task_id)
        return replace(opened, outcome=OpenedAs.TO_SEND)


class SpendsWithoutCounting(Meddler):
    async def claim_stragglers(
        self, *, now: Moment, lease: timedelta, limit: int, budgets: Mapping[str, int]
    ) -> list[Claim]:
        await self.meddle("update query_budgets set spent = 0")
        return await super().claim_stragglers(now=now, lease=lease, limit=limit, budgets=budgets)


class LetsDoubtSpendItAll(Meddler):
    async def claim_stragglers(
        self, *, now: Moment, lease: timedelta, limit: int, budgets: Mapping[str, int]
    ) -> list[Claim]:
        await self.meddle("update query_budgets set spent_on_doubt = 0")
        return await super().claim_stragglers(now=now, lease=lease, limit=limit, budgets=budgets)


class KeepsPausesInMemory(SqliteLedger):
    async def settle(self, outcomes: Sequence[Outcome], judge: Judge, pauses: Sequence[Pause] = ()) -> None:
        await super().settle(outcomes, judge)


class TriesWithAllThatWaits(Meddler):
    within = "update query_budgets set is_on_trial = 0"


class TriesForEver(SqliteLedger):
    async def lift(self, provider: str, *, trial: int) -> bool:
        return True


class BelievesOldTrials(Meddler):
    async def lift(self, provider: str, *, trial: int) -> bool:
        await self.meddle(f"update query_budgets set trial = {trial}")
        return await super().lift(provider, trial=trial)


class AsksAboutManyForNothing(Meddler):
    async def claim_round(self, provider: str, **asked: Any) -> list[Claim]:
        await self.meddle("update query_budgets set spent = 0")
        return await super().claim_round(provider, **asked)


class LooksOnThePageAgain(Meddler):
    async def settle(self, outcomes: Sequence[Outcome], judge: Judge, pauses: Sequence[Pause] = ()) -> None:
        await super().settle(outcomes, judge, pauses)
        await self.meddle("update tasks set alone = 0", "update listings set asked_at = '{}'")


class GivesUpTasksOfAStranger(Meddler):
    async def settle(self, outcomes: Sequence[Outcome], judge: Judge, pauses: Sequence[Pause] = ()) -> None:
        await super().settle(outcomes, judge, pauses)
        await self.meddle("update query_budgets set recent = '[]', unknown_until = 0")


class SpendsWhatItLikes(SqliteLedger):
    async def open_task(self, opening: Opening) -> Opened:
        return await super().open_task(replace(opening, units_per_day=None))


class LeasesNothing(Meddler):
    within = "update tasks set lease_until = null"


class SendsTwice(Meddler):
    within = "update tasks set send_at = sent_at where state = 'pending' and sent_at is not null"


class SendsBeforeLookingUp(Meddler):
    async def unanswered(self, external_task_id: str, reason: str, **said: Any) -> bool:
        is_awaited = await super().unanswered(external_task_id, reason, **said)
        await self.meddle("update tasks set send_at = sent_at where state = 'pending'")
        return is_awaited


class SendsThoughSlotsAreTaken(SqliteLedger):
    async def claim_unsent(self, *, now: Moment, limit: int, lanes: Mapping[str, Lane]) -> list[Unsent]:
        generous = {name: replace(lane, slot_limit=None) for name, lane in lanes.items()}
        return await super().claim_unsent(now=now, limit=limit, lanes=generous)


class SendsInTheOrderTheyCame(Meddler):
    async def claim_unsent(self, *, now: Moment, limit: int, lanes: Mapping[str, Lane]) -> list[Unsent]:
        await self.meddle("delete from turns")
        return await super().claim_unsent(now=now, limit=limit, lanes=lanes)


class KeepsTurnsInMemory(Meddler):
    async def aclose(self) -> None:
        await self.meddle("delete from turns")
        await super().aclose()


class HandsTasksToOtherTenants(SqliteLedger):
    async def open_task(self, opening: Opening) -> Opened:
        return await super().open_task(replace(opening, client=replace(opening.client, tenant="everybody")))


class CountsNobodysTasks(SqliteLedger):
    async def open_task(self, opening: Opening) -> Opened:
        return await super().open_task(replace(opening, client=replace(opening.client, quota=None)))


class ForgetsPromises(Meddler):
    within = "update tasks set promised = 0"


class CountsWhatWasNotAsked(SqliteLedger):
    async def settle(self, outcomes: Sequence[Outcome], judge: Judge, pauses: Sequence[Pause] = ()) -> None:
        told = [
            replace(each, kind=AnswerKind.TROUBLE) if each.kind is AnswerKind.NOT_ASKED else each for each in outcomes
        ]
        await super().settle(told, judge, pauses)


class BreaksTheChain(Meddler):
    async def apply(self, batch: Sequence[Heard], judge: Judge) -> list[Decision | Refusal]:
        outcomes = await super().apply(batch, judge)
        await self.meddle("update tasks set chain = null")
        return outcomes


class BelievesForeignIds(SqliteLedger):
    async def apply(self, batch: Sequence[Heard], judge: Judge) -> list[Decision | Refusal]:
        stripped = [
            replace(each, report=replace(each.report, provider_task_id=None, external_task_id=None)) for each in batch
        ]
        return await super().apply(stripped, judge)


class MixesTheOrder(SqliteLedger):
    async def apply(self, batch: Sequence[Heard], judge: Judge) -> list[Decision | Refusal]:
        return list(reversed(await super().apply(list(reversed(batch)), judge)))


class RaisesTheDead(Meddler):
    async def apply(self, batch: Sequence[Heard], judge: Judge) -> list[Decision | Refusal]:
        await self.meddle("delete from tombstones")
        return await super().apply(batch, judge)


class CancelsWithItsCaller(SqliteLedger):
    async def apply(self, batch: Sequence[Heard], judge: Judge) -> list[Decision | Refusal]:
        try:
            return await super().apply(batch, judge)
        except asyncio.CancelledError:
            self._writer._waiting.clear()
            raise


class FailsWholeBatches(SqliteLedger):
    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)

        async def fail(batch: list[Any], error: Exception) -> None:
            for entry in batch:
                entry.future.set_exception(error)
                entry.future.exception()

        self._writer._halve = fail  # type: ignore[method-assign]


class QueuesWithoutBound(SqliteLedger):
    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._writer.enqueue = _unbounded(self._writer)  # type: ignore[method-assign]


class KeepsPictures(Meddler):
    async def apply(self, batch: Sequence[Heard], judge: Judge) -> list[Decision | Refusal]:
        await self.meddle("create table if not exists spare as select * from inline_images")
        outcomes = await super().apply(batch, judge)
        await self.meddle("insert or ignore into inline_images select * from spare")
        return outcomes


class ThrowsPicturesAwayEarly(Meddler):
    async def defer(self, external_task_id: str, reason: str, *, fence: int, send_at: Moment) -> None:
        await super().defer(external_task_id, reason, fence=fence, send_at=send_at)
        await self.meddle("delete from inline_images")


class KeepsEverythingUnreadable(Meddler):
    async def keep_unreadable(self, *, body: bytes, **kept: Any) -> None:
        await super().keep_unreadable(body=body, **kept)
        await self.meddle(f"update unreadable set body = x'{body[:20_000].hex()}', key = -key where key > 0")


class ReplaysInTwoCommits(SqliteLedger):
    """The effect first, and the drawer whenever there is time."""

    async def replay(self, key: int, heard: Heard, judge: Judge) -> Decision | None:
        [outcome] = await self.apply([heard], judge)
        if isinstance(outcome, Refusal):
            raise outcome
        return outcome


class ReplaysWithoutLooking(SqliteLedger):
    """Whether it is in the drawer still or not."""

    async def replay(self, key: int, heard: Heard, judge: Judge) -> Any:
        decision = await super().replay(key, heard, judge)
        return decision or (await self.apply([heard], judge))[0]


class ExpiresEarly(SqliteLedger):
    async def settle_overdue(self, judge: Judge, *, now: Moment, limit: int) -> list[Decision]:
        return await super().settle_overdue(judge, now=now + 1, limit=limit)


class ListsEverybodysTasks(SqliteLedger):
    async def tasks(self, query: Query) -> Page:
        return await super().tasks(replace(query, tenant=None))


class ForgetsRevocations(Meddler):
    async def revoke_key(self, name: str, *, now: Moment) -> StoredKey:
        revoked = await super().revoke_key(name, now=now)
        await self.meddle("update keys set revoked_at = null")
        return revoked


class NeverSeesTheDark(Meddler):
    async def apply(self, batch: Sequence[Heard], judge: Judge) -> list[Decision | Refusal]:
        outcomes = await super().apply(batch, judge)
        await self.meddle("delete from paths")
        return outcomes


class LeavesQuestionsWhereTheyWere(Meddler):
    """Whatever becomes of the path."""

    async def apply(self, batch: Sequence[Heard], judge: Judge) -> list[Decision | Refusal]:
        class Patient:
            def query_on_path(self, sent_at: Moment, *, path: PathHealth, **others: Any) -> Moment:
                return judge.query_on_path(sent_at, path=PathHealth(), **others)

            def __getattr__(self, name: str) -> Any:
                return getattr(judge, name)

        return await super().apply(batch, Patient())


class PlansNoMoreThanTheFirst(SqliteLedger):
    async def is_left_to_plan(self) -> bool:
        return False


class ForgetsWhatIsLeftToPlan(Meddler):
    async def aclose(self) -> None:
        await self.meddle("delete from replans")
        await super().aclose()


class GivesUpWhatItHasJustSent(SqliteLedger):
    async def claim_unsent(self, *, now: Moment, limit: int, lanes: Mapping[str, Lane]) -> list[Unsent]:
        hasty = {name: replace(lane, give_up_at=0) for name, lane in lanes.items()}
        return await super().claim_unsent(now=now, limit=limit, lanes=hasty)


class PutsDeadlinesOffForEver(Meddler):
    within = "update tasks set deadline_before = null"


def _refenced(raw: sqlite3.Connection, outcome: Outcome) -> Outcome:
    """The outcome under whatever fence is in force."""
    row = raw.execute("select fence from tasks where external_task_id = ?", (outcome.external_task_id,)).fetchone()
    return replace(outcome, fence=row["fence"])


def _unbounded(writer: Writer) -> Callable[..., Any]:
    def enqueue(write: Any, item: Any, *, size: int = 0) -> Any:
        return Writer.enqueue(writer, write, item) if len(writer._waiting) < 4_000 else _never(writer, write, item)

    return enqueue


def _never(writer: Writer, write: Any, item: Any) -> Any:
    """One more, whatever waits already."""
    waiting = list(writer._waiting)
    writer._waiting.clear()
    future = Writer.enqueue(writer, write, item)
    writer._waiting.extendleft(reversed(waiting))
    return future


CAUGHT_BY: list[tuple[type[SqliteLedger], str]] = [
    (ForgetsFingerprints, "test_the_same_fact_again_after_a_restart_has_no_effect"),
    (ForgetsFingerprints, "test_each_report_gets_the_verdict_that_it_deserves"),
    (ConsumesNoFingerprintsWithinABatch, "test_the_same_fact_twice_in_one_batch_has_one_effect"),
    (IgnoresFences, "test_an_outcome_under_an_old_fence_changes_nothing"),
    (IgnoresFencesOfSends, "test_a_refusal_of_the_earlier_life_does_not_touch_the_new_one"),
    (LetsOneOriginHaveAllPlaces, "test_of_an_origin_no_more_are_under_way_than_it_has_places"),
    (LetsOneOriginHaveAllPlaces, "test_a_tenants_origins_leave_places_to_others"),
    (CallsBackWhoWasRefusedAtOnce, "test_a_refusal_is_told_only_where_the_client_was_told_that_the_task_is_ours"),
    (ForgetsWhoIsLeasedAtAnOrigin, "test_what_is_leased_to_tell_a_client_is_nobody_elses_until_the_lease_is_over"),
    (WritesEventsTwice, "test_each_change_is_told_once_with_dense_positions"),
    (LeavesGapsBetweenEvents, "test_positions_stay_dense_across_refusals_and_restarts"),
    (ShowsTheTaskAsItIsNow, "test_an_event_is_the_task_and_its_version_with_the_snapshot_of_its_commit"),
    (LosesTheDoubt, "test_a_final_in_doubt_is_held_and_asked_about_at_once_even_after_a_restart"),
    (DoesNotAskAboutDoubts, "test_a_final_in_doubt_is_held_and_asked_about_at_once_even_after_a_restart"),
    (AnswersBeforeCommit, "test_what_was_decided_is_on_disk_when_it_is_answered"),
    (OpensInMemory, "test_a_submission_is_on_disk_before_its_opener_may_send_it"),
    (ForgetsWhoIsOpen, "test_the_same_request_again_is_recognised_and_nobody_sends_it"),
    (ForgetsWhoIsOpen, "test_two_openers_at_once_send_it_once"),
    (SpendsWithoutCounting, "test_the_budget_of_a_minute_is_spent_once_even_across_a_restart"),
    (LetsDoubtSpendItAll, "test_doubt_may_use_a_quarter_of_the_budget_even_across_a_restart"),
    (KeepsPausesInMemory, "test_a_paused_account_is_left_in_peace_even_after_a_restart"),
    (TriesWithAllThatWaits, "test_after_a_stop_one_create_alone_tries_even_across_a_restart"),
    (TriesWithAllThatWaits, "test_where_no_create_waits_one_question_tries"),
    (TriesForEver, "test_once_it_is_served_all_that_waits_may_leave_at_once"),
    (BelievesOldTrials, "test_a_trial_that_nobody_answered_is_made_again_and_its_late_word_is_not_believed"),
    (AsksAboutManyForNothing, "test_a_page_is_one_request_of_the_budget_however_many_tasks_it_is_for"),
    (LooksOnThePageAgain, "test_a_task_that_a_page_did_not_show_is_asked_about_by_itself_and_not_counted"),
    (GivesUpTasksOfAStranger, "test_no_such_task_is_not_believed_of_an_account_that_is_strange_to_its_provider"),
    (SpendsWhatItLikes, "test_creates_that_would_go_over_the_day_wait_and_say_why"),
    (LeasesNothing, "test_two_claimers_never_get_the_same_task"),
    (SendsTwice, "test_two_senders_never_get_the_same_task"),
    (SendsBeforeLookingUp, "test_a_lost_create_is_looked_up_before_it_is_sent_again_under_the_same_id"),
    (SendsThoughSlotsAreTaken, "test_a_large_task_that_waits_is_not_overtaken_by_small_ones"),
    (SendsInTheOrderTheyCame, "test_tenants_take_turns_whoever_came_first_and_has_more_waiting"),
    (KeepsTurnsInMemory, "test_turns_go_on_in_the_same_order_after_a_restart"),
    (HandsTasksToOtherTenants, "test_tenants_do_not_meet_by_the_ids_and_keys_they_choose"),
    (CountsNobodysTasks, "test_a_tenant_has_no_more_tasks_running_than_its_quota"),
    (ForgetsPromises, "test_a_promised_one_is_not_submitted_anew"),
    (CountsWhatWasNotAsked, "test_a_question_that_never_left_is_not_counted"),
    (BreaksTheChain, "test_the_reports_of_a_task_are_a_chain_that_verifies_link_by_link"),
    (BelievesForeignIds, "test_an_id_of_another_task_is_foreign_and_changes_nothing"),
    (MixesTheOrder, "test_a_batch_is_decided_in_order_each_on_what_the_last_one_left"),
    (RaisesTheDead, "test_news_of_a_pruned_task_is_stale_and_does_not_raise_it"),
    (CancelsWithItsCaller, "test_a_caller_that_goes_away_does_not_take_its_report_along"),
    (FailsWholeBatches, "test_one_poisoned_report_of_sixty_four_harms_none_of_the_others"),
    (QueuesWithoutBound, "test_a_write_that_finds_the_queue_full_is_told_to_come_again"),
    (KeepsPictures, "test_inline_pictures_are_kept_until_the_create_is_answered"),
    (ThrowsPicturesAwayEarly, "test_inline_pictures_are_kept_until_the_create_is_answered"),
    (KeepsEverythingUnreadable, "test_of_each_unreadable_body_sixteen_kib_are_kept"),
    (KeepsEverythingUnreadable, "test_the_latest_thousand_unreadable_bodies_are_kept"),
    (ReplaysInTwoCommits, "test_what_is_replayed_leaves_the_drawer_with_its_effect"),
    (ReplaysWithoutLooking, "test_what_has_left_the_drawer_is_not_heard_again"),
    (ListsEverybodysTasks, "test_a_tenants_pages_show_its_own_tasks_at_its_own_accounts_alone"),
    (ForgetsRevocations, "test_a_revocation_is_for_good_and_twice_is_once"),
    (NeverSeesTheDark, "test_a_path_stays_dark_over_a_restart"),
    (LeavesQuestionsWhereTheyWere, "test_in_the_dark_every_task_that_runs_is_due_as_soon_as_asking_pays"),
    (PlansNoMoreThanTheFirst, "test_of_many_that_run_none_is_left_as_it_was_where_the_path_turns_even_by_a_restart"),
    (ForgetsWhatIsLeftToPlan, "test_of_many_that_run_none_is_left_as_it_was_where_the_path_turns_even_by_a_restart"),
    (GivesUpWhatItHasJustSent, "test_what_left_after_a_long_wait_is_believed_in_as_if_it_had_not_waited"),
    (PutsDeadlinesOffForEver, "test_a_create_that_came_to_nothing_moves_no_deadline"),
    (ExpiresEarly, "test_a_silent_task_expires_at_its_deadline_and_not_before"),
]


@pytest.mark.parametrize(("wrong", "check"), CAUGHT_BY, ids=lambda each: getattr(each, "__name__", None))
async def test_a_wrong_ledger_fails_the_check_that_is_there_for_it(
    wrong: type[SqliteLedger], check: str, tmp_path: Path
) -> None:
    engine = SqliteEngine(tmp_path, wrong)

    try:
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            await CHECKS[check](engine)
    finally:
        await engine.aclose()
