"""What a report, a refusal or a deadline makes of a task. Pure: no clock, no I/O, no dice.

A report has a status and facts. The verdict judges the status; facts merge whatever the verdict.

- `TRANSITIONS` is the whole table: a stimulus that is missing from a state's row changes nothing there.
- A status is applied only forwards; the same fact again is a duplicate, an older one is stale.
- A final known by URL token alone may be overturned, once and audibly, by proof: an answer to our own
  question, or a signed callback. Proof itself is not overturned: what contradicts it is a counted conflict.
- Two successes by token with different images are in doubt like opposite finals: one of them is forged.
- A final in doubt is *held*: the task stays processing until a question is answered (`receiver.poller`).
- A valid report revives what was refused or expired: the provider knows better than our deadline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal, TypeAlias

from receiver.facts import contradicts_images, merge_facts, proven_images
from receiver.task import (
    EVENT_OF_STATE,
    FINAL_OF_STATE,
    Decision,
    Doubt,
    Event,
    EventType,
    ReportCounts,
    Rules,
    SettledBy,
    Source,
    Task,
    TaskState,
    Verdict,
)
from submitter.moments import Moment, millis
from submitter.providers.base import Trust
from submitter.report import ReportedStatus, StatusReport

HELD_FOR = timedelta(minutes=15)  # then confirm = "doubt" settles on what was heard (design §4)

Stimulus: TypeAlias = ReportedStatus | Literal["refusal", "deadline"]
STIMULI: tuple[Stimulus, ...] = (*ReportedStatus, "refusal", "deadline")

_FORWARD: Mapping[Stimulus, TaskState] = {
    ReportedStatus.PROCESSING: TaskState.PROCESSING,
    ReportedStatus.SUCCEED: TaskState.SUCCEEDED,
    ReportedStatus.FAILED: TaskState.FAILED,
}
_REVIVAL: Mapping[Stimulus, TaskState] = {ReportedStatus.SUBMITTED: TaskState.SUBMITTED, **_FORWARD}

TRANSITIONS: Mapping[TaskState, Mapping[Stimulus, TaskState]] = {
    TaskState.PENDING: {**_REVIVAL, "refusal": TaskState.REFUSED, "deadline": TaskState.EXPIRED},
    TaskState.SUBMITTED: {**_FORWARD, "deadline": TaskState.EXPIRED},
    TaskState.PROCESSING: {
        ReportedStatus.SUCCEED: TaskState.SUCCEEDED,
        ReportedStatus.FAILED: TaskState.FAILED,
        "deadline": TaskState.EXPIRED,
    },
    TaskState.SUCCEEDED: {},  # but see `overturn`
    TaskState.FAILED: {},
    TaskState.REFUSED: _REVIVAL,
    TaskState.EXPIRED: _REVIVAL,
}


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


def adopt(external_task_id: str, *, provider: str, now: Moment, give_up_after: timedelta) -> Task:
    """The task of a callback with a valid token that this ledger never knew: its request is lost to us."""
    return Task(
        external_task_id=external_task_id,
        provider=provider,
        endpoint=None,
        created_at=now,
        deadline_at=now + millis(give_up_after),
        adopted=True,
    )


def refuse(task: Task, reason: str, *, now: Moment) -> Decision:
    """The provider said no to the create. Once anything was heard of the task, a refusal is not believed."""
    if TRANSITIONS[task.state].get("refusal") is None:
        return Decision(verdict=None, task=task)
    return _told(_rested(task, TaskState.REFUSED, SettledBy.REFUSAL, reason, now), now)


def note(task: Task, reason: str) -> Task:
    """The task with a word on why it is still pending; one that has moved on keeps its own."""
    if task.state is not TaskState.PENDING or task.message == reason:
        return task
    return replace(task, message=reason, version=task.version + 1)


def submit_anew(refused: Task, fresh: Task) -> Task:
    """A refused id may be submitted anew: its versions and counts go on, all else begins again."""
    return replace(fresh, version=refused.version + 1, reports=refused.reports, queries=refused.queries)


def expire(task: Task, reason: str, *, now: Moment, settled_by: SettledBy = SettledBy.DEADLINE) -> Decision:
    """The deadline has come (or the provider knows no such task): the ledger stops asking, not listening."""
    if TRANSITIONS[task.state].get("deadline") is None:
        return Decision(verdict=None, task=task)
    return _told(_rested(task, TaskState.EXPIRED, settled_by, reason, now), now)


def overdue(task: Task, *, rules: Rules, now: Moment) -> Decision | None:
    """What time alone makes of a task: it expires, or settles on a held final that nobody answered about."""
    if task.is_at_rest:
        return None
    is_time_up = task.deadline_at <= now
    if task.held is not None and rules.confirm != "terminal" and (is_time_up or _is_long_held(task, now)):
        return _told(_settled(task, task.held, SettledBy.CALLBACK, task.trust or Trust.TOKEN, now), now)
    if is_time_up:
        return expire(task, _reason_of_silence(task), now=now)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hearing:
    """One report on its way to a verdict: what each road to one needs at hand."""

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
        known = _undoubted(self.known)
        if self.report.is_final:
            if self.contradicts_held() and self.is_known_as_well():
                return self.conclude(Verdict.CONFLICT, self.doubted(Doubt.OPPOSITE_FINALS))
            doubt = self.doubt_of_completeness()
            return self.settle(known) if doubt is None else self.hold(doubt)
        if self.before.held is None:
            return self.advance(known)
        if not self.answers_a_claim():
            return self.advance(self.known)
        return self.advance(_without_unproven_images(known))  # it was not true, or not yet

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
        return self.conclude(verdict, replace(_undoubted(self.known), trust=trust))

    def overturn(self) -> Decision:
        """Proof against what was known by token alone: `task.conflict`, then the true final."""
        status = ReportedStatus(self.report.status)
        images = proven_images(self.report, self.before.images) if status is ReportedStatus.SUCCEED else ()
        known = replace(self.known, images=images, images_proven=bool(images))
        settled_by = SettledBy(self.source)
        after = _counted(
            _settled(known, status, settled_by, self.trust, self.now, self.report.message), Verdict.CONFLICT
        )
        told = replace(after, version=self.before.version + 1)
        final = replace(after, version=self.before.version + 2)
        conflict = Event(type=EventType.CONFLICT, task=told, time=self.now, was=self.before.state, now_is=after.state)
        events = (conflict, Event(type=EVENT_OF_STATE[after.state], task=final, time=self.now))
        return Decision(verdict=Verdict.CONFLICT, task=final, events=events)

    def advance(self, known: Task) -> Decision:
        """A status that is not final: forwards, or not at all. An unknown word goes nowhere."""
        status = self.report.status
        target = TRANSITIONS[self.before.state].get(status) if isinstance(status, ReportedStatus) else None
        if target is None:
            return self.conclude(self.repeated_or(Verdict.STALE), known)
        return self.conclude(Verdict.APPLIED, _moved(known, target, self.now, self.report.message))

    def hold(self, doubt: Doubt) -> Decision:
        """A final in doubt: the task waits, processing, for the answer to a question."""
        if self.before.held is not None and (self.is_known_as_well() or not self.trust.is_proof):
            return self.conclude(Verdict.STALE, self.doubted(doubt))
        moved = _moved(self.doubted(doubt), TaskState.PROCESSING, self.now, self.report.message)
        since = self.now if self.before.held is None else moved.doubt_since
        held = replace(moved, held=ReportedStatus(self.report.status), trust=self.trust, doubt_since=since)
        return self.conclude(Verdict.APPLIED, held)

    def settle(self, known: Task) -> Decision:
        """A final that is believed."""
        status = ReportedStatus(self.report.status)
        settled_by = SettledBy(self.source)
        return self.conclude(
            Verdict.APPLIED, _settled(known, status, settled_by, self.trust, self.now, self.report.message)
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
        if self.report.is_series:
            return Doubt.SERIES
        return Doubt.INCOMPLETE if len(self.known.images) < (self.known.images_asked or 1) else None

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
        has_changed = after != self.before
        counted = _counted(after, verdict)
        raised = after.doubt is not None and (self.before.doubt is None or verdict is Verdict.CONFLICT)
        ask_now = raised and self.source is Source.CALLBACK
        if after.state is not self.before.state:
            return replace(_told(counted, self.now), verdict=verdict, ask_now=ask_now)
        task = replace(counted, version=self.before.version + has_changed)
        return Decision(verdict=verdict, task=task, ask_now=ask_now)


def _told(after: Task, now: Moment) -> Decision:
    """The decision for a task whose state has changed."""
    task = replace(after, version=after.version + 1)
    return Decision(verdict=None, task=task, events=(Event(type=EVENT_OF_STATE[task.state], task=task, time=now),))


def _moved(task: Task, state: TaskState, now: Moment, message: str) -> Task:
    """The task in a state it does not rest in, revived where it had come to rest."""
    submitted_at = now if task.submitted_at is None else task.submitted_at
    moved = replace(task, state=state, message=message, submitted_at=submitted_at)
    if not task.is_at_rest:
        return moved
    lifetime = max(task.deadline_at - task.created_at, 0)
    return replace(moved, settled_by=None, settled_at=None, deadline_at=max(task.deadline_at, now + lifetime))


def _settled(
    task: Task, status: ReportedStatus, by: SettledBy, trust: Trust, now: Moment, message: str | None = None
) -> Task:
    state = _FORWARD[status]
    submitted_at = now if task.submitted_at is None else task.submitted_at
    images = _without_unproven_images(task).images if state is TaskState.FAILED and trust.is_proof else task.images
    return replace(
        _undoubted(task),
        state=state,
        images=images,
        message=task.message if message is None else message,
        settled_by=by,
        trust=trust,
        submitted_at=submitted_at,
        settled_at=now,
    )


def _rested(task: Task, state: TaskState, by: SettledBy, reason: str, now: Moment) -> Task:
    return replace(_undoubted(task), state=state, message=reason, settled_by=by, settled_at=now)


def _undoubted(task: Task) -> Task:
    trust = task.trust if task.is_settled else None
    return replace(task, held=None, doubt=None, doubt_since=None, trust=trust)


def _without_unproven_images(task: Task) -> Task:
    return task if task.images_proven else replace(task, images=())


def _counted(task: Task, verdict: Verdict) -> Task:
    counts = task.reports
    return replace(
        task,
        reports=ReportCounts(
            applied=counts.applied + (verdict is Verdict.APPLIED),
            duplicate=counts.duplicate + (verdict is Verdict.DUPLICATE),
            stale=counts.stale + (verdict is Verdict.STALE),
            conflict=counts.conflict + (verdict is Verdict.CONFLICT),
        ),
    )


def _is_long_held(task: Task, now: Moment) -> bool:
    return task.doubt_since is not None and task.doubt_since + millis(HELD_FOR) <= now


def _reason_of_silence(task: Task) -> str:
    if task.sent_at is None and not task.adopted:
        return "the deadline came before it could be sent"
    if task.is_unanswered:
        return "the provider never answered the create, and nothing was heard by the deadline"
    return "nothing final was heard by the deadline"
