"""Keys and tenants: names that are given once, and openings and pages that are one tenant's."""

from __future__ import annotations

import pytest

from receiver.keys import Access, KeyKind, Scope, StoredKey
from receiver.ledger.errors import KeyExists, QuotaReached, TaskExists, UnknownKey
from receiver.ledger.openings import Client, OpenedAs
from receiver.ledger.reading import Query
from tests.ledger.builders import JUDGE, MINUTE, NOW, OURS, SUCCEED, THEIRS, answer, image, opening
from tests.ledger.conformance import Engine

SHOP = Client(tenant="shop", idempotency_key="order-1")


def key(name: str = "shop", **changes: object) -> StoredKey:
    access = Access(name=name, tenant=name, scopes=frozenset({Scope.SUBMIT, Scope.READ}))
    fields = {"kind": KeyKind.BEARER, "digest": name.encode(), "access": access, "created_at": NOW, **changes}
    return StoredKey(**fields)  # type: ignore[arg-type]


async def test_a_key_is_kept_with_all_that_it_may_do(engine: Engine) -> None:
    ledger = await engine.ledger()
    access = Access(
        name="studio",
        tenant=None,
        scopes=frozenset(Scope),
        providers=frozenset({"kling", "cometapi"}),
        quota=3,
        pass_through=True,
    )
    pair = key("studio", access=access, kind=KeyKind.PAIR, digest=None, access_key="hla_studio")

    await ledger.add_key(key())
    await ledger.add_key(pair)

    assert [key(), pair] == await (await engine.reopened()).keys()


async def test_a_key_is_on_disk_when_it_is_answered(engine: Engine) -> None:
    ledger = await engine.ledger()

    await ledger.add_key(key())

    assert [key()] == await (await engine.survivor()).keys()


async def test_a_name_is_one_keys_for_good(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.add_key(key())
    await ledger.revoke_key("shop", now=NOW + MINUTE)

    with pytest.raises(KeyExists, match="shop"):
        await ledger.add_key(key(digest=b"another"))

    assert [b"shop"] == [each.digest for each in await ledger.keys()]


async def test_a_revocation_is_for_good_and_twice_is_once(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.add_key(key())

    revoked = [await ledger.revoke_key("shop", now=NOW + later) for later in (MINUTE, 2 * MINUTE)]

    assert [key(revoked_at=NOW + MINUTE)] * 2 == revoked
    assert revoked[:1] == await (await engine.survivor()).keys()


async def test_an_unknown_key_cannot_be_revoked(engine: Engine) -> None:
    ledger = await engine.ledger()

    with pytest.raises(UnknownKey, match="nobody"):
        await ledger.revoke_key("nobody", now=NOW)


async def test_a_tenants_pages_show_its_own_tasks_at_its_own_accounts_alone(engine: Engine) -> None:
    ledger = await engine.ledger()
    for number in range(6):
        tenant, provider = ("shop", "studio")[number % 2], ("cometapi", "kling")[number // 4]
        await ledger.open_task(opening(f"t_{number}", provider=provider, client=Client(tenant=tenant)))

    everybody = await ledger.tasks(Query())
    shop = await ledger.tasks(Query(tenant="shop", limit=2))
    rest = await ledger.tasks(Query(tenant="shop", after=shop.next))
    at_kling = await ledger.tasks(Query(tenant="shop", providers=frozenset({"kling", "powertokens"})))
    from_anothers = await ledger.tasks(Query(tenant="studio", after=shop.next))

    pages = (shop, rest, at_kling, from_anothers)
    assert 6 == len(everybody.records)
    assert [["t_4", "t_2"], ["t_0"], ["t_4"], ["t_1"]] == [
        [record.task.external_task_id for record in page.records] for page in pages
    ]


async def test_an_event_says_whose_task_it_is_about(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(client=Client(tenant="shop")))
    await ledger.open_task(opening(THEIRS))
    await ledger.apply([answer(SUCCEED, image()), answer(SUCCEED, image(), task=THEIRS)], JUDGE)

    events = await ledger.events_after(0, limit=10)

    assert {(OURS, "shop"), (THEIRS, "")} == {(each.external_task_id, each.tenant) for each in events}


async def test_a_key_of_the_request_names_the_task_that_it_named_first(engine: Engine) -> None:
    ledger = await engine.ledger()
    first = await ledger.open_task(opening(client=SHOP))

    again = await ledger.open_task(opening("t_minted_anew", client=SHOP))

    assert (OpenedAs.ALREADY, OURS, first.fence) == (again.outcome, again.external_task_id, again.fence)
    assert 1 == len((await ledger.tasks(Query())).records)


async def test_a_key_of_the_request_with_another_request_is_refused(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(client=SHOP))

    with pytest.raises(TaskExists):
        await ledger.open_task(opening("t_minted_anew", client=SHOP, request="{}", request_digest=b"another"))


async def test_a_key_of_the_request_is_its_tenants_own(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(client=SHOP))

    other = await ledger.open_task(opening(THEIRS, client=Client(tenant="studio", idempotency_key="order-1")))

    assert (OpenedAs.TO_SEND, THEIRS) == (other.outcome, other.external_task_id)


async def test_a_given_id_and_a_key_of_the_request_must_mean_one_task(engine: Engine) -> None:
    """Also where the task was refused, and could be submitted anew under its own id."""
    ledger = await engine.ledger()
    given = Client(tenant="shop", idempotency_key="order-1", is_id_given=True)
    opened = await ledger.open_task(opening(client=given))

    with pytest.raises(TaskExists):
        await ledger.open_task(opening(THEIRS, client=given))
    await ledger.refuse(OURS, "1301: no", fence=opened.fence, now=NOW)
    with pytest.raises(TaskExists):
        await ledger.open_task(opening(THEIRS, client=given))

    assert OURS == (await ledger.open_task(opening(client=given))).external_task_id
    assert await ledger.record(THEIRS) is None


async def test_a_key_that_comes_with_a_known_id_names_it_from_then_on(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(client=Client(tenant="shop")))
    await ledger.open_task(opening(client=Client(tenant="shop", idempotency_key="order-1", is_id_given=True)))

    again = await ledger.open_task(opening("t_minted_anew", client=SHOP))

    assert OURS == again.external_task_id


async def test_another_tenants_id_is_taken(engine: Engine) -> None:
    ledger = await engine.ledger()
    await ledger.open_task(opening(client=SHOP))

    for client in (Client(), Client(tenant="studio")):
        with pytest.raises(TaskExists, match=OURS):
            await ledger.open_task(opening(client=client))


async def test_a_tenant_has_no_more_running_than_its_quota_and_settled_tasks_count_not(engine: Engine) -> None:
    ledger = await engine.ledger()
    shop = Client(tenant="shop", quota=1)
    await ledger.open_task(opening(client=shop))
    await ledger.open_task(opening(THEIRS, client=Client(tenant="studio", quota=1)))

    with pytest.raises(QuotaReached):
        await ledger.open_task(opening("t_one_more", client=shop))
    again = await ledger.open_task(opening(client=shop))
    await ledger.apply([answer(SUCCEED, image())], JUDGE)
    after = await ledger.open_task(opening("t_one_more", client=shop))

    assert [OpenedAs.ALREADY, OpenedAs.TO_SEND] == [again.outcome, after.outcome]
