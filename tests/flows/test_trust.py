"""How far a callback is believed: what is in doubt is settled by asking, and a forgery is refuted audibly."""

import json
from pathlib import Path

import pytest

from tests.flows.builders import ASKING, Clock, House, Json, World, path_of, receiving, report, sandboxed

TOKEN_ACCOUNTS = ("unsigned", "cometapi", "powertokens")
FORGED_URL = "https://forger.example/0.png"


def urls(task: Json) -> list[str]:
    return [image["url"] for image in task["images"]]


def callback_path(house: House, account: str, name: str) -> str:
    """The path of a task's callback URL, as the provider was given it."""
    return path_of(house.runtime.journal.callback_url(account, name))


async def forge(house: House, account: str, name: str, body: bytes) -> str:
    """The verdict on a callback by somebody who has the URL."""
    answer = await house.http.post(callback_path(house, account, name), content=body)
    assert 200 == answer.status_code
    return answer.json()["verdict"]


@pytest.mark.parametrize("account", TOKEN_ACCOUNTS)
async def test_under_never_a_token_is_believed_and_nobody_is_asked(world: World, tmp_path: Path, account: str) -> None:
    async with receiving(tmp_path, world, account, account={"confirm": "never"}) as house:
        await house.submit(account, "a red fox [[opposite]]", "believed", n=2)
        await world.until_told("believed", 4)
        task = await house.at_rest("believed")
        events = await house.events("believed")

    assert ("succeeded", "callback", "token") == (task["state"], task["settled_by"], task["trust"])
    assert (0, []) == (task["queries"], await world.requests("query"))
    assert 1 == task["reports"]["conflict"]
    assert ["task.submitted", "task.processing", "task.succeeded"] == events


@pytest.mark.parametrize("account", TOKEN_ACCOUNTS)
async def test_under_terminal_a_success_is_held_until_a_query_confirms_it(
    world: World, tmp_path: Path, account: str
) -> None:
    async with receiving(tmp_path, world, account, account={"confirm": "terminal"}) as house:
        await house.submit(account, "a red fox", "held", n=2)
        await world.until_told("held", 3)
        held, before = await house.task("held"), await house.events("held")
        task = await house.at_rest("held")
        events = await house.events("held")

    assert ("processing", "unconfirmed", None) == (held["state"], held["doubt"], held["settled_by"])
    assert ["task.submitted", "task.processing"] == before
    assert ("succeeded", "query", "queried", None) == tuple(
        task[key] for key in ("state", "settled_by", "trust", "doubt")
    )
    assert (2, 1) == (len(task["images"]), task["queries"])
    assert ["task.submitted", "task.processing", "task.succeeded"] == events


@pytest.mark.parametrize("account", TOKEN_ACCOUNTS)
@pytest.mark.parametrize("forged", ["opposite", "other_images"])
@pytest.mark.parametrize("truth", ["", "[[fail: no foxes]]"])
async def test_under_terminal_no_forgery_is_ever_told(
    world: World, tmp_path: Path, truth: str, forged: str, account: str
) -> None:
    async with receiving(tmp_path, world, account, account={"confirm": "terminal"}, polling=ASKING) as house:
        await house.submit(account, f"a red fox [[forged={forged}]] {truth}", "forged", n=2)
        told = await world.until_told("forged", 4)
        task = await house.at_rest("forged")
        events = await house.events("forged")

    state = "failed" if truth else "succeeded"
    assert (state, "query", "queried") == (task["state"], task["settled_by"], task["trust"])
    assert told["image_urls"] == urls(task)
    assert [f"task.{state}"] == [each for each in events if each not in {"task.submitted", "task.processing"}]
    assert 1 == await world.paid("forged")


@pytest.mark.parametrize("forged", ["opposite", "other_images"])
async def test_a_forgery_beside_signed_callbacks_is_refuted_and_the_signed_one_settles(
    world: World, tmp_path: Path, forged: str
) -> None:
    async with receiving(tmp_path, world, "kling") as house:
        await house.submit("kling", f"a red fox [[forged={forged}]]", "forged", n=2)
        told = await world.until_told("forged", 4)
        task = await house.at_rest("forged")
        events = await house.events("forged")

    assert ("succeeded", "callback", "signed") == (task["state"], task["settled_by"], task["trust"])
    assert told["image_urls"] == urls(task)
    assert ["task.submitted", "task.processing", "task.succeeded"] == events


async def test_no_forged_image_fills_the_place_that_a_signed_callback_leaves_open(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "kling") as house:
        await house.submit("kling", "a red fox [[drop_all]]", "filled", n=2)
        told = await world.until_told("filled", 3)
        forged = report("succeed", task_id="1" * 18, images=[FORGED_URL, FORGED_URL])
        await forge(house, "kling", "filled", forged)
        signed = json.loads(report("succeed", task_id=told["task_id"], images=told["image_urls"][:1]))
        await world.callback(task_id=told["task_id"], body=signed)
        task = await house.at_rest("filled")
        finals = [each for each in await house.told("filled") if each["type"] == "task.succeeded"]

    assert told["image_urls"] == urls(task)
    assert [told["image_urls"]] == [urls(each["task"]) for each in finals]


