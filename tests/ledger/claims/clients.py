"""Clients: what they call a task, by what it is known again, whose it is, and how many they may have running."""

from __future__ import annotations

from typing import Any

import pytest

from receiver.ledger.errors import QuotaReached, TaskExists, UnknownTask
from receiver.ledger.openings import Client, OpenedAs, Opening
from receiver.ledger.reading import Query
from receiver.task import TaskState
from tests.ledger.builders import (
    MINUTE,
    NOW,
    OURS,
    SUBMITTED,
    SUCCEED,
    answer,
    callback,
    hear,
    ids,
    image,
    opening,
    send,
    task_of,
)
from tests.ledger.conformance import Engine

INLINE = {"5a": "aGVsbG8="}
WITH_PICTURE = '{"prompt":"x","image":{"sha256":"5a","bytes":5}}'
BACK = "https://app.example.com/hook"


def theirs(minted: str, name: str | None = "their-id", *, tenant: str = "acme", **changes: Any) -> Opening:
    """What a tenant submits under an id that was minted for it. `key`, `quota` and `back` are its client's."""
    client = Client(
        tenant=tenant,
        task_id=name,
        callback_url=changes.pop("back", None),
        idempotency_key=changes.pop("key", None),
        quota=changes.pop("quota", None),
    )
    return opening(minted, client=client, **changes)


async def pictures(engine: Engine) -> list[str]:
    """Whose pictures the ledger keeps."""
    return [row[0] for row in await engine.run("select external_task_id from inline_images order by 1")]


async def test_a_task_keeps_whose_it_is_and_what_its_client_says_of_it(engine: Engine) -> None:
    ledger = await engine.ledger()

    await ledger.open_task(theirs(OURS, back=BACK, is_series=True))
    task = await task_of(await engine.survivor())

    assert ("acme", "their-id", BACK) == (task.tenant, task.client_task_id, task.client_callback_url)
    assert (True, False) == (task.is_series, task.promised)


async def test_the_same_request_under_a_clients_id_is_the_same_task_whatever_id_was_minted(engine: Engine) -> None:
    ledger = await engine.ledger()
    first = await ledger.open_task(theirs("t_1"))

    again = await ledger.open_task(theirs("t_2", now=NOW + MINUTE))

    assert (OpenedAs.TO_SEND, "t_1") == (first.outcome, first.external_task_id)
    assert (OpenedAs.ALREADY, "t_1", first.fence) == (again.outcome, again.external_task_id, again.fence)
    assert await ledger.record("t_2") is None


