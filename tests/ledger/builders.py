"""What the ledger tests arrange with: openings, reports on their way in, outcomes, and a judge of the real rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from receiver.ingest import LedgerJudge
from receiver.ledger.asking import Claim
from receiver.ledger.base import Ledger
from receiver.ledger.judging import Heard
from receiver.ledger.openings import Lane, Opening, Unsent
from receiver.schedule import QueryPlan
from receiver.straggler import AnswerKind, Outcome
from receiver.task import Decision, Rules, Source, Task
from submitter.moments import Moment
from submitter.providers.base import Trust
from submitter.report import ReportedStatus, ResultImage, StatusReport

NOW: Moment = 1_795_168_800_000  # 2026-11-20T10:00:00Z
SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
LEASE = timedelta(seconds=90)

OURS = "t_ours"
THEIRS = "t_theirs"
PROVIDER = "cometapi"
STRICT = "strict"  # an account with confirm = "terminal"

SUBMITTED, PROCESSING, SUCCEED, FAILED = ReportedStatus

JUDGE = LedgerJudge(rules={PROVIDER: Rules(), STRICT: Rules(confirm="terminal")}, plan=QueryPlan())


def opening(external_task_id: str = OURS, **changes: Any) -> Opening:
    """A submission of one image, to be looked up after 90 seconds."""
    usual = Opening(
        external_task_id=external_task_id,
        provider=PROVIDER,
        endpoint="omni-image",
        request='{"prompt":"a quay at dawn"}',
        request_digest=b"a quay at dawn",
        images_asked=1,
        slots=1,
        slot_limit=None,
        now=NOW,
        deadline_at=NOW + 24 * HOUR,
        first_query_at=NOW + 90 * SECOND,
    )
    return replace(usual, **changes)


def image(index: int = 0, name: str = "a") -> ResultImage:
    """One finished image."""
    return ResultImage(index=index, url=f"https://cdn.example.com/{name}.png?sig=1")


def report(status: ReportedStatus | str, *images: ResultImage, **changes: Any) -> StatusReport:
    """What was said, without an id of ours, as CometAPI's callbacks do."""
    said = StatusReport(
        provider=PROVIDER, provider_task_id=None, external_task_id=None, status=status, images=tuple(images)
    )
    return replace(said, **changes)


def callback(
    status: ReportedStatus | str,
    *images: ResultImage,
    task: str = OURS,
    now: Moment = NOW,
    trust: Trust = Trust.TOKEN,
    provider: str = PROVIDER,
    **said: Any,
) -> Heard:
    """A report that came to the task's own URL."""
    return Heard(
        provider=provider,
        external_task_id=task,
        report=report(status, *images, provider=provider, **({"provider_task_id": f"p-{task}"} | said)),
        source=Source.CALLBACK,
        trust=trust,
        now=now,
        body=b"{}",
    )


def answer(status: ReportedStatus | str = SUBMITTED, *images: ResultImage, **more: Any) -> Heard:
    """What the provider answered to the create itself."""
    return replace(callback(status, *images, **more), source=Source.ANSWER, trust=Trust.QUERIED)


def queried(status: ReportedStatus | str, *images: ResultImage, **more: Any) -> Heard:
    """The answer to our own question."""
    return replace(callback(status, *images, **more), source=Source.QUERY, trust=Trust.QUERIED)


def poison(**more: Any) -> Heard:
    """A report that no database can write: half a surrogate pair, which readers keep out."""
    return callback(PROCESSING, message="\ud800", **more)


def outcome_of(claim: Claim, kind: AnswerKind, *, now: Moment, **changes: Any) -> Outcome:
    """What became of a claim."""
    usual = Outcome(
        external_task_id=claim.task.external_task_id, fence=claim.fence, kind=kind, now=now, purpose=claim.purpose
    )
    return replace(usual, **changes)


def lane(slot_limit: int | None = None, first_query_at: Moment | None = NOW + 90 * SECOND) -> dict[str, Lane]:
    """The usual account's lane."""
    return {PROVIDER: Lane(slot_limit=slot_limit, first_query_at=first_query_at)}


async def hear(ledger: Ledger, *batch: Heard) -> list[Decision]:
    """All of it in one batch, where no refusal is expected."""
    outcomes = await ledger.apply(batch, JUDGE)
    assert [] == [each for each in outcomes if not isinstance(each, Decision)]
    return [each for each in outcomes if isinstance(each, Decision)]


async def task_of(ledger: Ledger, external_task_id: str = OURS) -> Task:
    """The task as it stands."""
    record = await ledger.record(external_task_id)
    assert record is not None
    return record.task


async def claim(ledger: Ledger, *, now: Moment, limit: int = 8, budget: int = 60, **more: Any) -> list[Claim]:
    """Whose turn it is, at the usual account."""
    return await ledger.claim_stragglers(
        now=now, lease=more.pop("lease", LEASE), limit=limit, budgets=more.pop("budgets", {PROVIDER: budget})
    )


async def settle(ledger: Ledger, claimed: Claim, kind: AnswerKind, *, now: Moment, **changes: Any) -> None:
    """One claim given back."""
    await ledger.settle([outcome_of(claimed, kind, now=now, **changes)], JUDGE)


async def send(ledger: Ledger, *, now: Moment = NOW, limit: int = 16, slot_limit: int | None = None) -> list[Unsent]:
    """What is due to be sent at the usual account."""
    return await ledger.claim_unsent(now=now, limit=limit, lanes=lane(slot_limit))


def ids(claimed: Sequence[Claim] | Sequence[Unsent]) -> list[str]:
    """Whose claims these are."""
    return [each.task.external_task_id if isinstance(each, Claim) else each.external_task_id for each in claimed]
