"""Keys over HTTP: made, used within their scopes, revoked; and every route says which scope it needs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from starlette.routing import Route

from receiver.app import create_app
from receiver.keys import Scope
from submitter import HttpJournal, HttpWatch, OmniImageRequest, ProviderSettings, Submitter, WatchError
from submitter.providers.kling import signed_token
from tests.flows.builders import NO_TLS, House, Json, World, eventually, receiving, sandboxed
from tests.patience import PATIENCE

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPERATOR = "hl_the-key-of-the-configuration"
OF_ALL, OF_TENANTS = "everybody's", "a tenant's own"

# What each route needs, and whose it is. A new route is in this table, or the first test below fails.
NEEDS: dict[tuple[str, str], tuple[Scope, str]] = {
    ("GET", "/v1/tasks"): (Scope.READ, OF_TENANTS),
    ("POST", "/v1/tasks"): (Scope.SUBMIT, OF_TENANTS),
    ("GET", "/v1/tasks/{external_task_id}"): (Scope.READ, OF_TENANTS),
    ("GET", "/v1/tasks/{external_task_id}/history"): (Scope.READ, OF_TENANTS),
    ("POST", "/v1/tasks/{external_task_id}/refresh"): (Scope.OPERATE, OF_TENANTS),
    ("POST", "/v1/tasks/{external_task_id}/resend"): (Scope.OPERATE, OF_TENANTS),
    ("POST", "/v1/tasks/{external_task_id}/abandon"): (Scope.OPERATE, OF_TENANTS),
    ("POST", "/v1/submissions"): (Scope.SUBMIT, OF_TENANTS),
    ("POST", "/v1/submissions/{external_task_id}/answer"): (Scope.SUBMIT, OF_TENANTS),
    ("POST", "/v1/submissions/{external_task_id}/refusal"): (Scope.SUBMIT, OF_TENANTS),
    ("POST", "/v1/callbacks/replay"): (Scope.OPERATE, OF_ALL),
    ("GET", "/v1/events"): (Scope.READ, OF_TENANTS),
    ("GET", "/v1/deliveries"): (Scope.OPERATE, OF_ALL),
    ("POST", "/v1/deliveries/redeliver"): (Scope.OPERATE, OF_ALL),
    ("POST", "/v1/deliveries/{key}/redeliver"): (Scope.OPERATE, OF_ALL),
    ("GET", "/v1/destinations"): (Scope.OPERATE, OF_ALL),
    ("GET", "/v1/keys"): (Scope.OPERATE, OF_ALL),
    ("POST", "/v1/keys"): (Scope.OPERATE, OF_ALL),
    ("DELETE", "/v1/keys/{name}"): (Scope.OPERATE, OF_ALL),
    ("GET", "/v1/tick"): (Scope.TICK, OF_TENANTS),
    ("POST", "/v1/tick"): (Scope.TICK, OF_TENANTS),
    ("GET", "/metrics"): (Scope.READ, OF_ALL),
}
OPEN_TO_ALL = {"/livez", "/readyz", "/openapi.json", "/callbacks/{provider}/{external_task_id}/{token}"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    async with sandboxed() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(world: World, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with receiving(
        tmp_path_factory.mktemp("keyed"),
        world,
        "cometapi",
        "unsigned",
        api={"keys": [OPERATOR]},
        headers={"authorization": f"Bearer {OPERATOR}"},
    ) as running:
        yield running


async def make(house: House, name: str, **wish: Any) -> Json:
    made = await house.http.post("/v1/keys", json={"name": name, **wish})
    assert 201 == made.status_code, made.text
    return made.json()


def with_key(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def routes(house: House) -> set[tuple[str, str]]:
    return {
        (method, route.path)
        for route in create_app(house.runtime).routes
        if isinstance(route, Route) and route.path not in OPEN_TO_ALL
        for method in route.methods or ()
        if method != "HEAD"
    }


async def ask(house: House, needed: tuple[str, str], key: str) -> httpx.Response:
    method, path = needed
    return await house.http.request(method, re.sub(r"{\w+}", "anything", path), headers=with_key(key))


async def test_every_route_says_which_scope_it_needs(house: House) -> None:
    assert set(NEEDS) == routes(house)


@pytest.mark.parametrize("scope", Scope)
async def test_a_key_opens_the_routes_of_its_scope_and_no_other(house: House, scope: Scope) -> None:
    key = (await make(house, f"only-{scope}", scopes=[scope], tenant=None))["key"]
    for route, (needed, _) in NEEDS.items():
        answer = await ask(house, route, key)

        if needed is scope:
            assert answer.status_code not in {401, 403}, (route, answer.text)
        else:
            assert (403, "scope_missing", needed) == (
                answer.status_code,
                answer.json()["code"],
                answer.json()["scope"],
            ), route


@pytest.mark.parametrize("limits", [{"tenant": "shop"}, {"tenant": None, "providers": ["cometapi"]}])
async def test_what_is_everybodys_is_not_for_a_tenant_nor_for_a_key_of_some_accounts(
    house: House, limits: Json
) -> None:
    name = f"all-scopes-{len(limits)}"
    key = (await make(house, name, scopes=list(Scope), **limits))["key"]
    answers = {route: await ask(house, route, key) for route in NEEDS}
    refused = {route for route, each in answers.items() if each.status_code == 403}

    assert {route for route, (_, whose) in NEEDS.items() if whose is OF_ALL} == refused
    assert {"operator_only"} == {answers[route].json()["code"] for route in refused}


async def test_a_key_is_shown_once_and_only_what_opens_nothing_is_listed(house: House) -> None:
    bearer = await make(house, "shown-bearer", quota=3, providers=["cometapi"], pass_through=True)
    pair = await make(house, "shown-pair", kind="pair", tenant="shop", scopes=["operate", "submit"])
    listed = await house.http.get("/v1/keys")
    shown = {each["name"]: each for each in listed.json()["keys"]}

    assert {name: value for name, value in bearer.items() if name != "key"} == shown["shown-bearer"]
    assert {name: value for name, value in pair.items() if name != "secret_key"} == shown["shown-pair"]
    assert (["submit", "read"], "shown-bearer", 3, True) == tuple(
        bearer[name] for name in ("scopes", "tenant", "quota", "pass_through")
    )
    assert (["submit", "operate"], "shop", None) == (pair["scopes"], pair["tenant"], pair["quota"])
    assert bearer["key"] not in listed.text
    assert pair["secret_key"] not in listed.text


async def test_what_a_pair_signs_opens_as_long_as_it_says(house: House) -> None:
    pair = await make(house, "a-pair", kind="pair")
    now = house.runtime.clock()
    signed = {
        code: signed_token(pair["access_key"], secret, now=at)
        for code, secret, at in (
            ("", pair["secret_key"], now),
            ("key_expired", pair["secret_key"], now - 3_600_000),
            ("key_not_yet_valid", pair["secret_key"], now + 3_600_000),
            ("key_wrong", pair["secret_key"] + "x", now),
        )
    }
    answers = {code: await house.http.get("/v1/tasks", headers=with_key(made)) for code, made in signed.items()}

    assert 200 == answers.pop("").status_code
    assert {code: (401, code) for code in answers} == {
        code: (each.status_code, each.json()["code"]) for code, each in answers.items()
    }


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({}, "name"),
        ({"name": "Shop"}, "name"),
        ({"name": "1shop"}, "name"),
        ({"name": "s" * 33}, "name"),
        ({"name": 7}, "name"),
        ({"name": "bad", "tenant": ""}, "tenant"),
        ({"name": "bad", "tenant": "Käse"}, "tenant"),
        ({"name": "bad", "kind": "basic"}, "kind"),
        ({"name": "bad", "kind": []}, "kind"),
        ({"name": "bad", "scopes": []}, "scopes"),
        ({"name": "bad", "scopes": ["read", "write"]}, "scopes"),
        ({"name": "bad", "scopes": "read"}, "scopes"),
        ({"name": "bad", "providers": ["nobody"]}, "providers"),
        ({"name": "bad", "providers": [None]}, "providers"),
        ({"name": "bad", "quota": 0}, "quota"),
        ({"name": "bad", "quota": "3"}, "quota"),
        ({"name": "bad", "quota": 3, "tenant": None}, "quota"),
        ({"name": "bad", "pass_through": 1}, "pass_through"),
        ({"name": "bad", "secret": "x"}, "secret"),
    ],
)
async def test_a_wish_that_makes_no_sense_is_told_where(house: House, wish: Json, field: str) -> None:
    answer = await house.http.post("/v1/keys", json=wish)

    assert (422, [field]) == (answer.status_code, [each["field"] for each in answer.json()["errors"]])
    assert "bad" not in {each["name"] for each in (await house.http.get("/v1/keys")).json()["keys"]}


async def test_nobody_gives_a_scope_that_he_has_not(house: House) -> None:
    operating = with_key((await make(house, "operating", scopes=["operate"], tenant=None))["key"])
    made = await house.http.post("/v1/keys", json={"name": "spending", "scopes": ["submit"]}, headers=operating)

    assert (403, "scope_missing", "submit") == (made.status_code, made.json()["code"], made.json()["scope"])
    assert "the key 'operating' was not given the scope 'submit'" == made.json()["detail"]


async def test_nobody_gives_leave_to_pass_through_that_he_has_not(house: House) -> None:
    wish = {"scopes": ["operate", "read"], "tenant": None}
    without = with_key((await make(house, "without-leave", **wish))["key"])
    having = with_key((await make(house, "having-leave", **wish, pass_through=True))["key"])
    asked = {"scopes": ["read"], "pass_through": True}
    refused = await house.http.post("/v1/keys", json={"name": "taken", **asked}, headers=without)
    given = await house.http.post("/v1/keys", json={"name": "given", **asked}, headers=having)

    assert (403, "pass_through_missing") == (refused.status_code, refused.json()["code"])
    assert 201 == given.status_code


async def test_a_revoked_key_opens_nothing_and_its_name_is_not_given_again(house: House) -> None:
    key = with_key((await make(house, "leaving"))["key"])
    before = await house.http.get("/v1/tasks", headers=key)
    revoked = [await house.http.delete("/v1/keys/leaving") for _ in range(2)]
    after = await house.http.get("/v1/tasks", headers=key)
    anew = await house.http.post("/v1/keys", json={"name": "leaving"})

    assert [200, 200, 200] == [each.status_code for each in (before, *revoked)]
    assert revoked[0].json() == revoked[1].json()
    assert revoked[0].json()["revoked_at"]
    assert (401, "key_wrong") == (after.status_code, after.json()["code"])
    assert (409, "key_exists") == (anew.status_code, anew.json()["code"])
    assert 404 == (await house.http.delete("/v1/keys/nobody")).status_code


async def test_a_revocation_ends_the_streams_that_the_key_has_open(house: House) -> None:
    key = with_key((await make(house, "listening", tenant=None, scopes=["read"]))["key"])
    stream = {"accept": "text/event-stream", **key}
    async with house.http.stream("GET", "/v1/events", headers=stream) as answer:
        lines = answer.aiter_lines()
        await anext(lines)
        await house.http.delete("/v1/keys/listening")
        await house.submit("cometapi", "a red fox", "after-the-revocation")
        heard = await asyncio.wait_for(rest_of(lines), PATIENCE)

    assert "after-the-revocation" not in heard


async def rest_of(lines: AsyncIterator[str]) -> str:
    return "\n".join([line async for line in lines])


async def test_keys_outlive_a_restart_and_a_pair_the_rotation_of_the_server_secret(
    world: World, tmp_path: Path
) -> None:
    secrets = ["the first server secret of two", "the second server secret of two"]
    operator = with_key(OPERATOR)
    async with receiving(
        tmp_path, world, "cometapi", api={"keys": [OPERATOR]}, callbacks={"secrets": secrets[:1]}, headers=operator
    ) as house:
        bearer, gone = await make(house, "bearer"), await make(house, "gone")
        pair = await make(house, "pair", kind="pair")
        await house.http.delete("/v1/keys/gone")
    opened = []
    for in_force in (secrets[::-1], secrets[1:]):
        async with receiving(
            tmp_path, world, "cometapi", api={"keys": [OPERATOR]}, callbacks={"secrets": in_force}
        ) as house:
            signed = signed_token(pair["access_key"], pair["secret_key"], now=house.runtime.clock())
            presented = (bearer["key"], gone["key"], signed)
            answers = [await house.http.get("/v1/tasks", headers=with_key(each)) for each in presented]
            opened.append([each.status_code for each in answers])

    assert [[200, 401, 200], [200, 401, 401]] == opened


async def test_without_keys_of_the_configuration_a_strangers_key_is_as_none_and_a_made_one_is_itself(
    world: World, tmp_path: Path
) -> None:
    """Programs that were written for a provider go on to send its key to a receiver on their own machine."""
    async with receiving(tmp_path, world, "cometapi", "unsigned") as house:
        shop = await make(house, "shop", scopes=["read"])
        pair = await make(house, "pair", kind="pair")
        now = house.runtime.clock()
        presented = {
            "sk-of-the-provider": 200,
            signed_token("AKID-of-Kling", "its secret", now=now): 200,
            signed_token(pair["access_key"], pair["secret_key"], now=now): 200,
            shop["key"]: 200,
            shop["key"] + "x": 401,
            pair["access_key"]: 401,
            signed_token(pair["access_key"], "another secret", now=now): 401,
            signed_token("hla_nobody", "its secret", now=now): 401,
        }
        without_a_word = await house.http.get("/v1/tasks", headers={"authorization": shop["key"]})
        answers = {key: (await house.http.get("/v1/tasks", headers=with_key(key))).status_code for key in presented}
        ticked = await house.http.post("/v1/tick?seconds=0", headers=with_key(shop["key"]))
        from_elsewhere = [
            await house.http.get("/v1/tasks", headers={**with_key(key), "x-forwarded-for": "203.0.113.7"})
            for key in (shop["key"], "sk-of-the-provider")
        ]

    assert presented == answers
    assert (401, "key_malformed") == (without_a_word.status_code, without_a_word.json()["code"])
    assert "scope_missing" == ticked.json()["code"]
    assert [200, 403] == [each.status_code for each in from_elsewhere]


async def test_a_submitter_elsewhere_submits_and_waits_with_a_made_key(house: House, world: World) -> None:
    keys = {name: (await make(house, name))["key"] for name in ("elsewhere", "nosy")}
    accounts = {"cometapi": ProviderSettings.model_validate(world.account("cometapi"))}
    async with httpx.AsyncClient(verify=NO_TLS, trust_env=False, timeout=PATIENCE) as http:
        watch, nosy = (HttpWatch(house.url, api_key=key, http=http) for key in keys.values())
        journal = HttpJournal(house.url, api_key=keys["elsewhere"], http=http)
        async with Submitter(accounts, journal=journal, watch=watch) as submitter:
            task = await submitter.submit("cometapi", OmniImageRequest(prompt="a red fox"))
            done = await submitter.wait(task, deadline=timedelta(seconds=PATIENCE))
            with pytest.raises(WatchError) as refused:
                await nosy.look(task.external_task_id)
    record = await house.runtime.ledger.record(task.external_task_id)

    assert record is not None
    assert ("succeeded", "elsewhere") == (done.state, record.task.tenant)
    assert "not_found" == refused.value.code


async def test_a_key_that_was_revoked_by_one_who_hung_up_opens_nothing_all_the_same(house: House) -> None:
    key = with_key((await make(house, "hung-up"))["key"])
    revoking = asyncio.create_task(house.runtime.keyring.revoke("hung-up", now=house.runtime.clock()))
    await asyncio.sleep(0)  # it has begun
    revoking.cancel()

    async def is_refused() -> bool:
        return (await house.http.get("/v1/tasks", headers=key)).status_code == 401

    assert await eventually(is_refused)
