"""Callbacks that are not what they say: signatures, secrets, and lies by whoever holds a task's URL."""

import base64
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from submitter.moments import Moment
from submitter.signatures import TOLERANCE
from tests.conformance.scenes import awaited, finals, said, signed, urls
from tests.flows.builders import WEBHOOK_SECRET, Clock, House, World, receiving, report, sandboxed
from tests.patience import free_port

NOW: Moment = 1_795_168_800_000  # 2026-11-20T10:00:00Z
FORGED = report("succeed", images=["https://forger.example/fox.png"])
STRANGERS = "whsec_" + base64.b64encode(b"a secret that is somebody else's").decode()
SELDOM = {"learn": False, "first_after": "24h", "interval": "24h"}  # so that every question is about a doubt
NEWER = "whsec_" + base64.b64encode(b"the secret that comes after it..").decode()


async def test_a_missing_signature_is_no_proof_and_where_one_is_required_it_is_refused(
    world: World, tmp_path: Path
) -> None:
    port = free_port()
    body = report("processing")
    async with receiving(tmp_path, world, "kling", port=port) as house:
        path = await awaited(house, "kling", "unsigned")
        heard = await house.http.post(path, content=body)
        [*_, kept] = (await house.history("unsigned"))["reports"]

    async with receiving(tmp_path, world, "kling", port=port, account={"require_signature": True}) as house:
        before = await house.task("unsigned")
        refused = await house.http.post(path, content=FORGED)
        after = await house.task("unsigned")

    assert ((200, "applied"), "token") == (said(heard), kept["trust"])
    assert (401, "bad_signature") == said(refused)
    assert before == after


async def test_a_malformed_signature_is_refused_and_never_a_fault_of_ours(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "kling", clock=lambda: NOW) as house:
        path = await awaited(house, "kling", "malformed")
        good = signed(FORGED, sent_at=NOW)
        [_, mac] = good["webhook-signature"].split(",")
        listed: list[str | bytes] = ["", "v1", "v1,", f"v2,{mac}", mac, f"v1,{mac[:-1]}", f"v1,{mac}\u00e9".encode()]
        listed += [b"v1,\xff\xfe", "v1," + "A" * 4096, " ".join(["v1,AAAA"] * 500)]
        times = ["", "now", "-1", "1e9", "0", "9" * 30, f"{NOW // 1000}.0", f"\u0661{NOW // 1000}"]
        wrong: list[dict[str, Any]] = [
            *({"webhook-signature": each} for each in listed),
            *({"webhook-timestamp": each.encode()} for each in times),
            {"webhook-id": ""},
        ]
        before = await house.task("malformed")

        answers = [await house.http.post(path, content=FORGED, headers={**good, **each}) for each in wrong]
        after = await house.task("malformed")

    assert [(401, "bad_signature")] * len(wrong) == [said(answer) for answer in answers]
    assert before == after


async def test_a_signature_by_another_key_is_refused_although_the_url_is_right(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "kling", clock=lambda: NOW) as house:
        path = await awaited(house, "kling", "another-key")
        before = await house.task("another-key")

        headers = signed(FORGED, sent_at=NOW, secret=STRANGERS)
        answer = await house.http.post(path, content=FORGED, headers=headers)
        after = await house.task("another-key")

    assert (401, "bad_signature") == said(answer)
    assert before == after


async def test_a_timestamp_is_good_for_three_hundred_seconds_and_not_a_millisecond_more(
    world: World, tmp_path: Path
) -> None:
    moment = [NOW]
    most = int(TOLERANCE.total_seconds())
    body = report("processing")
    async with receiving(tmp_path, world, "kling", clock=lambda: moment[0]) as house:
        path = await awaited(house, "kling", "stale")

        async def heard(*, seconds: int, ms_later: int = 0) -> tuple[int, str]:
            """Signed so many seconds after NOW, and heard at NOW or a little later."""
            moment[0] = NOW + ms_later
            return said(await house.http.post(path, content=body, headers=signed(body, sent_at=NOW + 1000 * seconds)))

        within = [await heard(seconds=-most), await heard(seconds=most), await heard(seconds=most + 1, ms_later=1000)]
        beyond = [
            await heard(seconds=-most, ms_later=1),
            await heard(seconds=most, ms_later=-1),
            await heard(seconds=-most - 1),
            await heard(seconds=most + 1),
        ]
        task = await house.task("stale")

    assert 300 == most
    assert [(200, "applied"), (200, "duplicate"), (200, "duplicate")] == within
    assert [(401, "bad_signature")] * 4 == beyond
    assert 2 == task["reports"]["duplicate"]


