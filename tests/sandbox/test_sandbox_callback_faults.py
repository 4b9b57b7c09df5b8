"""Every fault of callbacks, seen from outside."""

import pytest


async def shows(sandbox, fault: str) -> bool:
    return (await sandbox.counts())["faults"].get(fault, 0) >= 1


async def test_drop_loses_the_final_callback(play, recorder):
    sandbox = await play()
    await sandbox.create("kling", "[[drop]]", "t_1")
    task = await sandbox.until_told("t_1", 3)

    assert ["submitted", "processing"] == recorder.statuses("t_1")
    assert [False, False, True] == [each["lost"] for each in task["callbacks"]]
    assert (["drop"], "succeed") == (task["faults_applied"], task["state"])
    assert 1 == (await sandbox.counts())["callbacks"]["dropped"]


async def test_drop_can_lose_another_one(play, recorder):
    sandbox = await play()
    await sandbox.create("kling", "[[drop=submitted]]", "t_1")
    await sandbox.until_told("t_1", 3)

    assert ["processing", "succeed"] == recorder.statuses("t_1")


async def test_drop_all_loses_every_callback(play, recorder):
    sandbox = await play()
    await sandbox.create("cometapi", "[[drop_all]]", "t_1")
    await sandbox.until_told("t_1", 3)

    assert [] == recorder.of("t_1")
    assert await shows(sandbox, "drop_all")


async def test_final_only_sends_the_final_callback(play, recorder):
    sandbox = await play()
    await sandbox.create("kling", "[[final_only]]", "t_1")
    await sandbox.until_told("t_1", 3)

    assert ["succeed"] == recorder.statuses("t_1")
    assert await shows(sandbox, "final_only")


@pytest.mark.parametrize("manner", ["2 together", "3 together", "2 apart", "3 apart"])
async def test_duplicate_sends_each_callback_again(play, recorder, manner):
    sandbox = await play()
    await sandbox.create("kling", f"[[duplicate={manner}]]", "t_1")
    await sandbox.until_told("t_1", 3 * int(manner[0]))

    times = int(manner[0])
    assert ["submitted"] * times + ["processing"] * times + ["succeed"] * times == recorder.statuses("t_1")
    assert 3 == len({callback.raw for callback in recorder.of("t_1")})
    assert await shows(sandbox, "duplicate")


async def test_delay_makes_callbacks_late_but_not_the_task(play, recorder):
    sandbox = await play(task_seconds=0, pace=0.02)
    await sandbox.create("kling", "[[delay]]", "t_1")
    task = await sandbox.until_told("t_1", 3)

    late = [callback.at - task["finished_at"] for callback in recorder.of("t_1")]
    assert min(late) >= 5 * 0.02
    assert await shows(sandbox, "delay")


async def test_reorder_sends_the_final_callback_first(play, recorder):
    sandbox = await play()
    await sandbox.create("kling", "[[reorder]]", "t_1")
    await recorder.until("t_1", 3)

    assert ["succeed", "processing", "submitted"] == recorder.statuses("t_1")
    assert await shows(sandbox, "reorder")


async def test_early_calls_back_before_the_create_is_answered(play, recorder):
    sandbox = await play(task_seconds=60)
    await sandbox.create("kling", "[[early]]", "t_1")

    assert ["submitted"] == recorder.statuses("t_1")
    assert await shows(sandbox, "early")


async def test_early_and_drop_all_do_not_hold_up_the_create(play, recorder):
    sandbox = await play()
    answer = await sandbox.create("kling", "[[early,drop_all]]", "t_1")

    assert 200 == answer.status_code
    assert [] == recorder.of("t_1")


async def odd(play, recorder, shape: str, gateway: str = "kling") -> dict[str, object]:
    sandbox = await play(task_seconds=0)
    await sandbox.create(gateway, f"[[odd_shape={shape}]]", "t_1", n=2)
    callback = (await recorder.until("t_1", 3))[-1].body
    assert await shows(sandbox, "odd_shape")
    return callback


async def test_odd_shape_wrapped_puts_the_callback_into_an_envelope(play, recorder):
    body = await odd(play, recorder, "wrapped")

    assert (0, "succeed") == (body["code"], body["data"]["task_status"])


async def test_odd_shape_string_code_says_its_code_as_text(play, recorder):
    body = await odd(play, recorder, "string_code")

    assert ("0", None, "succeed") == (body["code"], body["request_id"], body["data"]["task_status"])


async def test_odd_shape_newer_is_of_the_newer_generation(play, recorder):
    body = await odd(play, recorder, "newer")

    assert {"id", "status", "message", "create_time", "update_time", "external_id", "outputs", "billing"} == set(body)
    assert ("succeeded", "t_1", 2) == (body["status"], body["external_id"], len(body["outputs"]))
    assert {"charge_type", "amount", "package_type"} == set(body["billing"][0])


