"""Real processes that die, end, or meet at one file: what was acknowledged is kept, and nothing is done twice."""

import asyncio
import base64
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from sandbox.images import draw_png
from tests.conformance.scenes import (
    IMAGE,
    SECRET,
    SUCCEED,
    finals,
    in_effect,
    line_to,
    minted,
    numbered,
    post_all,
    post_of,
    rows,
    said,
    signed,
)
from tests.flows.builders import WEBHOOK_SECRET, World, eventually, receiving, report
from tests.flows.lives import ROOT, as_toml, living
from tests.patience import PATIENCE, free_port

CANARY = "heliotrope-armadillo"
HOLDS = {"secrets": [SECRET]}


async def test_killed_between_any_two_statements_the_effect_and_its_record_are_both_there_or_neither(
    world: World, tmp_path: Path
) -> None:
    async with receiving(tmp_path, world, "cometapi", callbacks=HOLDS) as house:
        picture = base64.b64encode(draw_png("a fox", width=300, height=300)).decode()
        request = {"prompt": "a red fox", "image_list": [{"image": picture}]}
        body = {"provider": "cometapi", "endpoint": "omni-image", "request": request, "external_task_id": "killed"}
        assert 201 == (await house.http.post("/v1/submissions", json=body)).status_code
    before = traces(tmp_path)

    ended = await ran("-m", "tests.conformance.dying", str(tmp_path), minted("cometapi", "killed"))
    copies = copies_in(tmp_path)
    found = [traces(copy) for copy in copies]
    after = found.pop()
    answers, told = [], []
    for copy in copies[:-1]:
        async with receiving(copy, world, "cometapi", callbacks=HOLDS) as house:
            answers.append(said(await house.http.post(minted("cometapi", "killed"), content=SUCCEED)))
            told.append(await finals(house, "killed"))

    deaths = len(found)
    assert 0 == ended[0], ended[1]
    assert ("pending", 0, 0, 1) == before
    assert ("succeeded", 1, 1, 0) == after
    assert 6 <= deaths  # at the least: begin, look, and write the task, the report and the event, commit
    assert [before] * deaths == found
    assert [(200, "applied")] * deaths == answers
    assert [["task.succeeded"]] * deaths == told


async def test_of_two_receivers_on_one_file_one_writes_and_the_other_waits_or_says_so(
    world: World, tmp_path: Path
) -> None:
    ledger = {"url": f"sqlite:///{tmp_path}/ledger.db"}
    port, another = free_port(), free_port()
    (tmp_path / "patient").mkdir()
    impatient = tmp_path / "impatient.toml"
    impatient.write_text(as_toml({"server": {"port": free_port()}, "ledger": {**ledger, "lock_wait": "100ms"}}))
    patient = living(
        tmp_path / "patient",
        world,
        "cometapi",
        port=another,
        ledger={**ledger, "lock_wait": "60s"},
        callbacks=HOLDS,
    )
    async with living(tmp_path, world, "cometapi", port=port, ledger=ledger, callbacks=HOLDS) as first:
        code, refusal = await ran("-m", "receiver", "serve", "--config", str(impatient))
        coming = asyncio.create_task(patient.__aenter__())
        heard = await first.http.post(minted("cometapi", "handed-over"), content=report("processing", task_id="5"))
        await eventually(lambda: is_taken(another))
        await asyncio.sleep(0.2)  # longer than it takes from there to being ready
        is_waiting = not coming.done()
        first.process.terminate()
        ended = await asyncio.wait_for(first.process.wait(), PATIENCE)
    second = await coming
    try:
        taken_over = await second.http.post(minted("cometapi", "handed-over"), content=SUCCEED)
        told = await second.events("handed-over")
    finally:
        await patient.__aexit__(None, None, None)

    assert (2, True) == (code, f"127.0.0.1:{port}" in refusal)
    assert "Traceback" not in refusal
    assert (True, 0) == (is_waiting, ended)
    assert [(200, "applied")] * 2 == [said(heard), said(taken_over)]
    assert ["task.processing", "task.succeeded"] == told


