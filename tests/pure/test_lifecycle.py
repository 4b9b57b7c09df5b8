"""The lifecycle enumerated whole, against a table written from the design and not from the code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.eventtype import EventType
from receiver.lifecycle import STIMULI, TRANSITIONS, adopt, expire, note, overdue, refuse, submit_anew
from receiver.task import (
    AT_REST,
    SETTLED,
    Decision,
    Event,
    ReportCounts,
    Rules,
    SettledBy,
    Task,
    TaskState,
    Verdict,
)
from receiver.verdicts import decide
from submitter.providers import Trust
from submitter.report import ReportedStatus, fingerprint
from tests.pure.builders import (
    DOUBTING,
    FAILED,
    HOUR,
    ID,
    MINUTE,
    NEVER,
    NOW,
    OURS,
    PROCESSING,
    SAME_IDS,
    SUBMITTED,
    SUCCEED,
    TERMINAL,
    A,
    B,
    News,
    callback,
    create_answer,
    hear,
    image,
    queried,
    signed,
    task,
)

# What a report first heard makes of a task that was settled, if at all, by URL token alone: verdict and state after.
# "=" stays as it is. A success here is complete: doubt has its own tests (test_doubt.py).
FIRST_HEARD = """
             submitted           processing           succeed             failed
pending      applied:submitted   applied:processing   applied:succeeded   applied:failed
submitted    stale:=             applied:processing   applied:succeeded   applied:failed
processing   stale:=             stale:=              applied:succeeded   applied:failed
succeeded    stale:=             stale:=              stale:=             opposite
failed       stale:=             stale:=              opposite            stale:=
refused      applied:submitted   applied:processing   applied:succeeded   applied:failed
expired      applied:submitted   applied:processing   applied:succeeded   applied:failed
"""
OTHER_STATE = {TaskState.SUCCEEDED: TaskState.FAILED, TaskState.FAILED: TaskState.SUCCEEDED}
REFUSABLE = {TaskState.PENDING}
EXPIRABLE = {TaskState.PENDING, TaskState.SUBMITTED, TaskState.PROCESSING}
TRUSTS = {Trust.TOKEN: callback, Trust.SIGNED: signed, Trust.QUERIED: queried}
IMAGES = {SUCCEED: (image(0, A),)}


def _table() -> dict[tuple[TaskState, ReportedStatus], str]:
    head, *rows = [line.split() for line in FIRST_HEARD.strip().splitlines()]
    return {
        (TaskState(name), ReportedStatus(word)): cell
        for name, *cells in rows
        for word, cell in zip(head, cells, strict=True)
    }


EXPECTED = _table()


def _expected(
    state: TaskState, status: ReportedStatus, trust: Trust, heard_before: Trust | None, known_by: Trust
) -> tuple[Verdict, TaskState]:
    """The verdict and the state after, from the table and the rules in words."""
    if heard_before is not None and (heard_before is not Trust.TOKEN or trust is Trust.TOKEN):
        return Verdict.DUPLICATE, state
    cell = EXPECTED[state, status]
    if cell == "opposite":
        is_overturned = trust is not Trust.TOKEN and known_by is Trust.TOKEN
        return Verdict.CONFLICT, OTHER_STATE[state] if is_overturned else state
    word, _, after = cell.partition(":")
    verdict = Verdict.DUPLICATE if word == "stale" and heard_before is not None else Verdict(word)
    return verdict, state if after == "=" else TaskState(after)


@pytest.mark.parametrize("known_by", Trust)
@pytest.mark.parametrize("heard_before", [None, Trust.TOKEN, Trust.SIGNED, Trust.QUERIED])
@pytest.mark.parametrize("trust", Trust)
@pytest.mark.parametrize(("state", "status"), list(product(TaskState, ReportedStatus)))
def test_every_report_on_every_state_does_what_the_table_says(
    state: TaskState, status: ReportedStatus, trust: Trust, heard_before: Trust | None, known_by: Trust
) -> None:
    before = task(state, **({"trust": known_by, "images_proven": known_by.is_proof} if state in SETTLED else {}))
    news = TRUSTS[trust](status, *IMAGES.get(status, ()))

    decision = hear(before, news, heard_before=heard_before)

    assert _expected(state, status, trust, heard_before, known_by) == (decision.verdict, decision.task.state)
    _assert_told(before, decision)


@pytest.mark.parametrize("state", TaskState)
def test_only_a_task_that_nothing_was_heard_of_is_refused(state: TaskState) -> None:
    before = task(state)

    decision = refuse(before, "1200: bad", now=NOW)

    assert (TaskState.REFUSED if state in REFUSABLE else state) == decision.task.state
    assert decision.verdict is None
    _assert_told(before, decision)


@pytest.mark.parametrize("state", TaskState)
def test_the_deadline_ends_what_is_not_at_rest_and_nothing_else(state: TaskState) -> None:
    before = task(state)

    decision = expire(before, "silence", now=NOW)

    assert (TaskState.EXPIRED if state in EXPIRABLE else state) == decision.task.state
    assert decision.verdict is None
    _assert_told(before, decision)


def test_the_table_in_the_code_has_a_row_for_each_state_and_no_strange_stimulus() -> None:
    assert set(TaskState) == set(TRANSITIONS)
    assert {*ReportedStatus, "refusal", "deadline"} == set(STIMULI)
    assert set(STIMULI) >= {stimulus for row in TRANSITIONS.values() for stimulus in row}


def test_the_table_in_the_code_agrees_with_the_one_in_this_test() -> None:
    """docs/states.md is generated from the code's table, so it must say what `decide` does."""
    drawn = {(state, each): after for state, row in TRANSITIONS.items() for each, after in row.items()}
    applied = {key: TaskState(cell.partition(":")[2]) for key, cell in EXPECTED.items() if cell.startswith("applied")}
    refusals = {(state, "refusal"): TaskState.REFUSED for state in REFUSABLE}
    deadlines = {(state, "deadline"): TaskState.EXPIRED for state in EXPIRABLE}

    assert applied | refusals | deadlines == drawn