async def test_the_same_request_under_a_key_is_the_same_task_whatever_id_was_minted(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(theirs("t_1", None, key="once"))

    again = await ledger.open_task(theirs("t_2", None, key="once"))

    assert (OpenedAs.ALREADY, "t_1") == (again.outcome, again.external_task_id)


async def test_two_clients_at_once_under_one_id_are_one_task(engine: Engine) -> None:
    ledger = await engine.ledger()

    calls = [ledger.open_task(theirs(f"t_{number}")) for number in range(4)]
    opened = [await call for call in calls]

    assert {"t_0"} == {each.external_task_id for each in opened}
    assert [OpenedAs.TO_SEND, *[OpenedAs.ALREADY] * 3] == [each.outcome for each in opened]


async def test_who_gives_neither_id_nor_key_gets_a_task_each_time(engine: Engine) -> None:
    ledger = await engine.ledger()

    for minted in ("t_1", "t_2"):
        await ledger.open_task(theirs(minted, None))

    assert 2 == len((await ledger.tasks(Query())).records)


async def test_another_request_under_a_clients_id_is_refused_and_changes_nothing(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(theirs("t_1"))
    before = await ledger.record("t_1")

    with pytest.raises(TaskExists, match="their-id"):
        await ledger.open_task(theirs("t_2", request="{}", request_digest=b"another"))

    assert before == await ledger.record("t_1")
    assert await ledger.record("t_2") is None


async def test_another_request_under_a_key_is_refused_and_changes_nothing(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(theirs("t_1", None, key="once"))
    before = await ledger.record("t_1")

    with pytest.raises(TaskExists):
        await ledger.open_task(theirs("t_2", None, key="once", request="{}", request_digest=b"another"))

    assert before == await ledger.record("t_1")
    assert await ledger.record("t_2") is None


async def test_a_clients_id_is_taken_at_one_account_and_free_at_another(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(theirs("t_1"))

    other = await ledger.open_task(theirs("t_2", provider="kling"))

    assert (OpenedAs.TO_SEND, "t_2") == (other.outcome, other.external_task_id)


async def test_a_key_names_one_request_at_whatever_account(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(theirs("t_1", None, key="once"))

    with pytest.raises(TaskExists):
        await ledger.open_task(theirs("t_2", None, key="once", provider="kling"))


async def test_a_key_does_not_come_under_another_id_of_its_client(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(theirs("t_1", "one", key="once"))

    with pytest.raises(TaskExists):
        await ledger.open_task(theirs("t_2", "other", key="once"))


async def test_an_id_of_one_task_with_the_key_of_another_names_neither(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(theirs("t_1", "one", key="first"))
    await ledger.open_task(theirs("t_2", "two", key="second"))

    with pytest.raises(TaskExists):
        await ledger.open_task(theirs("t_3", "one", key="second"))


async def test_tenants_do_not_meet_by_the_ids_and_keys_they_choose(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(theirs("t_1", key="once"))

    other = await ledger.open_task(theirs("t_2", key="once", tenant="globex"))

    assert (OpenedAs.TO_SEND, "t_2") == (other.outcome, other.external_task_id)


async def test_a_tenant_that_gives_another_ones_id_in_the_ledger_learns_that_it_is_taken(engine: Engine) -> None:
    """The same request too: to say 'that is your task' would hand it over."""
    ledger = await engine.ledger()
    await ledger.open_task(theirs("t_1"))

    for tenant in ("globex", ""):
        with pytest.raises(TaskExists):
            await ledger.open_task(theirs("t_1", None, tenant=tenant))

    assert "acme" == (await task_of(ledger, "t_1")).tenant


async def test_a_refused_one_is_submitted_anew_under_its_first_id(engine: Engine) -> None:
    ledger = await engine.ledger()
    first = await ledger.open_task(theirs("t_1", key="once"))
    await ledger.refuse("t_1", "1301: no", fence=first.fence, now=NOW)

    anew = await ledger.open_task(theirs("t_2", key="once", request="{}", request_digest=b"another"))
    record = await ledger.record("t_1")

    assert (OpenedAs.TO_SEND, "t_1") == (anew.outcome, anew.external_task_id)
    assert anew.fence > first.fence
    assert record is not None
    assert ("{}", TaskState.PENDING, "their-id") == (record.request, record.task.state, record.task.client_task_id)
    assert await ledger.record("t_2") is None


async def test_a_promised_one_is_not_submitted_anew(engine: Engine) -> None:
    """Its client was told that it is ours: its refusal is a result, and the same request gets the same answer."""
    ledger = await engine.ledger()
    first = await ledger.open_task(theirs("t_1"))
    await ledger.promise("t_1")
    await ledger.refuse("t_1", "1301: no", fence=first.fence, now=NOW)

    again = await ledger.open_task(theirs("t_2"))
    with pytest.raises(TaskExists):
        await ledger.open_task(theirs("t_3", request="{}", request_digest=b"another"))

    assert (OpenedAs.ALREADY, "t_1") == (again.outcome, again.external_task_id)
    assert TaskState.REFUSED is (await task_of(ledger, "t_1")).state


async def test_a_promise_is_kept_across_a_restart_and_says_how_the_task_stands(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(theirs(OURS))

    promised = await ledger.promise(OURS)

    assert (TaskState.PENDING, True) == (promised.state, promised.promised)
    assert (await task_of(await engine.survivor())).promised


async def test_a_promise_of_a_refused_one_changes_nothing(engine: Engine) -> None:
    ledger = await engine.ledger()
    opened = await ledger.open_task(theirs(OURS))
    refused = await ledger.refuse(OURS, "1301: no", fence=opened.fence, now=NOW)

    promised = await ledger.promise(OURS)

    assert refused == promised == await task_of(ledger)


async def test_what_is_promised_must_exist(engine: Engine) -> None:
    with pytest.raises(UnknownTask):
        await (await engine.ledger()).promise("t_unknown")


async def test_pictures_of_a_repetition_under_another_id_go(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(theirs("t_1", request=WITH_PICTURE, inline=INLINE))

    await ledger.open_task(theirs("t_2", request=WITH_PICTURE, inline=INLINE))

    assert ["t_1"] == await pictures(engine)


async def test_pictures_of_a_submission_anew_move_to_its_first_id(engine: Engine) -> None:
    ledger = await engine.ledger()
    opened = await ledger.open_task(theirs("t_1", request=WITH_PICTURE, inline=INLINE))
    await ledger.refuse("t_1", "no", fence=opened.fence, now=NOW)
    await ledger.open_task(theirs("t_2", request=WITH_PICTURE, inline=INLINE, send_later=True))

    kept = await pictures(engine)
    [unsent] = await send(ledger)

    assert ["t_1"] == kept
    assert ("t_1", "aGVsbG8=") == (unsent.external_task_id, unsent.request["image"])


async def test_an_opening_that_is_not_taken_leaves_no_pictures_behind(engine: Engine) -> None:
    """They are put aside before anyone looks: a client that is refused again and again would fill the disk."""
    ledger = await engine.ledger()
    await ledger.open_task(theirs("t_1", "one"))
    await ledger.open_task(theirs("t_2", "two", key="of another"))
    refused = [
        theirs("t_3", "one", request_digest=b"another", request=WITH_PICTURE, inline=INLINE),
        theirs("t_4", "new", quota=1, request=WITH_PICTURE, inline=INLINE),
        theirs("t_5", "one", key="of another", request=WITH_PICTURE, inline=INLINE),
    ]

    for each in refused:
        with pytest.raises((TaskExists, QuotaReached)):
            await ledger.open_task(each)

    assert [] == await pictures(engine)


async def test_who_gives_a_waiting_tasks_id_takes_it_no_pictures(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(theirs("t_1", request=WITH_PICTURE, inline=INLINE, send_later=True))

    with pytest.raises(TaskExists):
        await ledger.open_task(theirs("t_1", None, tenant="globex", request=WITH_PICTURE, inline=INLINE))

    [unsent] = await send(ledger)
    assert "aGVsbG8=" == unsent.request["image"]


async def test_a_tenant_has_no_more_tasks_running_than_its_quota(engine: Engine) -> None:
    ledger = await engine.ledger()
    for number in range(2):
        await ledger.open_task(theirs(f"t_{number}", None, quota=2))

    with pytest.raises(QuotaReached, match="2 tasks"):
        await ledger.open_task(theirs("t_2", None, quota=2))

    assert await ledger.record("t_2") is None


async def test_a_quota_counts_what_waits_and_runs_and_not_what_is_at_rest(engine: Engine) -> None:
    ledger = await engine.ledger()
    refused = await ledger.open_task(theirs("t_refused", None))
    await ledger.refuse("t_refused", "no", fence=refused.fence, now=NOW)
    await ledger.open_task(theirs("t_settled", None))
    await hear(ledger, callback(SUCCEED, image(), task="t_settled"))
    await ledger.open_task(theirs("t_waits", None, send_later=True))
    await ledger.open_task(theirs("t_runs", None))
    await hear(ledger, answer(SUBMITTED, task="t_runs"))

    await ledger.open_task(theirs("t_third", None, quota=3))
    with pytest.raises(QuotaReached):
        await ledger.open_task(theirs("t_fourth", None, quota=3))

    assert ["t_waits"] == ids(await send(ledger))


async def test_a_quota_is_the_tenants_own(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(theirs("t_1", None, tenant="globex"))
    await ledger.open_task(opening("t_2"))

    opened = await ledger.open_task(theirs("t_3", None, quota=1))

    assert OpenedAs.TO_SEND is opened.outcome


async def test_a_repetition_is_recognised_though_the_quota_is_reached(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(theirs("t_1", quota=1))

    again = await ledger.open_task(theirs("t_2", quota=1))

    assert (OpenedAs.ALREADY, "t_1") == (again.outcome, again.external_task_id)