async def test_where_the_ids_are_one_a_forged_success_is_held_and_refuted_by_asking(
    world: World, tmp_path: Path
) -> None:
    async with receiving(tmp_path, world, "unsigned") as house:
        await house.submit("unsigned", "a red fox [[seconds=600,drop_all]]", "refuted")
        verdict = await forge(house, "unsigned", "refuted", report("succeed", task_id="1" * 18, images=[FORGED_URL]))
        held = await house.task("refuted")
        await house.tick()
        task = await house.task("refuted")
        history = await house.history("refuted")

    assert "applied" == verdict
    assert ("processing", "foreign_id") == (held["state"], held["doubt"])
    assert ("processing", None, [], 1) == tuple(task[key] for key in ("state", "doubt", "images", "queries"))
    assert ["task.submitted", "task.processing"] == [each["type"] for each in history["events"]]
    assert ["answer", "callback", "query"] == [each["source"] for each in history["reports"]]


@pytest.mark.parametrize("account", ["cometapi", "powertokens"])
async def test_a_forged_failure_is_overturned_once_and_audibly(world: World, tmp_path: Path, account: str) -> None:
    async with receiving(tmp_path, world, account) as house:
        await house.submit(account, "a red fox [[drop_all]]", "overturned", n=2)
        verdict = await forge(house, account, "overturned", report("failed", task_status_msg="forged"))
        failed = await house.task("overturned")
        told = await world.until_told("overturned", 3)
        conflicting = await world.callback(task_id=told["task_id"])
        await house.tick()
        task, events = await house.task("overturned"), await house.told("overturned")
        again = await forge(house, account, "overturned", report("failed", task_status_msg="forged again"))
        await house.tick()
        after = await house.task("overturned")

    assert ("applied", "failed", "token") == (verdict, failed["state"], failed["trust"])
    assert '{"verdict":"conflict"}' == conflicting["body"]
    assert ("succeeded", "query", "queried", "") == tuple(
        task[key] for key in ("state", "settled_by", "trust", "message")
    )
    assert told["image_urls"] == urls(task)
    assert ["task.submitted", "task.failed", "task.conflict", "task.succeeded"] == [each["type"] for each in events]
    assert ("failed", "succeeded") == (events[2]["was"], events[2]["is"])
    assert "conflict" == again or "duplicate" == again
    assert (task["state"], task["version"], task["queries"]) == (after["state"], after["version"], after["queries"])


@pytest.mark.parametrize("account", ["cometapi", "powertokens"])
async def test_forged_images_are_overturned_once_and_audibly(world: World, tmp_path: Path, account: str) -> None:
    async with receiving(tmp_path, world, account) as house:
        await house.submit(account, "a red fox [[forged=other_images]]", "overturned", n=2)
        told = await world.until_told("overturned", 4)
        task = await house.at_rest("overturned")
        events = await house.told("overturned")

    assert ("succeeded", "queried", 1) == (task["state"], task["trust"], task["queries"])
    assert told["image_urls"] == urls(task)
    finals = [each for each in events if each["type"] not in {"task.submitted", "task.processing"}]
    assert ["task.succeeded", "task.conflict", "task.succeeded"] == [each["type"] for each in finals]
    assert told["image_urls"] == urls(finals[-1]["task"])


@pytest.mark.parametrize("account", TOKEN_ACCOUNTS)
@pytest.mark.parametrize("truth", ["", "[[fail: no foxes]]"])
async def test_an_opposite_final_is_a_conflict_that_one_question_settles(
    world: World, tmp_path: Path, truth: str, account: str
) -> None:
    async with receiving(tmp_path, world, account) as house:
        await house.submit(account, f"a red fox [[opposite]] {truth}", "opposed", n=2)
        told = await world.until_told("opposed", 4)
        task = await house.at_rest("opposed")
        events = await house.events("opposed")

    state = "failed" if truth else "succeeded"
    assert (state, "callback", "queried", 1) == tuple(task[key] for key in ("state", "settled_by", "trust", "queries"))
    assert told["image_urls"] == urls(task)
    assert 1 == task["reports"]["conflict"]
    assert ["task.submitted", "task.processing", f"task.{state}"] == events


async def test_what_contradicts_a_signed_final_is_counted_and_nobody_is_asked(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "kling") as house:
        await house.submit("kling", "a red fox [[opposite]]", "signed")
        await world.until_told("signed", 4)
        task = await house.at_rest("signed")

    assert ("succeeded", "signed", 0, 1) == (
        task["state"],
        task["trust"],
        task["queries"],
        task["reports"]["conflict"],
    )