async def test_odd_shape_succeeded_uses_the_newer_word(play, recorder):
    assert "succeeded" == (await odd(play, recorder, "succeeded"))["task_status"]


@pytest.mark.parametrize(("shape", "kind"), [("string_times", str), ("float_times", float)])
async def test_odd_shape_times_are_text_or_floats(play, recorder, shape, kind):
    body = await odd(play, recorder, shape)

    assert isinstance(body["created_at"], kind)
    assert isinstance(body["updated_at"], kind)


async def test_odd_shape_no_index_leaves_images_to_be_counted(play, recorder):
    body = await odd(play, recorder, "no_index")

    assert [{"url"}, {"url"}] == [set(image) for image in body["task_result"]["images"]]


async def test_odd_shape_null_task_info_is_null(play, recorder):
    body = await odd(play, recorder, "null_task_info", "cometapi")

    assert body["task_info"] is None


async def test_failed_says_its_reason(play, recorder):
    sandbox = await play()
    task_id = await sandbox.task_id("kling", "[[fail: not today, thanks]]", "t_1")
    callback = (await recorder.until("t_1", 3))[-1].body
    queried = (await sandbox.query("kling", task_id)).json()

    assert ("failed", "not today, thanks") == (callback["task_status"], callback["task_status_msg"])
    assert (0, "failed") == (queried["code"], queried["data"]["task_status"])
    assert "task_result" not in queried["data"]
    assert await shows(sandbox, "failed")


@pytest.mark.parametrize(("way", "status"), [("opposite", "failed"), ("other_images", "succeed")])
async def test_forged_contradicts_before_the_truth_is_sent(play, recorder, way, status):
    sandbox = await play()
    task_id = await sandbox.task_id("kling", f"[[forged={way}]]", "t_1")
    callbacks = await recorder.until("t_1", 4)

    forged, true = callbacks[2].body, callbacks[3].body
    assert ["submitted", "processing", status, "succeed"] == recorder.statuses("t_1")
    assert forged["task_id"] != task_id
    assert forged.get("task_result") != true["task_result"]
    assert {"/callbacks/x/t_1/Token123"} == {callback.path for callback in callbacks}
    assert "succeed" == (await sandbox.query("kling", task_id)).json()["data"]["task_status"]
    assert await shows(sandbox, "forged")


async def test_forged_claims_success_of_a_task_that_fails(play, recorder):
    sandbox = await play()
    await sandbox.create("kling", "[[forged,failed]]", "t_1")
    await recorder.until("t_1", 4)

    assert ["submitted", "processing", "succeed", "failed"] == recorder.statuses("t_1")


async def test_forged_url_alters_the_last_segment(play, recorder):
    sandbox = await play()
    await sandbox.create("kling", "[[forged_url]]", "t_1")
    paths = [callback.path for callback in await recorder.until("t_1", 4)]

    right = "/callbacks/x/t_1/Token123"
    assert [right, right, "/callbacks/x/t_1/Aoken123", right] == paths
    assert await shows(sandbox, "forged_url")


async def test_forged_callbacks_are_not_sent_again(play, recorder):
    sandbox = await play(task_seconds=0, callback_retry_seconds=0)
    recorder.replies = [200, 200, 404]
    await sandbox.create("kling", "[[forged_url]]", "t_1")
    task = await sandbox.until_told("t_1", 4)

    assert [404] == [each["http_status"] for each in task["callbacks"] if each["forged"]]


@pytest.mark.parametrize(("extra", "last"), [("", ["succeed", "failed"]), (",failed", ["failed", "succeed"])])
async def test_opposite_follows_the_true_final(play, recorder, extra, last):
    sandbox = await play(pace=0.01)
    task_id = await sandbox.task_id("kling", f"[[opposite{extra}]]", "t_1")
    await recorder.until("t_1", 4)

    assert ["submitted", "processing", *last] == recorder.statuses("t_1")
    assert last[0] == (await sandbox.query("kling", task_id)).json()["data"]["task_status"]
    assert await shows(sandbox, "opposite")


@pytest.mark.parametrize("gateway", ["cometapi", "powertokens"])
async def test_foreign_ids_differ_between_gateway_and_callback(play, recorder, gateway):
    sandbox = await play()
    task_id = await sandbox.task_id(gateway, "[[foreign_ids]]", "t_1")
    called = {callback.body["task_id"] for callback in await recorder.until("t_1", 3)}

    assert task_id.startswith("task_")
    assert 1 == len(called)
    assert called.pop().isdigit()
    assert 200 == (await sandbox.query(gateway, task_id)).status_code
    assert await shows(sandbox, "foreign_ids")


async def test_kling_has_one_id_whatever_the_plan(play, recorder):
    sandbox = await play()
    task_id = await sandbox.task_id("kling", "[[foreign_ids]]", "t_1")

    assert {task_id} == {callback.body["task_id"] for callback in await recorder.until("t_1", 3)}
    assert {} == (await sandbox.counts())["faults"]
