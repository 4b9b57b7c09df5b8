"""Create, query and list on a good day."""

import pytest

GATEWAYS = ["kling", "cometapi", "powertokens"]
ENDPOINTS = ["omni-image", "generations"]


@pytest.mark.parametrize("gateway", GATEWAYS)
@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_task_calls_back_each_change_in_order(play, recorder, gateway, endpoint):
    sandbox = await play()
    answer = await sandbox.create(gateway, "a fox", "t_1", endpoint=endpoint)
    callbacks = await recorder.until("t_1", 3)

    created = answer.json()["data"]
    assert (200, "submitted") == (answer.status_code, created["task_status"])
    assert int(created["task_id"]) > 2**53
    assert ["submitted", "processing", "succeed"] == [callback.status for callback in callbacks]
    assert {created["task_id"]} == {callback.body["task_id"] for callback in callbacks}
    assert "/callbacks/x/t_1/Token123" == callbacks[0].path
    times = [callback.body["updated_at"] for callback in callbacks]
    assert times == sorted(times)
    assert all(isinstance(moment, int) for moment in times)
    assert [0] == [image["index"] for image in callbacks[-1].body["task_result"]["images"]]


async def test_only_cometapis_callbacks_lack_task_info(play, recorder):
    sandbox = await play(task_seconds=0)
    for gateway in GATEWAYS:
        await sandbox.create(gateway, "a fox", f"t_{gateway}")
        await recorder.until(f"t_{gateway}", 3)

    infos = [recorder.of(f"t_{gateway}")[-1].body.get("task_info") for gateway in GATEWAYS]
    assert [{"external_task_id": "t_kling"}, None, {"external_task_id": "t_powertokens"}] == infos


async def test_a_task_progresses_with_time(play):
    sandbox = await play(task_seconds=10)
    clock = sandbox.stopped_clock()
    task_id = await sandbox.task_id("kling", "a fox", "t_1", callback_url=None)
    seen = []
    for _ in range(12):
        status = (await sandbox.query("kling", task_id)).json()["data"]["task_status"]
        seen += [status] if status not in seen else []
        clock.now += 1

    assert ["submitted", "processing", "succeed"] == seen


async def test_without_a_callback_url_nothing_is_called(play, recorder):
    sandbox = await play(task_seconds=0)
    task_id = await sandbox.task_id("kling", "a fox", "t_1", callback_url=None)

    assert "succeed" == (await sandbox.query("kling", task_id)).json()["data"]["task_status"]
    assert [] == (await sandbox.truth("t_1"))["callbacks"]
    assert [] == recorder.heard


async def test_a_series_is_complete_only_in_the_query(play, recorder):
    sandbox = await play()
    task_id = await sandbox.task_id("kling", "a fox", "t_1", result_type="series", series_amount=5)
    callback = (await recorder.until("t_1", 3))[-1].body
    queried = (await sandbox.query("kling", task_id)).json()["data"]["task_result"]

    assert [0] == [image["index"] for image in callback["task_result"]["images"]]
    assert "series_images" not in callback["task_result"]
    assert "series" == queried["result_type"]
    assert [0, 1, 2, 3, 4] == [image["index"] for image in queried["series_images"]]


@pytest.mark.parametrize("gateway", GATEWAYS)
async def test_an_external_id_is_used_up_by_its_first_task(play, gateway):
    sandbox = await play()
    first = await sandbox.create(gateway, "a fox", "t_1")
    second = await sandbox.create(gateway, "a fox", "t_1", endpoint="generations")

    assert (200, 400) == (first.status_code, second.status_code)
    assert "1201" == str(second.json()["code"])
    assert "already exists" in second.json()["message"]
    assert 1 == (await sandbox.counts())["creates_accepted"][gateway]


async def test_each_account_has_its_own_external_ids(play):
    sandbox = await play()

    assert [200] * 3 == [(await sandbox.create(gateway, "a fox", "t_1")).status_code for gateway in GATEWAYS]


async def test_a_balancing_cometapi_takes_the_same_external_id_twice(play):
    sandbox = await play(duplicate_external_ids_accepted=True)
    first, second = [await sandbox.task_id("cometapi", "a fox", "t_1") for _ in range(2)]
    counts = await sandbox.counts()

    assert first != second
    assert {"t_1": 2} == counts["creates_by_external_id"]["cometapi"]
    assert ["t_1"] == counts["paid_twice"]["cometapi"]


async def test_look_up_by_external_id_is_promised_at_kling_and_powertokens(play):
    sandbox = await play()
    for gateway in GATEWAYS:
        await sandbox.create(gateway, "a fox", "t_1")

    assert [200, 400, 200] == [(await sandbox.query(gateway, "t_1")).status_code for gateway in GATEWAYS]


