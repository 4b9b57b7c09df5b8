"""Looking: what a gateway's clients are shown of a task, by whichever id, and of which tasks."""

from __future__ import annotations

from receiver.ledger.base import Ledger
from receiver.ledger.openings import Client
from receiver.ledger.reading import WireQuery
from receiver.wiretask import wire_task
from tests.ledger.builders import (
    MINUTE,
    NOW,
    OURS,
    PROCESSING,
    PROVIDER,
    SUBMITTED,
    SUCCEED,
    THEIRS,
    answer,
    callback,
    hear,
    image,
    opening,
    task_of,
)
from tests.ledger.conformance import Engine

ALICE, BOB = "alice", "bob"


async def seen(ledger: Ledger, identity: str, *, tenant: str = "", provider: str = PROVIDER) -> list[str]:
    """Our ids of the tasks that bear this one."""
    return [each.shown.task_id for each in await ledger.look(provider, identity, tenant=tenant)]


async def listed(ledger: Ledger, *, tenant: str | None = None, page: int = 1, page_size: int = 30) -> list[str]:
    """Our ids of the tasks of a page."""
    query = WireQuery(provider=PROVIDER, endpoint="omni-image", tenant=tenant, page=page, page_size=page_size)
    return [each.task_id for each in await ledger.wire_page(query)]


async def test_a_task_is_found_by_each_id_that_it_bears(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(client=Client(tenant=ALICE, task_id="order-7")))
    await hear(ledger, answer(SUBMITTED, provider_task_id="task_7"))
    await hear(ledger, callback(PROCESSING, provider_task_id="8672"))

    assert [[OURS]] * 4 == [await seen(ledger, each, tenant=ALICE) for each in (OURS, "order-7", "task_7", "8672")]
    assert [] == await seen(ledger, "order-8", tenant=ALICE)
    assert [[]] * 4 == [await seen(ledger, each, provider="kling") for each in (OURS, "order-7", "task_7", "8672")]


async def test_what_is_seen_is_the_task_as_it_is(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(is_series=True, client=Client(tenant=ALICE, task_id="order-7")))
    shown = []
    for heard in (
        answer(SUBMITTED),
        callback(PROCESSING),
        callback(SUCCEED, image(0), image(1, "b"), unit_deduction="8", balance_deduction='{"quota":"0.2"}'),
    ):
        await hear(ledger, heard)
        [found] = await ledger.look(PROVIDER, OURS, tenant=ALICE)
        shown.append((found.shown.as_json(), wire_task(await task_of(ledger)).as_json()))

    assert [each[1] for each in shown] == [each[0] for each in shown]
    assert (ALICE, "omni-image", True) == (found.tenant, found.endpoint, found.is_there)


async def test_a_clients_own_id_is_its_tenants_alone(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(OURS, client=Client(tenant=ALICE, task_id="order-7")))
    await ledger.open_task(opening(THEIRS, client=Client(tenant=BOB, task_id="order-7")))

    assert [[OURS], [THEIRS], []] == [await seen(ledger, "order-7", tenant=each) for each in (ALICE, BOB, "")]


async def test_another_tenants_task_is_seen_to_be_another_tenants(engine: Engine) -> None:
    """Who asks is told that there is none; but an id that is known is passed on to nobody."""
    ledger = await engine.ledger()
    await ledger.open_task(opening(OURS, client=Client(tenant=ALICE)))

    [found] = await ledger.look(PROVIDER, OURS, tenant=BOB)

    assert ALICE == found.tenant


async def test_our_own_id_goes_before_a_clients_that_reads_alike(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(THEIRS, client=Client(tenant=ALICE, task_id=OURS)))
    await ledger.open_task(opening(OURS, client=Client(tenant=BOB)))

    assert [[OURS, THEIRS], [OURS]] == [await seen(ledger, OURS, tenant=each) for each in (ALICE, BOB)]


async def test_a_task_that_was_refused_in_time_is_not_there_and_one_that_was_promised_is(engine: Engine) -> None:
    ledger = await engine.ledger()
    for name in (OURS, THEIRS):
        opened = await ledger.open_task(opening(name))
        if name == THEIRS:
            await ledger.promise(name)
        await ledger.refuse(name, "refused with code 1301: no", fence=opened.fence, now=NOW + MINUTE)
    [ours], [theirs] = [await ledger.look(PROVIDER, name, tenant="") for name in (OURS, THEIRS)]

    assert (False, True) == (ours.is_there, theirs.is_there)
    assert ("failed", "refused with code 1301: no") == (theirs.shown.status, theirs.shown.message)
    assert [THEIRS] == await listed(ledger)


async def test_what_is_committed_is_seen_at_once(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening())
    words = [(await ledger.look(PROVIDER, OURS, tenant=""))[0].shown.status]
    for heard in (callback(PROCESSING), callback(SUCCEED, image())):
        await hear(ledger, heard)
        words.append((await ledger.look(PROVIDER, OURS, tenant=""))[0].shown.status)

    assert ["submitted", "processing", "succeed"] == words


async def test_pages_are_newest_first_and_of_a_tenant_or_of_all(engine: Engine) -> None:
    ledger = await engine.ledger()
    for number in range(5):
        await ledger.open_task(opening(f"t_{number}", client=Client(tenant=(ALICE, BOB)[number % 2])))
    await ledger.open_task(opening("t_elsewhere", provider="kling"))
    await ledger.open_task(opening("t_other", endpoint="generations"))

    assert [["t_4", "t_3"], ["t_2", "t_1"], ["t_0"], []] == [
        await listed(ledger, page=page, page_size=2) for page in (1, 2, 3, 4)
    ]
    assert [["t_4", "t_2", "t_0"], ["t_3", "t_1"], []] == [
        await listed(ledger, tenant=tenant) for tenant in (ALICE, BOB, "")
    ]
