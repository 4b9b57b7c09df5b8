"""The verdict on a report: what it changes of a task, and whether it is to be believed. Pure.

A report has a status and facts. The verdict judges the status; facts merge whatever the verdict.

- The same fact again is a duplicate, an older status is stale.
- A final known by URL token alone may be overturned, once and audibly, by proof: an answer to our own
  question, or a signed callback. Proof itself is not overturned: what contradicts it is a counted conflict.
- Two successes by token with different images are in doubt like opposite finals: one of them is forged.
- A final in doubt is *held*: the task stays processing until a question is answered (`receiver.poller`).
"""

from __future__ import annotations

from dataclasses import dataclass

from receiver.eventtype import EventType
from receiver.facts import contradicts_images, merge_facts, proven_images
from receiver.lifecycle import TRANSITIONS, moved, news, settled, undoubted, without_unproven_images
from receiver.task import (
    FINAL_OF_STATE,
    Decision,
    Doubt,
    Event,
    ReportCounts,
    Rules,
    SettledBy,
    Source,
    Task,
    TaskState,
    Verdict,
)
from receiver.values import replace
from submitter.moments import Moment
from submitter.providers.base import Trust
from submitter.report import ReportedStatus, StatusReport


def decide(
    task: Task,
    report: StatusReport,
    *,
    heard_before: Trust | None,
    source: Source,
    trust: Trust,
    rules: Rules,
    now: Moment,
) -> Decision:
    """The verdict on a report. `heard_before` is the best trust with which this very fact was heard already."""
    is_answer_awaited = task.held is not None and source is Source.QUERY
    repeats = heard_before is not None and (heard_before.is_proof or not trust.is_proof) and not is_answer_awaited
    known = merge_facts(task, report, source=source, is_proof=trust.is_proof)
    hearing = _Hearing(
        before=task,
        known=known,
        report=report,
        heard_before=heard_before is not None,
        source=source,
        trust=trust,
        rules=rules,
        now=now,
    )
    if repeats:
        return hearing.conclude(Verdict.DUPLICATE, known)
    if task.is_settled:
        return hearing.after_settling()
    return hearing.of_proof() if trust.is_proof else hearing.of_token()


