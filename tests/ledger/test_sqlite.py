"""SqliteLedger keeps every promise of the conformance suite, and one of its own: waiters hear of each commit."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from receiver.ledger.sqlite import SqliteLedger
from receiver.ledger.sqlite.looking import BY_ANY_ID
from receiver.straggler import AnswerKind
from receiver.task import TaskState
from tests.ledger.builders import (
    JUDGE,
    MINUTE,
    NOW,
    OURS,
    SUBMITTED,
    THEIRS,
    answer,
    callback,
    claim,
    hear,
    opening,
    settle,
    task_of,
)
from tests.ledger.conformance import CHECKS
from tests.ledger.harness import SqliteEngine


@pytest.mark.parametrize("check", CHECKS)
async def test_the_ledger_conforms(check: str, engine: SqliteEngine) -> None:
    await CHECKS[check](engine)


def listen(ledger: SqliteLedger) -> set[str]:
    """The ids that the ledger says it has changed, from now on."""
    changed: set[str] = set()
    ledger.on_change = lambda change: changed.update(change.tasks)
    return changed


async def test_each_commit_tells_which_tasks_it_changed(ledger: SqliteLedger) -> None:
    await ledger.open_task(opening(OURS))
    await ledger.open_task(opening(THEIRS))
    changed = listen(ledger)

    await hear(ledger, callback(SUBMITTED, task=OURS))

    assert {OURS} == changed


async def test_a_refusal_is_told_to_those_who_wait(ledger: SqliteLedger) -> None:
    await ledger.open_task(opening(OURS))
    changed = listen(ledger)

    await ledger.refuse(OURS, "no", fence=None, now=NOW)

    assert {OURS} == changed


async def test_a_deadline_is_told_to_those_who_wait(ledger: SqliteLedger) -> None:
    await ledger.open_task(opening(OURS, deadline_at=NOW + MINUTE))
    changed = listen(ledger)

    await ledger.settle_overdue(JUDGE, now=NOW + MINUTE, limit=8)

    assert {OURS} == changed


async def test_a_question_that_ends_a_task_is_told_to_those_who_wait(ledger: SqliteLedger) -> None:
    await ledger.open_task(opening(OURS))
    [asked] = await claim(ledger, now=NOW + 2 * MINUTE)
    changed = listen(ledger)

    await settle(ledger, asked, AnswerKind.NOT_OURS, now=NOW + 2 * MINUTE)

    assert TaskState.REFUSED is (await task_of(ledger)).state
    assert {OURS} == changed


async def test_a_listener_that_stumbles_does_not_stop_the_writer(ledger: SqliteLedger) -> None:
    """The commit is done: what becomes of the news of it is no reason to take no more."""
    await ledger.open_task(opening(OURS))

    def stumble(_ids: object) -> None:
        raise LookupError("nobody waits")

    ledger.on_change = stumble
    await hear(ledger, answer(SUBMITTED))
    ledger.on_change = lambda _ids: None

    assert not ledger._writer._loop_task.done()


async def test_pictures_that_a_crash_left_behind_are_swept_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "swept.db"
    opened = await SqliteLedger.open(path, now=NOW)
    await opened.aclose()
    with sqlite3.connect(path) as raw:
        raw.execute("insert into inline_images values ('t_never_opened', 'digest', 'picture')")
    raw.close()

    again = await SqliteLedger.open(path, now=NOW)
    await again.aclose()

    with sqlite3.connect(path) as raw:
        [(left,)] = raw.execute("select count(*) from inline_images").fetchall()
    raw.close()
    assert 0 == left


async def test_no_look_reads_more_than_the_rows_it_names(ledger: SqliteLedger) -> None:
    named = {"provider": "cometapi", "id": OURS, "tenant": "alice"}
    plan = ledger._looks._raw.execute(f"explain query plan {BY_ANY_ID}", named).fetchall()
    steps = [row[3] for row in plan if "tasks" in row[3]]

    assert 4 == len(steps)
    assert all(step.startswith("SEARCH tasks USING INDEX") for step in steps), steps
    assert all("(external_task_id=" in step or step.count("=?") >= 2 for step in steps), steps