async def test_look_up_by_external_id_is_a_setting(play):
    sandbox = await play(query_by_external_id=frozenset({"cometapi"}))
    for gateway in GATEWAYS:
        await sandbox.create(gateway, "a fox", "t_1")

    assert [400, 200, 400] == [(await sandbox.query(gateway, "t_1")).status_code for gateway in GATEWAYS]


async def test_an_unknown_task_is_told_in_each_gateways_words(play):
    sandbox = await play()
    kling, comet, power = [(await sandbox.query(gateway, "867")).json() for gateway in GATEWAYS]

    assert (1201, "Task not found by id/external id") == (kling["code"], kling["message"])
    assert {"code": "task_not_exist", "message": "task_not_exist", "data": None} == comet
    assert "task_not_exist" == power["code"]


async def test_a_task_is_found_only_where_it_was_created(play):
    sandbox = await play()
    task_id = await sandbox.task_id("kling", "a fox", "t_1")

    assert 400 == (await sandbox.query("cometapi", task_id)).status_code
    assert 400 == (await sandbox.query("kling", task_id, "generations")).status_code


async def test_powertokens_wraps_its_query_answers(play):
    sandbox = await play(task_seconds=0)
    task_id = await sandbox.task_id("powertokens", "[[foreign_ids]]", "t_1")
    wrapped = (await sandbox.query("powertokens", task_id)).json()

    assert ("success", "SUCCESS", task_id) == (
        wrapped["code"],
        wrapped["data"]["status"],
        wrapped["data"]["task_id"],
    )
    kling = wrapped["data"]["data"]
    assert (0, "succeed") == (kling["code"], kling["data"]["task_status"])


async def test_powertokens_wrapper_is_a_setting(play):
    sandbox = await play(powertokens_wraps_queries=False)
    task_id = await sandbox.task_id("powertokens", "a fox", "t_1")

    assert task_id == (await sandbox.query("powertokens", task_id)).json()["data"]["task_id"]
    assert 1201 == (await sandbox.query("powertokens", "867")).json()["code"]


async def test_powertokens_may_quote_upstream_errors_as_text(play):
    sandbox = await play(powertokens_quotes_errors=True)
    answer = await sandbox.create("powertokens", "[[busy]]", "t_1")

    assert (429, "fail_to_fetch_task") == (answer.status_code, answer.json()["code"])
    assert '"code": 1302' in answer.json()["message"]


async def test_cometapis_code_is_now_a_number_and_now_text(play):
    sandbox = await play()
    codes = [(await sandbox.create("cometapi", "a fox", f"t_{index}")).json()["code"] for index in range(12)]

    assert {0, "0"} == set(codes)


async def test_a_refused_body_has_each_gateways_shape(play):
    sandbox = await play()
    kling, comet, power = [await sandbox.create(gateway, "a fox", "t_1", n=99) for gateway in GATEWAYS]

    assert 1201 == kling.json()["code"] == power.json()["code"]
    assert "comet_api_error" == comet.json()["error"]["type"]
    assert [400] * 3 == [answer.status_code for answer in (kling, comet, power)]


async def test_a_body_that_is_no_json_is_a_bad_parameter(play):
    sandbox = await play()
    for body in (b"", b"{", b"[" * 100_000, b"\xff"):
        answer = await sandbox.client.post(sandbox.images("kling"), content=body)
        assert (400, 1200) == (answer.status_code, answer.json()["code"])


async def test_text_that_is_no_unicode_comes_through(play, recorder):
    sandbox = await play(task_seconds=0)
    body = (
        b'{"prompt": "\\ud800 fox", "external_task_id": "\\ud800", "callback_url": "%s"}' % recorder.url("t_1").encode()
    )
    created = await sandbox.client.post(sandbox.images("kling"), content=body)
    callbacks = await recorder.until("t_1", 3)

    assert "\ud800" == created.json()["data"]["task_info"]["external_task_id"]
    assert {"\ud800"} == {callback.body["task_info"]["external_task_id"] for callback in callbacks}
    assert 200 == (await sandbox.client.get(f"{sandbox.running.base_url}/sandbox/tasks")).status_code


async def test_the_list_is_newest_first_and_paged(play):
    sandbox = await play()
    ids = [await sandbox.task_id("kling", "a fox", f"t_{index}") for index in range(5)]
    await sandbox.create("cometapi", "a fox", "t_elsewhere")
    listed = [
        [task["task_id"] for task in (await sandbox.client.get(sandbox.images("kling") + query)).json()["data"]]
        for query in ("", "?pageNum=1&pageSize=2", "?pageNum=3&pageSize=2", "?pageNum=4&pageSize=2")
    ]

    assert [ids[::-1], ids[:2:-1], ids[:1], []] == listed


async def test_the_list_may_be_oldest_first_too(play):
    sandbox = await play(lists_oldest_first=True)
    ids = [await sandbox.task_id("kling", "a fox", f"t_{index}") for index in range(3)]
    listed = (await sandbox.client.get(sandbox.images("kling"))).json()["data"]

    assert ids == [task["task_id"] for task in listed]


