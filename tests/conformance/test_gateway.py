"""A provider that is early, late, silent, forgetful or busy, and a clock that steps: each task ends once, and truly."""

from pathlib import Path

from receiver.poller import AT_ONCE
from tests.conformance.scenes import IMAGE, WHOLE_STORY, awaited, finals, said, urls
from tests.flows.builders import ASKING, Clock, World, path_of, receiving, report, sandboxed

HOUR = 3_600_000


async def test_a_callback_before_the_create_answer_is_heard_and_the_answer_adds_what_it_knows(
    world: World, tmp_path: Path
) -> None:
    async with receiving(tmp_path, world, "powertokens") as house:
        created = await house.submit("powertokens", "a red fox [[early,foreign_ids]]", "early")
        truth = await world.until_told("early", 3)
        task, history = await house.task("early"), await house.history("early")

    assert 201 == created.status_code
    assert ["callback", "answer"] == [each["source"] for each in history["reports"]][:2]
    assert WHOLE_STORY == [each["type"] for each in history["events"]]
    # What to ask by is the gateway's own id, which only its answer tells; the callback's is kept beside it.
    assert (truth["task_id"], truth["upstream_id"]) == (task["task_id"], task["upstream_task_id"])


async def test_a_callback_with_a_valid_url_for_an_unknown_task_is_adopted(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        path = path_of(house.runtime.journal.callback_url("cometapi", "foundling"))
        answers = [
            await house.http.post(path, content=report("processing", task_id="7")),
            await house.http.post(path, content=report("succeed", task_id="7", images=[IMAGE])),
        ]
        task, told = await house.task("foundling"), await house.events("foundling")

    assert [(200, "applied")] * 2 == [said(answer) for answer in answers]
    assert (True, None, None, None, "succeeded") == tuple(
        task[key] for key in ("adopted", "request", "endpoint", "sent_at", "state")
    )
    assert ["task.processing", "task.succeeded"] == told


async def test_an_ambiguous_send_is_looked_up_and_never_sent_twice(world: World, clock: Clock, tmp_path: Path) -> None:
    accounts = ("unsigned", "powertokens", "cometapi")  # where nobody promises a look-up, the callback settles it
    async with receiving(tmp_path, world, *accounts, clock=clock, polling=ASKING) as house:
        for account in accounts[:2]:
            await house.submit(account, "a red fox [[unanswered,drop_all]]", account)
        with world.silence():  # or its callback comes before the caller has been told
            created = await house.submit("cometapi", "a red fox [[unanswered]]", "cometapi")
        await world.until_told("cometapi", 3)
        tasks = [await house.at_rest_in_time(account, clock) for account in accounts]
        creates, paid = await world.requests("create"), [await world.paid(account) for account in accounts]

    assert (202, "pending") == (created.status_code, created.json()["state"])
    assert [("succeeded", by) for by in ("query", "query", "callback")] == [
        (task["state"], task["settled_by"]) for task in tasks
    ]
    assert (3, [1, 1, 1]) == (len(creates), paid)


async def test_a_task_whose_callbacks_were_lost_is_found_by_asking(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "powertokens", polling=ASKING) as house:
        await house.submit("powertokens", "a red fox [[drop_all,not_exist_lag]]", "lost", n=2)
        task = await house.at_rest("lost")
        truth = await world.truth("lost")
        told = await finals(house, "lost")

    assert ("succeeded", "query", "queried") == (task["state"], task["settled_by"], task["trust"])
    assert truth["image_urls"] == urls(task)
    assert 2 <= task["queries"]  # it was lost at the provider too, for a while
    assert ["task.succeeded"] == told


async def test_a_task_given_up_as_lost_is_revived_when_its_callback_turns_up(
    world: World, clock: Clock, tmp_path: Path
) -> None:
    async with receiving(tmp_path, world, "cometapi", clock=clock, polling={"enabled": False}) as house:
        path = await awaited(house, "cometapi", "given-up")
        clock.jump(hours=25)
        await house.tick()
        expired = await house.task("given-up")
        heard = await house.http.post(path, content=report("succeed", task_id="8", images=[IMAGE]))
        task, told = await house.task("given-up"), await finals(house, "given-up")

    assert ("expired", "deadline") == (expired["state"], expired["settled_by"])
    assert (200, "applied") == said(heard)
    assert ("succeeded", "callback", [IMAGE]) == (task["state"], task["settled_by"], urls(task))
    assert ["task.expired", "task.succeeded"] == told


async def test_a_callback_after_a_query_settled_it_is_heard_and_tells_nothing_new(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi", polling=ASKING) as house:
        with world.silence():
            await house.submit("cometapi", "a red fox [[delay]]", "overtaken")
            settled = await house.at_rest("overtaken")
        truth = await world.until_told("overtaken", 3)
        task, told = await house.task("overtaken"), await finals(house, "overtaken")

    assert ("succeeded", "query") == (settled["state"], settled["settled_by"])
    assert [200, 200, 200] == [each["http_status"] for each in truth["callbacks"]]
    assert (settled["version"], settled["images"]) == (task["version"], task["images"])
    assert sum(settled["reports"].values()) < sum(task["reports"].values())
    assert ["task.succeeded"] == told


async def test_a_storm_of_429_is_waited_out_and_every_task_is_paid_once(clock: Clock, tmp_path: Path) -> None:
    names = [f"fox-{number}" for number in range(AT_ONCE + 4)]
    polling = {**ASKING, "first_after": "1h"}  # nobody asks before all of them are sent
    async with (
        sandboxed(retry_after=30) as world,
        receiving(tmp_path, world, "powertokens", clock=clock, polling=polling) as house,
    ):
        for name in names:
            await house.submit("powertokens", "a red fox [[busy=2,query_error=429,drop_all]]", name)
        storms: list[int] = []  # how many questions of a tick were told to wait
        told_to_wait: list[tuple[int, int]] = []
        for _ in range(60):
            states = {(await house.task(name))["state"] for name in names}
            if {"succeeded"} == states:
                break
            if {"submitted"} == states and not any(storms):
                clock.jump(hours=1)  # all are due at once
            before = await refused_questions(world)
            await house.tick()
            storms.append(await refused_questions(world) - before)
            if (await requests_of(world))[-1] == 429:
                too_soon = await house.tick()
                told_to_wait.append((too_soon["sent"], too_soon["asked"]))
            clock.jump(seconds=31)
        tasks = [await house.task(name) for name in names]
        answered = await requests_of(world)
        paid = [await world.paid(name) for name in names]

    assert ["succeeded"] * len(names) == [task["state"] for task in tasks]
    assert [1] * len(names) == paid
    assert 3 * len(names) <= answered.count(429)
    assert AT_ONCE == max(storms)  # what the first were told is heeded for the others
    assert {(0, 0)} == set(told_to_wait)


async def refused_questions(world: World) -> int:
    """How many questions were told to wait so far."""
    return [each["http_status"] for each in await world.requests("query")].count(429)


async def requests_of(world: World) -> list[int]:
    """The status of each request that reached a gateway, in their order."""
    requests = [*await world.requests("create"), *await world.requests("query")]
    return [each["http_status"] for each in sorted(requests, key=lambda each: each["at"])]


async def test_a_task_the_provider_says_it_never_had_ends_after_three_answers_and_a_late_callback_revives_it(
    clock: Clock, tmp_path: Path
) -> None:
    async with (
        sandboxed(kept_tasks=1) as world,
        receiving(tmp_path, world, "cometapi", clock=clock, polling=ASKING) as house,
    ):
        path = await awaited(house, "cometapi", "forgotten")
        await awaited(house, "cometapi", "remembered")  # and the other is not kept any longer
        states = []
        for minutes in (1, 4, 4, 4):
            clock.jump(minutes=minutes)
            await house.tick()
            states.append((await house.task("forgotten"))["state"])
        task = await house.task("forgotten")
        heard = await house.http.post(path, content=report("succeed", task_id="8", images=[IMAGE]))
        told = await finals(house, "forgotten")

    assert ["submitted", "submitted", "submitted", "expired"] == states
    assert "query" == task["settled_by"]
    assert (200, "applied") == said(heard)
    assert ["task.expired", "task.succeeded"] == told


async def test_clock_steps_break_no_order_and_no_deadline(clock: Clock, tmp_path: Path) -> None:
    """An hour back, as a clock that was set right; and a day ahead, as after a sleep."""
    async with sandboxed(task_seconds=600) as world, receiving(tmp_path, world, "cometapi", clock=clock) as house:
        early = await awaited(house, "cometapi", "before-the-step")
        await house.http.post(early, content=report("processing", task_id="1"))
        clock.jump(hours=-1)
        late = await awaited(house, "cometapi", "after-the-step")
        done = await house.tick()
        heard = [
            await house.http.post(early, content=report("succeed", task_id="1", images=[IMAGE])),
            await house.http.post(late, content=report("processing", task_id="2")),
        ]
        stepped_back = [await house.task(name) for name in ("before-the-step", "after-the-step")]
        clock.jump(hours=23)
        await house.tick()
        still_running = await house.task("after-the-step")
        clock.jump(hours=24)
        await house.tick()
        expired = await house.task("after-the-step")
        events = (await house.http.get("/v1/events?limit=500")).json()["events"]

    assert 0 == done["overdue"]
    assert [(200, "applied")] * 2 == [said(answer) for answer in heard]
    assert ["succeeded", "processing"] == [task["state"] for task in stepped_back]
    assert ("processing", "expired", "deadline") == (still_running["state"], expired["state"], expired["settled_by"])
    assert list(range(1, len(events) + 1)) == [event["position"] for event in events]
    versions = {name: [] for name in ("before-the-step", "after-the-step")}  # type: dict[str, list[int]]
    for event in events:
        versions[event["task"]["external_task_id"]].append(event["task"]["version"])
    assert all(sorted(set(each)) == each for each in versions.values())