def test_at_rest_is_settled_refused_or_expired() -> None:
    assert {TaskState.SUCCEEDED, TaskState.FAILED} == SETTLED
    assert {TaskState.SUCCEEDED, TaskState.FAILED, TaskState.REFUSED, TaskState.EXPIRED} == AT_REST


# --- what a decision leaves behind


@pytest.mark.parametrize("trust", Trust)
@pytest.mark.parametrize("state", TaskState)
@pytest.mark.parametrize("word", ["under_review", "SUCCEED?", "succeed_partially", "", "canceled"])
def test_an_unknown_status_word_is_never_final_and_moves_nothing(word: str, state: TaskState, trust: Trust) -> None:
    decision = hear(task(state), TRUSTS[trust](word))

    assert (Verdict.STALE, state, ()) == (decision.verdict, decision.task.state, decision.events)


@pytest.mark.parametrize("state", [TaskState.REFUSED, TaskState.EXPIRED])
def test_a_late_success_revives_what_was_given_up(state: TaskState) -> None:
    decision = hear(task(state), callback(SUCCEED, image(0, A)))

    assert TaskState.SUCCEEDED == decision.task.state
    assert SettledBy.CALLBACK == decision.task.settled_by
    assert NOW == decision.task.settled_at


@pytest.mark.parametrize("status", [SUBMITTED, PROCESSING])
@pytest.mark.parametrize("state", [TaskState.REFUSED, TaskState.EXPIRED])
def test_a_revived_task_gets_a_lifetime_of_its_own(state: TaskState, status: ReportedStatus) -> None:
    """Else the very next look at the clock would end it again."""
    expired = task(state, deadline_at=NOW - 1)

    revived = hear(expired, callback(status)).task

    assert revived.deadline_at > NOW
    assert (None, None) == (revived.settled_by, revived.settled_at)
    assert overdue(revived, rules=DOUBTING, now=NOW) is None


@pytest.mark.parametrize(
    ("news", "by", "trust"),
    [
        (callback(SUCCEED, image(0, A)), SettledBy.CALLBACK, Trust.TOKEN),
        (signed(SUCCEED, image(0, A)), SettledBy.CALLBACK, Trust.SIGNED),
        (queried(SUCCEED, image(0, A)), SettledBy.QUERY, Trust.QUERIED),
        (create_answer(SUCCEED, image(0, A)), SettledBy.ANSWER, Trust.QUERIED),
    ],
)
def test_a_settled_task_says_who_settled_it_and_how_far_to_trust_that(news: News, by: SettledBy, trust: Trust) -> None:
    settled = hear(task(), news).task

    assert (by, trust, NOW, NOW) == (settled.settled_by, settled.trust, settled.settled_at, settled.submitted_at)


def test_a_failure_carries_the_provider_s_reason() -> None:
    failed = hear(task(TaskState.PROCESSING), callback(FAILED, message="risk control")).task

    assert "risk control" == failed.message


