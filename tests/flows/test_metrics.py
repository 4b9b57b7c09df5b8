"""/metrics: what is counted, under which labels, and who may read it. prometheus_client's parser is the oracle."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from receiver.counters import Counters
from receiver.ledger.base import WriterState
from receiver.metrics import FAMILIES, render
from receiver.problems import CODES
from tests.flows.builders import House, World, path_of, receiving, sandboxed
from tests.flows.rawhttp import answers_to, request

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALLBACK = "/callbacks/{provider}/{external_task_id}/{token}"
KEY = "hl_the-only-key-of-this-test"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    async with sandboxed() as running:
        yield running


def read(page: str) -> Samples:
    """The samples of a page, as Prometheus reads them."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


async def shown(house: House) -> Samples:
    answer = await house.http.get("/metrics")
    assert (200, "text/plain; version=0.0.4; charset=utf-8") == (answer.status_code, answer.headers["content-type"])
    return read(answer.text)


def refusals(samples: Samples) -> dict[tuple[str, str, str], float]:
    """By route, code and provider."""
    return {
        (dict(labels)["route"], dict(labels)["code"], dict(labels)["provider"]): value
        for (name, labels), value in samples.items()
        if name == "hookledger_refusals_total"
    }


async def test_callbacks_are_counted_by_provider_and_verdict(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi", "kling") as house:
        for account, count in (("cometapi", 3), ("kling", 1)):
            path = path_of(house.runtime.journal.callback_url(account, f"t-{account}"))
            for _ in range(count):
                await house.http.post(path, content=b'{"task_status":"processing"}')
        samples = await shown(house)

    assert {
        ("cometapi", "applied"): 1.0,
        ("cometapi", "duplicate"): 2.0,
        ("kling", "applied"): 1.0,
    } == {
        (dict(labels)["provider"], dict(labels)["verdict"]): value
        for (name, labels), value in samples.items()
        if name == "hookledger_callbacks_total"
    }


async def test_every_refusal_is_counted_by_its_reason(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        path = path_of(house.runtime.journal.callback_url("cometapi", "t"))
        wrong = f"/callbacks/cometapi/t/{'A' * 24}"
        for _ in range(2):
            await house.http.post(wrong)
        await house.http.post(wrong.replace("cometapi", "stranger"))
        await house.http.post(path, content=b"no json")
        await house.http.post(path, content=b"x" * 300_000)
        await house.http.post(path, content=b"{}", headers={"content-encoding": "gzip"})
        await house.http.get(path)
        await house.http.get("/v1/tasks/nobody")
        await house.http.post("/v1/tasks", json={})
        await house.http.get("/v1/tasks", headers={"via": "a proxy"})
        await house.http.get("/nowhere")
        await answers_to(house, b"\x00")
        await answers_to(house, request("/" + "x" * 9_000))
        house.runtime.is_stopping = True
        await house.http.post(path, content=b"{}")
        house.runtime.is_stopping = False
        counted = refusals(await shown(house))

    assert {
        (CALLBACK, "not_found", "cometapi"): 2.0,
        (CALLBACK, "not_found", ""): 1.0,
        (CALLBACK, "unreadable", "cometapi"): 1.0,
        (CALLBACK, "too_large", "cometapi"): 1.0,
        (CALLBACK, "unsupported_encoding", "cometapi"): 1.0,
        (CALLBACK, "method_not_allowed", "cometapi"): 1.0,
        (CALLBACK, "shutting_down", "cometapi"): 1.0,
        ("/v1/tasks/{external_task_id}", "not_found", ""): 1.0,
        ("/v1/tasks", "invalid_request", ""): 1.0,
        ("/v1/tasks", "local_only", ""): 1.0,
        ("unrouted", "not_found", ""): 1.0,
        ("", "bad_http", ""): 1.0,
        ("", "path_too_long", ""): 1.0,
    } == counted
    assert {code for _, code, _ in counted} <= set(CODES)


async def test_no_label_holds_what_a_stranger_sent(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        path = path_of(house.runtime.journal.callback_url("cometapi", "marked-id"))
        await house.http.post(path, content=b'{"task_status":"marked-status"}')
        await house.http.post(path, content=b"marked-body")
        await house.http.post(path[:-1] + "_", content=b"{}")
        await house.http.post("/callbacks/marked-provider/marked-id/marked-token")
        await house.http.get("/marked-path?marked=query", headers={"x-marked": "marked", "host": "marked"})
        page = (await house.http.get("/metrics")).text

    assert [] == re.findall(r".*marked.*", page)
    assert path.split("/")[-1] not in page


async def test_questions_are_counted_by_account(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        await house.submit("cometapi", "a red fox [[drop_all,seconds=600]]", "asked-about")
        await house.http.post("/v1/tasks/asked-about/refresh")
        samples = await shown(house)

    assert 1.0 == samples["hookledger_questions_total", frozenset({("provider", "cometapi")})]


async def test_the_writer_says_how_much_it_has_written_and_whether_it_can(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        path = path_of(house.runtime.journal.callback_url("cometapi", "t"))
        before = await shown(house)
        for _ in range(5):
            await house.http.post(path, content=b'{"task_status":"processing"}')
        after = await shown(house)

    def grown(name: str) -> float:
        return after[name, frozenset()] - before[name, frozenset()]

    assert (5.0, 5.0) == (grown("hookledger_writer_entries_total"), grown("hookledger_writer_batches_total"))
    assert (0.0, 0.0, 0.0) == tuple(
        after[f"hookledger_writer_{name}", frozenset()] for name in ("trouble", "waiting_entries", "waiting_bytes")
    )


@pytest.mark.parametrize("public", [False, True])
async def test_with_keys_the_page_is_for_their_holders_unless_it_is_public(
    world: World, tmp_path: Path, public: bool
) -> None:
    async with receiving(tmp_path, world, "cometapi", api={"keys": [KEY]}, metrics={"public": public}) as house:
        without = await house.http.get("/metrics")
        with_key = await house.http.get("/metrics", headers={"authorization": f"Bearer {KEY}"})

    assert (200 if public else 401, 200) == (without.status_code, with_key.status_code)


@pytest.mark.parametrize("public", [False, True])
async def test_without_keys_the_page_is_for_this_machine_unless_it_is_public(
    world: World, tmp_path: Path, public: bool
) -> None:
    async with receiving(tmp_path, world, "cometapi", metrics={"public": public}) as house:
        here = await house.http.get("/metrics")
        forwarded = await house.http.get("/metrics", headers={"x-forwarded-for": "203.0.113.7"})

    assert (200, 200 if public else 403) == (here.status_code, forwarded.status_code)


async def test_the_page_is_what_prometheus_reads_whatever_a_label_holds() -> None:
    counters = Counters()
    odd = 'a "quoted" \\ and\nbroken name'
    counters.heard(odd, "applied")
    counters.refused("bad_http", route=odd)
    writer = WriterState(waiting=3, waiting_bytes=99, batches=7, entries=70, trouble="disk full")

    page = render(counters, writer, [], {})
    families = {family.name: family for family in text_string_to_metric_families(page)}
    samples = read(page)

    assert {family.name.removesuffix("_total") for family in FAMILIES} == set(families)
    assert {family.name.removesuffix("_total"): family.kind for family in FAMILIES} == {
        name: family.type for name, family in families.items()
    }
    assert 1.0 == samples["hookledger_callbacks_total", frozenset({("provider", odd), ("verdict", "applied")})]
    assert (3.0, 99.0, 7.0, 70.0, 1.0) == tuple(
        samples[family.name, frozenset()] for family in FAMILIES if "writer" in family.name
    )