async def test_a_body_altered_after_it_was_signed_is_refused(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "kling", clock=lambda: NOW) as house:
        path = await awaited(house, "kling", "altered")
        genuine = report("succeed", task_id=(await house.task("altered"))["task_id"], images=["https://a.example/1"])
        headers = signed(genuine, sent_at=NOW)
        altered = [
            genuine.replace(b"a.example", b"b.example"),
            genuine + b" ",
            genuine[:-1],
            genuine.replace(b'"succeed"', b'"failed"'),
            b"",
        ]

        refused = [await house.http.post(path, content=each, headers=headers) for each in altered]
        before = await house.task("altered")
        heard = await house.http.post(path, content=genuine, headers=headers)
        task = await house.task("altered")

    assert [(401, "bad_signature")] * 5 == [said(answer) for answer in refused]
    assert "submitted" == before["state"]
    assert (200, "applied") == said(heard)
    assert ("succeeded", "signed", ["https://a.example/1"]) == (task["state"], task["trust"], urls(task))


async def test_secrets_are_rotated_while_callbacks_are_on_their_way(world: World, tmp_path: Path) -> None:
    """Of the callback URLs and of the webhooks alike: two are good at once, and then the old one is not."""
    port = free_port()
    old, new = "the old callback secret", "the new callback secret"

    def life(urls_by: list[str], signed_by: list[str]) -> AbstractAsyncContextManager[House]:
        account = {"webhook_secrets": signed_by}
        return receiving(tmp_path, world, "kling", port=port, account=account, callbacks={"secrets": urls_by})

    async with life([old], [WEBHOOK_SECRET]) as house:
        old_path = await awaited(house, "kling", "sent-before")
        sent_before = await world.truth("sent-before")

    async with life([new, old], [NEWER, WEBHOOK_SECRET]) as house:
        new_path = await awaited(house, "kling", "sent-after")
        heard = await world.callback(task_id=sent_before["task_id"])
        [*_, kept] = (await house.history("sent-before"))["reports"]

    async with life([new], [NEWER]) as house:
        sent_after = await world.truth("sent-after")
        before = [await house.task("sent-before"), await house.task("sent-after")]
        to_old_url = await world.callback(task_id=sent_before["task_id"])
        by_old_secret = await world.callback(task_id=sent_after["task_id"])
        after = [await house.task("sent-before"), await house.task("sent-after")]

    assert old_path.split("/")[:3] == new_path.split("/")[:3]
    assert (200, "signed") == (heard["http_status"], kept["trust"])
    assert (404, 401) == (to_old_url["http_status"], by_old_secret["http_status"])
    assert before == after


async def test_a_forged_success_is_held_or_taken_back_aloud_once_the_truth_comes(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "kling", "cometapi") as house:
        for account in ("kling", "cometapi"):
            await house.submit(account, "a red fox [[forged=other_images]]", account)
        truths = [await world.until_told(account, 4) for account in ("kling", "cometapi")]
        tasks = [await house.at_rest(account) for account in ("kling", "cometapi")]
        told = [
            [each for each in await house.told(account) if each["task"]["images"]] for account in ("kling", "cometapi")
        ]

    assert [truth["image_urls"] for truth in truths] == [urls(task) for task in tasks]
    assert ["signed", "queried"] == [task["trust"] for task in tasks]
    # Where the true one is signed the forgery was held and told to nobody; else it is taken back aloud.
    assert ["task.succeeded"] == [each["type"] for each in told[0]]
    assert ["task.succeeded", "task.conflict", "task.succeeded"] == [each["type"] for each in told[1]]
    assert [truth["image_urls"] for truth in truths] == [urls(each[-1]["task"]) for each in told]


async def test_of_contradictory_finals_one_is_told_and_one_question_settles_which(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        await house.submit("cometapi", "a red fox [[opposite]]", "contradicted")
        truth = await world.until_told("contradicted", 4)
        task = await house.at_rest("contradicted")
        told = await finals(house, "contradicted")

    assert [200] * 4 == [each["http_status"] for each in truth["callbacks"]]
    assert ("succeeded", "callback", "queried", 1) == tuple(
        task[key] for key in ("state", "settled_by", "trust", "queries")
    )
    assert ["task.succeeded"] == told
    assert 1 == task["reports"]["conflict"]


async def test_a_leaked_url_settles_nothing_where_finals_are_confirmed_and_buys_three_questions(
    clock: Clock, tmp_path: Path
) -> None:
    async with (
        sandboxed(task_seconds=600) as world,
        receiving(tmp_path, world, "cometapi", clock=clock, account={"confirm": "terminal"}, polling=SELDOM) as house,
    ):
        path = await awaited(house, "cometapi", "leaked")
        verdicts = []
        for number in range(8):
            forged = FORGED.replace(b"fox.png", b"%d.png" % number)
            verdicts.append(said(await house.http.post(path, content=forged)))
            await house.tick()
            clock.jump(seconds=61)
        task = await house.task("leaked")
        told = await finals(house, "leaked")

    assert {200} == {status for status, _ in verdicts}
    assert [] == told
    assert ("processing", 3) == (task["state"], task["queries"])