@pytest.mark.parametrize("verdict", Verdict)
def test_each_verdict_is_counted_once(verdict: Verdict) -> None:
    settled = task(TaskState.SUCCEEDED)
    decisions = {
        Verdict.APPLIED: lambda: hear(task(), callback(SUBMITTED)),
        Verdict.DUPLICATE: lambda: hear(settled, callback(SUCCEED, image(0, A)), heard_before=Trust.TOKEN),
        Verdict.STALE: lambda: hear(settled, callback(PROCESSING)),
        Verdict.CONFLICT: lambda: hear(settled, callback(FAILED)),
    }

    counted = decisions[verdict]().task.reports

    assert ReportCounts(**{verdict.value: 1}) == counted


def test_counts_alone_change_no_version() -> None:
    before = task(TaskState.SUCCEEDED)

    after = hear(before, callback(PROCESSING)).task

    assert before.version == after.version
    assert before.reports != after.reports


def test_a_fact_that_is_new_changes_the_version_without_an_event() -> None:
    before = task(TaskState.SUCCEEDED)

    decision = hear(before, callback(PROCESSING, unit_deduction="8"))

    assert ("8", before.version + 1, ()) == (decision.task.unit_deduction, decision.task.version, decision.events)


# --- promise 3: overturned once and audibly, and only by proof


@pytest.mark.parametrize("proof", [queried, signed])
@pytest.mark.parametrize(("state", "said"), [(TaskState.SUCCEEDED, FAILED), (TaskState.FAILED, SUCCEED)])
def test_proof_overturns_a_final_known_by_token_alone_and_says_so_first(
    state: TaskState, said: ReportedStatus, proof: Callable[..., News]
) -> None:
    before = task(state)
    after = OTHER_STATE[state]

    decision = hear(before, proof(said, *IMAGES.get(said, ()), message="the truth"))

    conflict, final = decision.events
    assert (EventType.CONFLICT, state, after) == (conflict.type, conflict.was, conflict.now_is)
    assert (EventType(f"task.{after}"), None, None) == (final.type, final.was, final.now_is)
    assert (before.version + 1, before.version + 2) == (conflict.task.version, final.task.version)
    assert final.task == decision.task
    assert "the truth" == decision.task.message
    assert Verdict.CONFLICT == decision.verdict


@pytest.mark.parametrize("known_by", [Trust.SIGNED, Trust.QUERIED])
@pytest.mark.parametrize("trust", Trust)
@pytest.mark.parametrize(("state", "said"), [(TaskState.SUCCEEDED, FAILED), (TaskState.FAILED, SUCCEED)])
def test_proof_is_never_overturned(state: TaskState, said: ReportedStatus, trust: Trust, known_by: Trust) -> None:
    before = task(state, trust=known_by, images_proven=state is TaskState.SUCCEEDED)

    decision = hear(before, TRUSTS[trust](said, image(0, B)))

    assert (Verdict.CONFLICT, state, ()) == (decision.verdict, decision.task.state, decision.events)
    assert before.images == decision.task.images
    assert decision.task.doubt is None
    assert not decision.ask_now


def test_a_final_is_overturned_once_only() -> None:
    overturned = hear(task(TaskState.SUCCEEDED), queried(FAILED)).task

    again = hear(overturned, queried(SUCCEED, image(0, A)))

    assert (Verdict.CONFLICT, TaskState.FAILED, ()) == (again.verdict, again.task.state, again.events)


def test_an_overturned_success_loses_its_images() -> None:
    overturned = hear(task(TaskState.SUCCEEDED), queried(FAILED)).task

    assert () == overturned.images


def test_an_overturned_failure_has_the_images_of_the_proof_only() -> None:
    doubtful = task(TaskState.FAILED, images=task(TaskState.SUCCEEDED).images, images_asked=2)

    overturned = hear(doubtful, queried(SUCCEED, image(1, B))).task

    assert [(1, B)] == [(each.index, each.url) for each in overturned.images]


@pytest.mark.parametrize(("state", "said"), [(TaskState.SUCCEEDED, FAILED), (TaskState.FAILED, SUCCEED)])
def test_an_opposite_callback_changes_no_final_but_asks(state: TaskState, said: ReportedStatus) -> None:
    before = task(state)

    decision = hear(before, callback(said, image(0, B)))

    assert (Verdict.CONFLICT, state, ()) == (decision.verdict, decision.task.state, decision.events)
    assert before.images == decision.task.images
    assert "opposite_finals" == decision.task.doubt
    assert decision.ask_now