async def test_several_are_asked_for_by_either_id_whatever_their_endpoint(play):
    sandbox = await play()
    ids = [await sandbox.task_id("kling", "a fox", f"t_{index}") for index in range(3)]
    batch = f"{sandbox.running.base_url}/kling/tasks"
    answers = [
        [task["task_id"] for task in (await sandbox.client.get(f"{batch}?{query}")).json()["data"]]
        for query in (f"task_ids={ids[2]},{ids[0]}", "external_task_ids=t_1,t_unknown", "task_ids=t_unknown")
    ]

    assert [[ids[2], ids[0]], [ids[1]], []] == answers


@pytest.mark.parametrize("query", ["", "task_ids=", "task_ids=1&external_task_ids=2", "task_ids=" + "1," * 21])
async def test_a_batch_of_none_of_more_than_twenty_or_of_two_kinds_is_refused(play, query):
    sandbox = await play()

    assert 1201 == (await sandbox.client.get(f"{sandbox.running.base_url}/kling/tasks?{query}")).json()["code"]


@pytest.mark.parametrize("query", ["pageNum=0", "pageNum=1001", "pageSize=501", "pageSize=x", "pageSize=²"])
async def test_a_page_beyond_the_limits_is_refused(play, query):
    sandbox = await play()

    assert 1201 == (await sandbox.client.get(f"{sandbox.images('kling')}?{query}")).json()["code"]


@pytest.mark.parametrize("gateway", ["cometapi", "powertokens"])
async def test_only_kling_has_a_list(play, gateway):
    sandbox = await play()

    assert 404 == (await sandbox.client.get(sandbox.images(gateway))).status_code


async def test_a_wrong_path_answers_html(play):
    sandbox = await play()
    answer = await sandbox.client.get(f"{sandbox.running.base_url}/kling/v1/videos")

    assert 404 == answer.status_code
    assert answer.headers["content-type"].startswith("text/html")


async def test_slots_are_held_by_images_and_freed_when_a_task_ends(play):
    sandbox = await play(slots=4, task_seconds=60)
    first = await sandbox.create("kling", "a fox", "t_1", n=3)
    second = await sandbox.create("kling", "a fox", "t_2", n=2)
    third = await sandbox.create("kling", "[[seconds=0.05]]", "t_3", n=1)
    elsewhere = await sandbox.create("cometapi", "a fox", "t_4", n=4)

    assert [200, 429, 200, 200] == [each.status_code for each in (first, second, third, elsewhere)]
    assert 1303 == second.json()["code"]
    assert "retry-after" in second.headers
    await sandbox.until_status(200, lambda: sandbox.create("kling", "a fox", "t_5", n=1))


async def test_a_callback_that_is_not_acknowledged_comes_again(play, recorder):
    sandbox = await play(task_seconds=0, max_callback_attempts=3, callback_retry_seconds=0.2)
    recorder.replies = [500, 503, 404]
    await sandbox.create("kling", "[[final_only]]", "t_1")
    task = await sandbox.until_told("t_1", 5)

    sent = [callback for callback in task["callbacks"] if not callback["lost"]]
    assert [(1, 500), (2, 503), (3, 404)] == [(each["attempt"], each["http_status"]) for each in sent]


async def test_a_callback_that_nobody_answers_is_given_up_in_the_end(play):
    sandbox = await play(task_seconds=0, max_callback_attempts=2, callback_retry_seconds=0.2)
    await sandbox.create("kling", "a fox", "t_1", callback_url="http://127.0.0.1:9/x/y")
    task = await sandbox.until_told("t_1", 6)

    assert {(None, "ConnectError")} == {(each["http_status"], each["error"]) for each in task["callbacks"]}


async def test_the_same_seed_plays_the_same_day_again(play):
    days = []
    for seed in (7, 7, 8):
        sandbox = await play(seed=seed)
        await sandbox.client.post(
            f"{sandbox.running.base_url}/sandbox/faults", json={"failed": 0.5, "foreign_ids": 0.5, "busy": 0.3}
        )
        answers = [await sandbox.create("cometapi", "a fox", f"t_{index}") for index in range(12)]
        days.append([(each.status_code, str((each.json().get("data") or {}).get("task_id"))) for each in answers])

    assert days[0] == days[1]
    assert days[0] != days[2]


async def test_tasks_take_as_long_as_the_real_ones_times_the_pace(play):
    sandbox = await play(task_seconds=None, pace=0.01)
    for index in range(40):
        await sandbox.create("kling", "a fox", f"t_{index}", callback_url=None)
    tasks = (await sandbox.control("tasks"))["tasks"]
    seconds = sorted((task["finished_at"] - task["created_at"]) / 0.01 for task in tasks)

    assert seconds[0] >= 7.99
    assert seconds[-1] <= 45.01
    assert 14 < seconds[20] < 28