@dataclass(slots=True, kw_only=True)
class _Hearing:
    """One report on its way to a verdict: what each road to one needs at hand. Nothing of it is changed."""

    before: Task
    known: Task
    report: StatusReport
    heard_before: bool
    source: Source
    trust: Trust
    rules: Rules
    now: Moment

    def of_proof(self) -> Decision:
        """The provider's own word on a task that is not settled: it ends any doubt, but for what is incomplete."""
        known = undoubted(self.known)
        if self.report.is_final:
            if self.contradicts_held() and self.is_known_as_well():
                return self.conclude(Verdict.CONFLICT, self.doubted(Doubt.OPPOSITE_FINALS))
            doubt = self.doubt_of_completeness()
            return self.settle(known) if doubt is None else self.hold(doubt)
        if self.before.held is None:
            return self.advance(known)
        if not self.answers_a_claim():
            return self.advance(self.known)
        return self.advance(without_unproven_images(known))  # it was not true, or not yet

    def answers_a_claim(self) -> bool:
        """Only a query does, and with a known word: the create's answer and late callbacks speak of before."""
        return self.source is Source.QUERY and isinstance(self.report.status, ReportedStatus)

    def of_token(self) -> Decision:
        """A callback's word on a task that is not settled."""
        if not self.report.is_final:
            return self.advance(self.doubted(self.foreign_id()))
        if self.contradicts_held():
            return self.conclude(Verdict.CONFLICT, self.doubted(Doubt.OPPOSITE_FINALS))
        doubt = self.doubt_of_final()
        return self.settle(self.known) if doubt is None else self.hold(doubt)

    def after_settling(self) -> Decision:
        """A report about a task that has its final already."""
        if not self.report.is_final:
            return self.conclude(self.repeated_or(Verdict.STALE), self.known)
        if self.report.status is FINAL_OF_STATE[self.before.state]:
            return self.agree()
        if self.trust.is_proof and not self.before.is_proven:
            return self.overturn()
        doubt = Doubt.OPPOSITE_FINALS if self.is_checkable() else None
        return self.conclude(Verdict.CONFLICT, self.doubted(doubt))

    def agree(self) -> Decision:
        """The same final again. Proof ends the doubt and may bring other images: then they replace."""
        if not self.trust.is_proof:
            doubt = Doubt.OTHER_IMAGES if self.shows_other_images() and self.is_checkable() else None
            return self.conclude(self.repeated_or(Verdict.STALE), self.doubted(doubt))
        if self.before.doubt is Doubt.OTHER_IMAGES and self.shows_other_images():
            return self.overturn()
        verdict = Verdict.APPLIED if self.known.images != self.before.images else self.repeated_or(Verdict.STALE)
        trust = self.before.trust if self.before.is_proven else self.trust
        return self.conclude(verdict, replace(undoubted(self.known), trust=trust))

    def overturn(self) -> Decision:
        """Proof against what was known by token alone: `task.conflict`, then the true final."""
        status = ReportedStatus(self.report.status)
        images = proven_images(self.report, self.before.images) if status is ReportedStatus.SUCCEED else ()
        known = replace(self.known, images=images, images_proven=bool(images))
        settled_by = SettledBy(self.source)
        overturned = settled(known, status, settled_by, self.trust, self.now, self.report.message)
        after = replace(overturned, reports=_counted(self.before.reports, Verdict.CONFLICT))
        audible = replace(after, version=self.before.version + 1)
        final = replace(after, version=self.before.version + 2)
        conflict = Event(
            type=EventType.CONFLICT, task=audible, time=self.now, was=self.before.state, now_is=after.state
        )
        events = (conflict, news(final, self.now))
        return Decision(verdict=Verdict.CONFLICT, task=final, events=events)

    def advance(self, known: Task) -> Decision:
        """A status that is not final: forwards, or not at all. An unknown word goes nowhere."""
        status = self.report.status
        target = TRANSITIONS[self.before.state].get(status) if isinstance(status, ReportedStatus) else None
        if target is None:
            return self.conclude(self.repeated_or(Verdict.STALE), known)
        return self.conclude(Verdict.APPLIED, moved(known, target, self.now, self.report.message))

    def hold(self, doubt: Doubt) -> Decision:
        """A final in doubt: the task waits, processing, for the answer to a question."""
        if self.before.held is not None and (self.is_known_as_well() or not self.trust.is_proof):
            return self.conclude(Verdict.STALE, self.doubted(doubt))
        waiting = moved(self.doubted(doubt), TaskState.PROCESSING, self.now, self.report.message)
        since = self.now if self.before.held is None else waiting.doubt_since
        held = replace(waiting, held=ReportedStatus(self.report.status), trust=self.trust, doubt_since=since)
        return self.conclude(Verdict.APPLIED, held)

    def settle(self, known: Task) -> Decision:
        """A final that is believed."""
        status = ReportedStatus(self.report.status)
        settled_by = SettledBy(self.source)
        return self.conclude(
            Verdict.APPLIED, settled(known, status, settled_by, self.trust, self.now, self.report.message)
        )

    def contradicts_held(self) -> bool:
        """Whether the task is held on the opposite final."""
        return self.before.held is not None and self.before.held is not self.report.status

    def is_known_as_well(self) -> bool:
        """Whether the final that is held was signed, so that only an answer to our question weighs more."""
        is_signed = self.before.trust is not None and self.before.trust.is_proof
        return is_signed and self.source is Source.CALLBACK

    def is_checkable(self) -> bool:
        """Whether a contradiction of the known final is worth asking about."""
        return not self.before.is_proven and self.rules.confirm != "never"

    def shows_other_images(self) -> bool:
        """Whether the report has another image in a place that is known."""
        return contradicts_images(self.before.images, self.report)

    def doubt_of_final(self) -> Doubt | None:
        """Why this final, heard by URL token alone, must be checked by asking."""
        if self.rules.confirm == "never":
            return None
        if self.rules.confirm == "terminal":
            return Doubt.UNCONFIRMED
        if self.before.doubt is Doubt.OPPOSITE_FINALS:
            return Doubt.OPPOSITE_FINALS
        return self.doubt_of_completeness() or self.foreign_id()

    def doubt_of_completeness(self) -> Doubt | None:
        """Callbacks, signed ones too, may carry part of a result only (wire.md §4): one question completes it."""
        is_whole = self.source is not Source.CALLBACK or self.report.status is not ReportedStatus.SUCCEED
        if is_whole or self.rules.confirm == "never":
            return None
        if self.report.is_series or self.before.is_series:
            return Doubt.SERIES
        are_fewer = len(self.known.images) < (self.known.images_asked or 1)
        lack_marks = self.before.asks_watermark and any(not image.watermark_url for image in self.known.images)
        return Doubt.INCOMPLETE if are_fewer or lack_marks else None

    def foreign_id(self) -> Doubt | None:
        """Another id than the provider gave us, where the two should be one."""
        heard, known = self.report.provider_task_id, self.before
        is_foreign = (
            self.rules.callback_id_is_task_id
            and self.rules.confirm != "never"
            and known.task_id is not None
            and known.task_id_source is not Source.CALLBACK
            and heard is not None
            and heard != known.task_id
        )
        return Doubt.FOREIGN_ID if is_foreign else None

    def doubted(self, doubt: Doubt | None) -> Task:
        """The task with this doubt. The first doubt's moment stays: what is held is not held for ever."""
        if doubt is None:
            return self.known
        since = self.now if self.known.doubt_since is None else self.known.doubt_since
        return replace(self.known, doubt=doubt, doubt_since=since)

    def repeated_or(self, otherwise: Verdict) -> Verdict:
        """Duplicate where this fact was heard before, at whatever trust."""
        return Verdict.DUPLICATE if self.heard_before else otherwise

    def conclude(self, verdict: Verdict, after: Task) -> Decision:
        """The decision, with the version, the event and the counts that follow from what changed."""
        raised = after.doubt is not None and (self.before.doubt is None or verdict is Verdict.CONFLICT)
        is_news = after.state is not self.before.state
        has_changed = is_news or (after is not self.before and after != self.before)
        version = self.before.version + has_changed
        task = replace(after, version=version, reports=_counted(self.before.reports, verdict))
        return Decision(
            verdict=verdict,
            task=task,
            events=(news(task, self.now),) if is_news else (),
            ask_now=raised and self.source is Source.CALLBACK,
        )


def _counted(counts: ReportCounts, verdict: Verdict) -> ReportCounts:
    return ReportCounts(
        applied=counts.applied + (verdict is Verdict.APPLIED),
        duplicate=counts.duplicate + (verdict is Verdict.DUPLICATE),
        stale=counts.stale + (verdict is Verdict.STALE),
        conflict=counts.conflict + (verdict is Verdict.CONFLICT),
    )