def test_an_opposite_callback_asks_nothing_where_nothing_is_to_be_confirmed() -> None:
    decision = hear(task(TaskState.SUCCEEDED), callback(FAILED), rules=NEVER)

    assert (Verdict.CONFLICT, None, False) == (decision.verdict, decision.task.doubt, decision.ask_now)


def test_a_query_that_agrees_ends_the_doubt_for_good() -> None:
    doubtful = hear(task(TaskState.SUCCEEDED), callback(FAILED)).task

    confirmed = hear(doubtful, queried(SUCCEED, image(0, A)), heard_before=Trust.TOKEN).task
    contradicted = hear(confirmed, callback(FAILED), heard_before=None)

    assert (None, Trust.QUERIED) == (confirmed.doubt, confirmed.trust)
    assert (None, False) == (contradicted.task.doubt, contradicted.ask_now)
    assert Verdict.CONFLICT == contradicted.verdict


# --- refusal, notes, adoption, a new life


def test_a_refusal_says_why_and_by_whom() -> None:
    refused = refuse(task(), "1301: safety", now=NOW).task

    assert ("1301: safety", SettledBy.REFUSAL, NOW) == (refused.message, refused.settled_by, refused.settled_at)


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        (task(sent_at=None), "the deadline came before it could be sent"),
        (task(), "the provider never answered the create, and nothing was heard by the deadline"),
        (task(TaskState.PROCESSING), "nothing final was heard by the deadline"),
    ],
)
def test_an_expired_task_says_which_silence_it_was(before: Task, reason: str) -> None:
    decision = overdue(before, rules=DOUBTING, now=before.deadline_at)

    assert decision is not None
    assert (TaskState.EXPIRED, reason) == (decision.task.state, decision.task.message)
    assert SettledBy.DEADLINE == decision.task.settled_by


@pytest.mark.parametrize("state", TaskState)
def test_a_task_is_overdue_at_its_deadline_and_not_a_millisecond_before(state: TaskState) -> None:
    before = task(state)

    early = overdue(before, rules=DOUBTING, now=before.deadline_at - 1)
    due = overdue(before, rules=DOUBTING, now=before.deadline_at)

    assert early is None
    assert (state in EXPIRABLE) == (due is not None)


def test_a_note_is_kept_while_a_task_is_pending_and_never_after() -> None:
    pending, moved_on = task(), task(TaskState.SUBMITTED)

    assert ("too fast", 1) == (note(pending, "too fast").message, note(pending, "too fast").version)
    assert note(note(pending, "too fast"), "too fast") == note(pending, "too fast")
    assert moved_on == note(moved_on, "too fast")


def test_an_adopted_task_knows_neither_request_nor_endpoint_and_settles_like_any_other() -> None:
    adopted = adopt(OURS, provider="cometapi", now=NOW, give_up_after=timedelta(hours=24))

    settled = hear(adopted, callback(SUCCEED, image(0, A))).task

    assert (True, None, NOW + 24 * HOUR) == (adopted.adopted, adopted.endpoint, adopted.deadline_at)
    assert TaskState.SUCCEEDED == settled.state


def test_a_refused_id_submitted_anew_goes_on_counting() -> None:
    refused = task(TaskState.REFUSED, version=4, queries=2, reports=ReportCounts(stale=1))
    fresh = task(sent_at=None)

    anew = submit_anew(refused, fresh)

    assert (5, 2, ReportCounts(stale=1)) == (anew.version, anew.queries, anew.reports)
    assert (TaskState.PENDING, None) == (anew.state, anew.settled_at)


# --- any life at all

WORDS = st.sampled_from([*ReportedStatus, "under_review"])
PICTURES = st.lists(st.builds(image, st.integers(0, 2), st.sampled_from([A, B])), max_size=2)
NEWS = st.builds(
    lambda road, word, images, said_id: road(
        word, *{each.index: each for each in images}.values(), provider_task_id=said_id
    ),
    st.sampled_from([callback, signed, queried, create_answer]),
    WORDS,
    PICTURES,
    st.sampled_from([ID, "other", None]),
)
RULES = st.sampled_from([DOUBTING, TERMINAL, NEVER, SAME_IDS])


@given(news=st.lists(NEWS, max_size=12), rules=RULES, asked=st.sampled_from([None, 1, 2]))
def test_in_any_life_versions_grow_and_event_ids_are_unique(news: list[News], rules: Rules, asked: int | None) -> None:
    events, tasks = _live(news, rules, asked)

    versions = [event.task.version for event in events]
    assert sorted(set(versions)) == versions
    assert len(events) == len({event.id for event in events})
    assert sorted(each.version for each in tasks) == [each.version for each in tasks]