async def test_ended_under_load_each_callback_is_answered_and_in_effect_or_not_acknowledged(
    world: World, tmp_path: Path
) -> None:
    port = free_port()
    requests = numbered(0, 3_000)
    async with living(tmp_path, world, "cometapi", port=port, callbacks=HOLDS) as life:

        def end_amid(statuses: Sequence[int]) -> None:
            if statuses.count(200) == 300:
                life.process.terminate()

        statuses = await post_all(port, requests, on_answer=end_amid)
        code = await asyncio.wait_for(life.process.wait(), PATIENCE)
        log = life.log.read_text()
    kept = in_effect(tmp_path / "ledger.db")
    async with living(tmp_path, world, "cometapi", port=port, callbacks=HOLDS):
        again = await post_all(port, requests[:1_000])
    heard = in_effect(tmp_path / "ledger.db")

    acknowledged = {f"t-{number}" for number, status in enumerate(statuses) if status == 200}
    assert 0 == code
    assert 300 <= len(acknowledged) < 3_000
    assert set() == set(statuses) - {200, 503, 0}
    assert set() == acknowledged - kept.keys()
    assert {200} == set(again)
    assert {1} == set(kept.values()) | set(heard.values())
    assert 1_000 <= len(heard)
    assert '"level": "error"' not in log


async def test_the_canary_is_in_no_log_line_and_no_error(world: World, tmp_path: Path) -> None:
    """Everything secret carries the word: keys, prompt, signature, message, image, query string, headers."""
    port = free_port()
    api_key = f"api-key-{CANARY}-0123456789"
    told = report("succeed", task_id="5", task_status_msg=CANARY, images=[f"{IMAGE}?{CANARY}={CANARY}"])
    path, signed_path = minted("cometapi", "watched"), minted("kling", "watched-too")
    forged = signed(told, sent_at=0, message_id=CANARY)
    async with living(
        tmp_path,
        world,
        *("kling", "cometapi"),
        port=port,
        account={"api_key": f"provider-key-{CANARY}"},
        headers={"authorization": f"Bearer {api_key}", f"x-{CANARY}": CANARY, "cookie": f"{CANARY}={CANARY}"},
        logging={"level": "debug"},
        api={"keys": [api_key]},
        callbacks={"secrets": [SECRET], "max_body_bytes": 20_000},
    ) as life:
        post = life.http.post
        answers = [
            await life.submit("cometapi", f"a {CANARY} [[drop_all]]", "submitted"),
            await life.submit("cometapi", f"a {CANARY} [[policy]]", "refused"),
            await life.submit("cometapi", f"another {CANARY}", "submitted"),
            await post(f"{path}?{CANARY}={CANARY}", content=told),
            await post(path, content=report("failed", task_status_msg=CANARY)),
            await post(path, content=f'{{"task_status": {CANARY}}}'.encode()),
            await post(path, content=CANARY.encode() * 4_000),
            await post(f"{path}{CANARY}", content=told),
            await post(signed_path, content=told, headers=forged),
            await life.http.get(f"{path}?{CANARY}"),
            await life.http.get("/v1/tasks", headers={"authorization": f"Bearer {CANARY}"}),
            await life.http.get("/metrics"),
        ]
        async with line_to(port) as line:
            line.writer.write(post_of(path, told, {"x-mark": CANARY})[:-5])
        await life.tick()
        life.process.terminate()
        await asyncio.wait_for(life.process.wait(), PATIENCE)
        log = life.log.read_text()

    statuses = [answer.status_code for answer in answers]
    errors = [answer.text for answer, status in zip(answers, statuses, strict=True) if status >= 400]
    shown = [*log.splitlines(), *errors, answers[-1].text]
    secret = [CANARY, SECRET, WEBHOOK_SECRET, *(each.rpartition("/")[2] for each in (path, signed_path))]
    assert {200, 201, 401, 404, 405, 409, 413, 422, 502} <= set(statuses)
    assert 10 <= len(log.splitlines())
    assert [] == [line for line in shown if any(each in line for each in secret)]


def traces(folder: Path) -> tuple[str, int, int, int]:
    """What the ledger there knows of the only task: its state, and how many reports, finals and pictures it has."""
    ledger = folder / "ledger.db"
    assert [("ok",)] == rows(ledger, "pragma integrity_check")
    [found] = rows(
        ledger,
        """
        select state, (select count(*) from reports), (select count(*) from events),
               (select count(*) from inline_images)
          from tasks
        """,
    )
    state, reports, events, pictures = found
    return state, reports, events, pictures


async def is_taken(port: int) -> bool:
    """Whether some process holds this port, though it may not listen yet."""
    with socket.socket() as trying:
        try:
            trying.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


async def ran(*arguments: str) -> tuple[int, str]:
    """How a Python process ended, and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *arguments), cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode is not None
    return process.returncode, said.decode()


def copies_in(folder: Path) -> list[Path]:
    """The folders that are named by a number, in the order of their numbers."""
    return sorted((each for each in folder.iterdir() if each.name.isdigit()), key=lambda each: int(each.name))