@pytest.mark.parametrize("account", TOKEN_ACCOUNTS)
async def test_a_series_heard_by_callback_is_completed_by_one_question(
    world: World, tmp_path: Path, account: str
) -> None:
    async with receiving(tmp_path, world, account) as house:
        await house.submit(account, "a red fox", "series", result_type="series", series_amount=5)
        told = await world.until_told("series", 3)
        held = await house.task("series")
        task = await house.at_rest("series")
        events = await house.events("series")

    assert ("processing", "task.processing") == (held["state"], events[1])
    assert ("succeeded", "query", 1) == (task["state"], task["settled_by"], task["queries"])
    assert told["image_urls"] == urls(task)
    assert ["task.submitted", "task.processing", "task.succeeded"] == events


@pytest.mark.parametrize(("account", "trust"), [("cometapi", "token"), ("kling", "signed")])
async def test_a_series_is_asked_about_although_it_looks_complete(
    world: World, tmp_path: Path, account: str, trust: str
) -> None:
    async with receiving(tmp_path, world, account) as house:
        await house.submit(account, "a red fox [[drop_all]]", "series", result_type="series", series_amount=2)
        told = await world.until_told("series", 3)
        images = [{"index": index, "url": url} for index, url in enumerate(told["image_urls"])]
        body = json.loads(report("succeed", task_id=told["upstream_id"]))
        body["task_result"] = {"result_type": "series", "series_images": images}
        reply = await world.callback(task_id=told["task_id"], body=body)
        held = await house.task("series")
        task = await house.at_rest("series")
        [*_, heard, _] = (await house.history("series"))["reports"]

    assert (200, trust) == (reply["http_status"], heard["trust"])
    assert ("processing", "series", 2) == (held["state"], held["doubt"], len(held["images"]))
    assert ("succeeded", "query", 1) == (task["state"], task["settled_by"], task["queries"])


@pytest.mark.parametrize("account", TOKEN_ACCOUNTS)
async def test_fewer_images_than_asked_are_held_and_completed_by_one_question(
    world: World, tmp_path: Path, account: str
) -> None:
    async with receiving(tmp_path, world, account) as house:
        await house.submit(account, "a red fox [[drop_all]]", "fewer", n=3)
        told = await world.until_told("fewer", 3)
        body = report("succeed", task_id=told["upstream_id"], images=told["image_urls"][:1])
        await forge(house, account, "fewer", body)
        held = await house.task("fewer")
        task = await house.at_rest("fewer")

    assert ("processing", "incomplete", 1) == (held["state"], held["doubt"], len(held["images"]))
    assert ("succeeded", "query", 1) == (task["state"], task["settled_by"], task["queries"])
    assert told["image_urls"] == urls(task)


@pytest.mark.parametrize(("confirm", "state"), [("doubt", "succeeded"), ("terminal", "expired")])
async def test_a_doubt_nobody_answers_settles_after_a_quarter_of_an_hour_or_waits_for_the_deadline(
    clock: Clock, tmp_path: Path, confirm: str, state: str
) -> None:
    async with sandboxed(task_seconds=600) as world:
        house_of = receiving(tmp_path, world, "cometapi", clock=clock, account={"confirm": confirm})
        house = await house_of.__aenter__()
        await house.submit("cometapi", "a red fox [[drop_all]]", "doubted", n=2)
    await forge(house, "cometapi", "doubted", report("succeed", images=[FORGED_URL]))
    clock.jump(minutes=14)
    await house.tick()
    before = await house.task("doubted")
    clock.jump(minutes=2)
    await house.tick()
    held = await house.task("doubted")
    clock.jump(hours=24)
    await house.tick()
    task = await house.task("doubted")
    await house_of.__aexit__(None, None, None)

    assert "processing" == before["state"]
    assert ("succeeded" if confirm == "doubt" else "processing") == held["state"]
    assert (state, "callback" if confirm == "doubt" else "deadline") == (task["state"], task["settled_by"])


async def test_a_leaked_url_buys_its_holder_three_questions_and_no_more(clock: Clock, tmp_path: Path) -> None:
    async with (
        sandboxed(task_seconds=600) as world,
        receiving(tmp_path, world, "cometapi", clock=clock, polling={"first_after": "24h", "interval": "24h"}) as house,
    ):
        await house.submit("cometapi", "a red fox [[drop_all]]", "leaked", n=2)
        for number in range(12):
            body = report("succeed", images=[f"https://forger.example/{number}.png"])
            await forge(house, "cometapi", "leaked", body)
            await house.tick()
            clock.jump(seconds=61)
        await house.tick()
        task = await house.task("leaked")

    assert ("processing", 3) == (task["state"], task["queries"])


async def test_an_account_that_requires_signatures_hears_no_token_alone(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "kling", account={"require_signature": True}) as house:
        await house.submit("kling", "a red fox [[forged]]", "strict", n=2)
        told = await world.until_told("strict", 4)
        task = await house.at_rest("strict")
        history = await house.history("strict")

    assert [401] == [each["http_status"] for each in told["callbacks"] if each["forged"]]
    assert ("succeeded", "callback", "signed") == (task["state"], task["settled_by"], task["trust"])
    assert {"queried", "signed"} == {each["trust"] for each in history["reports"]}
