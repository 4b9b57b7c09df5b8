"""What is said late, by somebody who may not know what happened since, or by a page that has no business here."""

import asyncio
import base64
import json
from pathlib import Path

import pytest

from receiver.callback_url import mint_callback_url
from receiver.ledger.sqlite.links import KEPT_REPORTS
from submitter import CreateAnswer, HttpJournal, JournalError, OmniImageRequest, ProviderSettings, Submitter, TaskKey
from submitter.journal import FENCE_HEADER
from tests.flows.builders import Json, World, path_of, receiving, report

OPENING: Json = {
    "provider": "cometapi",
    "endpoint": "omni-image",
    "request": {"prompt": "a red fox [[unanswered,drop_all]]"},
    "external_task_id": "late",
}


async def test_a_late_deferral_takes_back_no_send_but_its_own(world: World, tmp_path: Path) -> None:
    """Opened elsewhere, resent from here by a person, and then the first opener wakes up."""
    async with receiving(tmp_path, world, "cometapi") as house:
        opened = await house.http.post("/v1/submissions", json=OPENING)
        await house.http.post("/v1/tasks/late/resend", json={"may_pay_twice": True})
        await house.tick()
        for headers in ({}, {FENCE_HEADER: opened.headers[FENCE_HEADER]}):
            late = {"reason": "the laptop slept", "kind": "deferred"}
            await house.http.post("/v1/submissions/late/refusal", json=late, headers=headers)
        await house.tick()
        task = await house.task("late")

    assert 1 == len(await world.requests("create"))
    assert "pending" == task["state"]
    assert task["sent_at"] is not None


async def test_a_late_refusal_refuses_no_send_but_its_own(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        await house.http.post("/v1/submissions", json=OPENING)
        await house.http.post("/v1/tasks/late/resend", json={"may_pay_twice": True})
        await house.tick()
        answer = await house.http.post("/v1/submissions/late/refusal", json={"reason": "no connection"})

    assert (200, "pending") == (answer.status_code, answer.json()["state"])


class DeafJournal(HttpJournal):
    """A journal whose receiver goes away while the create is on its way."""

    async def hear(self, task: TaskKey, answer: CreateAnswer) -> None:
        raise JournalError("the receiver cannot be reached", code="unreachable")


async def test_a_journal_that_is_lost_after_the_create_left_does_not_say_that_nothing_was_sent(
    world: World, tmp_path: Path
) -> None:
    """The task is named, so that nobody submits it again under another id; the receiver hears its callbacks."""
    accounts = {"cometapi": ProviderSettings.model_validate(world.account("cometapi"))}
    async with receiving(tmp_path, world, "cometapi") as house:
        async with DeafJournal(house.url) as journal, Submitter(accounts, journal=journal) as submitter:
            submitted = await submitter.submit("cometapi", OmniImageRequest(prompt="a red fox"))
        task = await house.at_rest(submitted.external_task_id)

    assert ("succeeded", "callback") == (task["state"], task["settled_by"])


async def test_a_token_that_a_provider_quotes_is_kept_out_of_the_message(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        opened = (await house.http.post("/v1/submissions", json=OPENING)).json()
        token = opened["callback_url"].rpartition("/")[2]
        quoting = json.dumps({"code": 1200, "message": f"bad\u0000 callback_url {opened['callback_url']}"}).encode()
        answer = {"http_status": 400, "body_base64": base64.b64encode(quoting).decode()}
        task = (await house.http.post("/v1/submissions/late/answer", json=answer)).json()

    assert "refused" == task["state"]
    assert token not in task["message"]
    assert "\x00" not in task["message"]


async def test_a_token_quoted_in_a_callbacks_message_is_kept_out_of_the_task(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        url = house.runtime.journal.callback_url("cometapi", "quoting")
        await house.http.post(path_of(url), content=report("failed", task_status_msg=f"cannot reach {url}"))
        shown = [await house.task("quoting"), await house.history("quoting"), await house.told("quoting")]

    assert "cannot reach" in shown[0]["message"]
    assert url.rpartition("/")[2] not in json.dumps(shown)


async def test_of_one_task_only_so_many_reports_are_kept_and_all_are_counted(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        secret = house.runtime.callback_secrets[0]
        url = mint_callback_url(house.url, provider="cometapi", external_task_id="flooded", secret=secret)
        bodies = [json.dumps({"task_id": "1", "task_status": f"word {number}"}) for number in range(KEPT_REPORTS + 44)]
        told = iter(bodies)

        async def side() -> list[int]:
            return [(await house.http.post(path_of(url), content=body)).status_code for body in told]

        statuses = await asyncio.gather(*(side() for _ in range(30)))
        task, history = await house.task("flooded"), await house.history("flooded")

    assert [200] * len(bodies) == [status for each in statuses for status in each]
    assert KEPT_REPORTS == len(history["reports"])
    assert KEPT_REPORTS + 44 == sum(task["reports"].values())


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"x-forwarded-port": "443"},
    ],
)
async def test_a_page_from_elsewhere_spends_nothing_on_a_receiver_without_keys(
    world: World, tmp_path: Path, headers: dict[str, str]
) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        answer = await house.http.post("/v1/tasks", json=OPENING, headers=headers)

    assert (403, "local_only") == (answer.status_code, answer.json()["code"])
    assert [] == await world.requests("create")


async def test_urls_minted_before_a_secret_was_configured_stay_valid(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        before = mint_callback_url(
            house.url, provider="cometapi", external_task_id="early", secret=house.runtime.callback_secrets[0]
        )
    async with receiving(tmp_path, world, "cometapi", callbacks={"secrets": ["a-secret-of-some-length"]}) as house:
        after = await house.http.post(path_of(before), content=json.dumps({"task_id": "1", "task_status": "submitted"}))
        minted = house.runtime.journal.callback_url("cometapi", "early")

    assert (200, "applied") == (after.status_code, after.json()["verdict"])
    assert path_of(minted) != path_of(before)


async def test_a_ledger_that_began_with_a_configured_secret_keeps_none_of_its_own(world: World, tmp_path: Path) -> None:
    """So that who reads the database can mint no URL."""
    async with receiving(tmp_path, world, "cometapi", callbacks={"secrets": ["a-secret-of-some-length"]}) as house:
        accepted = house.runtime.callback_secrets
        kept = await house.runtime.ledger.kept_setting("callback_secret")

    assert (("a-secret-of-some-length",), None) == (accepted, kept)