@given(news=st.lists(NEWS, max_size=12), rules=RULES, asked=st.sampled_from([None, 1, 2]))
def test_in_any_life_a_version_stands_for_one_content(news: list[News], rules: Rules, asked: int | None) -> None:
    """Whoever keeps the greatest version has the latest task; counts may differ under one version."""
    _, tasks = _live(news, rules, asked)

    contents: dict[int, set[str]] = {}
    for each in tasks:
        contents.setdefault(each.version, set()).add(repr(_without_counts(each)))
    assert {1} == {len(each) for each in contents.values()}


@given(news=st.lists(NEWS, max_size=12), rules=RULES, asked=st.sampled_from([None, 1, 2]))
def test_in_any_life_a_proven_final_stays(news: list[News], rules: Rules, asked: int | None) -> None:
    _, tasks = _live(news, rules, asked)

    proven = [each.state for each in tasks if each.is_proven]
    assert len(set(proven)) <= 1
    assert [each.is_proven for each in tasks] == sorted(each.is_proven for each in tasks)


@given(news=st.lists(NEWS, max_size=12), rules=RULES, asked=st.sampled_from([None, 1, 2]))
def test_in_any_life_there_is_at_most_one_conflict_event_and_it_precedes_the_last_final(
    news: list[News], rules: Rules, asked: int | None
) -> None:
    events, tasks = _live(news, rules, asked)

    types = [event.type for event in events]
    finals = [each for each in types if each in {EventType.SUCCEEDED, EventType.FAILED}]
    assert types.count(EventType.CONFLICT) <= 1
    assert len(finals) == tasks[-1].is_settled + types.count(EventType.CONFLICT)


@given(news=st.lists(NEWS, max_size=12), rules=RULES, asked=st.sampled_from([None, 1, 2]))
def test_in_any_life_every_report_is_counted_once(news: list[News], rules: Rules, asked: int | None) -> None:
    _, tasks = _live(news, rules, asked)

    counts = tasks[-1].reports
    assert len(news) == counts.applied + counts.duplicate + counts.stale + counts.conflict


@given(news=st.lists(NEWS, max_size=12), rules=RULES, asked=st.sampled_from([None, 1, 2]))
def test_in_any_life_a_held_task_is_processing_and_in_doubt(news: list[News], rules: Rules, asked: int | None) -> None:
    _, tasks = _live(news, rules, asked)

    for each in tasks:
        if each.held is not None:
            assert (TaskState.PROCESSING, True) == (each.state, each.doubt is not None)


@given(news=st.lists(NEWS, max_size=12), rules=RULES, asked=st.sampled_from([None, 1, 2]))
def test_in_any_life_the_same_life_twice_ends_alike(news: list[News], rules: Rules, asked: int | None) -> None:
    """The second time everything was heard before."""
    _, tasks = _live(news, rules, asked)
    known = tasks[-1]

    again = known
    for each in news:
        again = hear(again, each, heard_before=each.trust).task

    assert known.state == again.state
    assert known.settled_at == again.settled_at


def _live(news: list[News], rules: Rules, asked: int | None) -> tuple[list[Event], list[Task]]:
    """A life: what was told, and the task after each report."""
    current = task(images_asked=asked)
    heard: dict[bytes, Trust] = {}
    events: list[Event] = []
    tasks = [current]
    for number, each in enumerate(news):
        fact = fingerprint(OURS, each.report)
        decision = decide(
            current,
            each.report,
            heard_before=heard.get(fact),
            source=each.source,
            trust=each.trust,
            rules=rules,
            now=NOW + number * MINUTE,
        )
        if fact not in heard or not heard[fact].is_proof:
            heard[fact] = each.trust
        current = decision.task
        events += decision.events
        tasks.append(current)
    return events, tasks


def _without_counts(each: Task) -> Task:
    return replace(each, reports=ReportCounts())


def _assert_told(before: Task, decision: Decision) -> None:
    """One event of the new state's own type, with the task as it then is; two where a final was overturned."""
    if decision.task.state is before.state:
        assert () == decision.events
        assert decision.task.version - before.version in {0, 1}
        return
    *conflict, told = decision.events
    assert (f"task.{decision.task.state}", decision.task, NOW) == (told.type, told.task, told.time)
    assert ([EventType.CONFLICT] if before.is_settled else []) == [each.type for each in conflict]
    assert before.version + len(decision.events) == decision.task.version
