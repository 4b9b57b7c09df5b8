"""The benchmark measures what it says: its shape and its arithmetic, never its figures."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import competitors, ledgers, profiling, rawload, serving
from benchmarks.backlog import BESIDE
from benchmarks.burst import fairness
from benchmarks.cache import RUNNING_EVERY, kept_ledger
from benchmarks.callbacks import AHEAD, Created, heard_of, requests
from benchmarks.load import Exhausted, Generator, as_measured, post, quantile_ms
from benchmarks.measure import measure
from benchmarks.openload import arrivals, post_at
from benchmarks.plan import JUDGED_AT, SECTIONS, Plan
from benchmarks.report import END, PLACES, begin, page_with_results, tables
from benchmarks.sink import sinking
from receiver.ledger.sqlite import SqliteReader
from receiver.ledger.sqlite.connection import connect_reader
from receiver.task import TaskState
from tests.patience import PATIENCE

NOW = 1_800_000_000_000
LONG_ENOUGH = {Generator.RAW: PATIENCE, Generator.WRK: 3.0}
TASKS = [Created(f"t_{number}", str(number)) for number in range(1_500)]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The whole of it, with the smallest counts."""
    plan = Plan(
        generator=Generator.RAW,
        cache=tmp_path_factory.mktemp("bench"),
        connections=(JUDGED_AT,),
        seconds=0.2,
        warm_up=0.05,
        repetitions=1,
        newest=100,
        few_old=100,
        many_old=20_000,
        starts=1,
        duplicates=100,
        memory_callbacks=500,
        tellings=1,
        told_warm_up=0.1,
        told_seconds=0.5,
        drains=1,
        backlog=50,
        waiters=10,
        listeners=10,
        idle_seconds=0.1,
        open_seconds=0.3,
        burst=30,
        burst_task_seconds=0.02,
    )
    return measure(plan, say=lambda _: None)


def test_every_server_is_measured_and_none_fails(results: dict[str, Any]) -> None:
    assert ["noop", "durable", "each", "shared"] == [row["server"] for row in results["servers"]]
    assert [0] * 4 == [row["failed"] for row in results["servers"]]
    assert all(row["answered"] and 0 < row["p50_ms"] <= row["p99_ms"] for row in results["servers"])


def test_few_and_many_old_tasks_duplicates_starts_and_memory_are_measured(results: dict[str, Any]) -> None:
    rows = [*results["sizes"], *results["duplicates"]]

    assert [100, 20_000, 20_000] == [row["old"] for row in results["sizes"]]
    assert ["applied", "duplicate"] == [row["verdict"] for row in results["duplicates"]]
    assert all(row["answered"] and row["failed"] == 0 for row in rows)
    assert results["starts"]["ready_ms"]["median"] > 0 < results["starts"]["import_ms"]["median"]
    assert results["memory"]["loaded"]["callbacks"] >= 500


def test_apps_are_told_by_every_endpoint_and_of_everything(results: dict[str, Any]) -> None:
    rows = results["telling"]

    assert ["forward", "durable"] == [row["endpoint"] for row in rows]
    assert 1 == len({row["told"] for row in rows})
    assert all(row["told"] > 50 and 0 < row["p50_ms"] <= row["p99_ms"] <= row["slowest_ms"] for row in rows)


def test_a_backlog_is_told_as_the_loop_tells_it_and_beside_callbacks(results: dict[str, Any]) -> None:
    backlog = results["backlog"]

    assert {"loop", "durable", BESIDE} == backlog["per_second"].keys()
    assert all(rate > 0 for rate in backlog["per_second"].values())
    assert 500 < backlog["body_bytes"] < 2_000
    assert backlog["before"]["count"] > 0


def test_waiters_are_woken_and_listeners_told(results: dict[str, Any]) -> None:
    bare, durable = results["listeners"]

    assert 10 == results["waking"]["waiters"]
    assert all(results["waking"][what]["p50_ms"] > 0 for what in ("after_callback", "plain"))
    assert all(row["alone"]["rss"] > 0 for row in (bare, durable))
    assert bare["all_told_ms"] is None
    assert durable["all_told_ms"] > 0


def test_queries_are_answered_from_the_ledger_and_beside_a_constant_of_their_size(results: dict[str, Any]) -> None:
    queries = results["queries"]

    assert 200 < queries["body_bytes"] < 1_000
    assert ["constant", "durable"] == [row["endpoint"] for row in queries["closed"]]
    assert [0, 0] == [row["failed"] for row in queries["closed"]]
    assert all(0 < row["p50_ms"] <= row["p99_ms"] <= row["slowest_ms"] for row in queries["open"])


def test_creates_are_sent_straight_and_through_the_gateway(results: dict[str, Any]) -> None:
    straight, through = results["creates"]["rows"]

    assert ("straight", "through") == (straight["endpoint"], through["endpoint"])
    assert results["creates"]["added_p50_ms"] == pytest.approx(through["p50_ms"] - straight["p50_ms"], abs=0.01)


def test_a_burst_is_sent_once(results: dict[str, Any]) -> None:
    burst = results["burst"]

    assert {"ada": 18, "bob": 9, "eve": 3} == burst["tenants"]
    assert [0, 0, 0] == [burst[what] for what in ("refused", "sent_twice", "never_sent")]
    assert burst["at_least_seconds"] <= burst["seconds"]


def test_fairness_is_looked_at_between_moments_while_all_wait() -> None:
    fair = fairness([["ada", "bob"], ["ada"], ["bob", "ada"], ["ada"], ["bob"]])
    unfair = fairness([["ada"], ["ada", "ada"], ["bob"], ["ada"], ["bob"]])

    assert {"furthest_ahead": 1, "jain": 0.9615} == fair
    assert {"furthest_ahead": 3, "jain": 0.8} == unfair


def test_every_aim_is_judged_and_the_results_are_json(results: dict[str, Any]) -> None:
    assert 24 == len([row["is_met"] for row in results["aims"]])
    assert results == json.loads(json.dumps(results)) | {"plan": results["plan"]}


def test_the_results_replace_those_that_the_page_had(results: dict[str, Any]) -> None:
    places = "".join(f"{begin(place)}\nold\n{END}\n" for place in PLACES)
    page = page_with_results(f"above\n{places}below\n", results)

    assert page.startswith(f"above\n{begin('callbacks')}\n")
    assert page.endswith(f"{END}\nbelow\n")
    assert page.index("no-op") < page.index(begin("telling")) < page.index("a bare httpx loop")
    assert "\nold\n" not in page
    assert page == page_with_results(page, results)
    assert tables(results).renderables


def test_what_was_not_measured_keeps_its_results(results: dict[str, Any]) -> None:
    page = "".join(f"{begin(place)}\nold {place}\n{END}\n" for place in PLACES)
    told = {name: value for name, value in results.items() if name not in PLACES["callbacks"]}
    written = page_with_results(page, told)

    assert "old callbacks" in written
    assert "old telling" not in written


def test_the_page_of_the_docs_has_a_place_for_results() -> None:
    page = (serving.ROOT / "docs" / "performance.md").read_text()

    assert sorted(sum(PLACES.values(), ())) == sorted(SECTIONS)
    for place in PLACES:
        assert page.index(begin(place)) < page.index(END, page.index(begin(place)))


# --- the load


@given(st.integers(0, 3_000), st.integers(0, 6_000))
def test_the_tasks_heard_of_are_those_of_the_first_requests(count: int, taken: int) -> None:
    tasks = [Created(str(number), str(number)) for number in range(count)]
    ahead = min(AHEAD, count)
    order = [
        n
        for number in range(count + ahead)
        for n in ([number] * (number < count) + [number - ahead] * (number >= ahead))
    ]

    assert len(set(order[:taken])) == heard_of(tasks, taken)


@given(st.lists(st.integers(1, 400), min_size=1, max_size=80), st.integers(1, 100))
def test_what_wrk_adds_comes_off_again(measured: list[int], expected: int) -> None:
    assert Counter(measured) == as_measured(corrected_by_wrk(measured, expected), expected=expected)


def corrected_by_wrk(measured: list[int], expected: int) -> dict[int, int]:
    """As `stats_correct` of wrk 4 does it, in its own order."""
    counts = [0] * (max(measured) + 1)
    for taken in measured:
        counts[taken] += 1
    for taken in range(expected * 2, len(counts)):
        added = taken - expected
        while counts[taken] and added > expected:
            counts[added] += counts[taken]
            added -= expected
    return {taken: count for taken, count in enumerate(counts) if count}


def test_quantiles_are_of_the_answers() -> None:
    latencies = {1_000: 98, 5_000: 1, 9_000: 1}

    assert (1.0, 5.0, 9.0) == tuple(quantile_ms(latencies, share) for share in (0.5, 0.99, 1.0))


@pytest.mark.parametrize("generator", Generator)
def test_either_generator_sends_each_request_once_and_in_order(generator: Generator, tmp_path: Path) -> None:
    if generator is Generator.WRK and shutil.which("wrk") is None:
        pytest.skip("wrk is not installed")
    database = tmp_path / "shared.db"
    competitors.prepare(database, TASKS)
    with serving.competitor(competitors.SHARED, database) as server:
        sent = list(requests(TASKS))
        load = post(sent[:4], root=server.root, connections=2, seconds=0.2, by=generator, is_again=True)
        with pytest.raises(Exhausted):  # which ends the one at once; wrk takes its time in any case
            post(sent[4:8], root=server.root, connections=2, seconds=LONG_ENOUGH[generator], by=generator)
    with closing(sqlite3.connect(database)) as raw:
        events = [row[0] for row in raw.execute("select external_task_id from events order by position")]

    assert 0 == load.failed < load.answered <= load.taken
    assert {each.external_task_id for each in TASKS[:8]} >= set(events)
    assert len(events) == len(set(events)) >= min(load.answered, 4) + 2  # the last of an exhausted load may be cut off


def test_a_refusal_is_counted_as_a_failure(tmp_path: Path) -> None:
    with serving.competitor(competitors.SHARED, tmp_path / "none.db") as server:
        forged = [each.replace(b"/t_", b"/u_") for each in requests(TASKS[:50])]
        seen = rawload.post(forged, root=server.root, connections=2, seconds=PATIENCE, is_again=False)

    assert (100, 100) == (seen.taken, seen.failed)


def test_an_open_load_comes_at_its_rate_and_the_same_each_time() -> None:
    due = arrivals(200, seconds=20)

    assert due == arrivals(200, seconds=20)
    assert due == sorted(due)
    assert 0 < due[0] < due[-1] < 20
    assert 3_800 < len(due) < 4_200


def test_an_open_load_is_counted_from_when_it_was_due_however_few_the_connections(tmp_path: Path) -> None:
    with sinking(tmp_path / "sink") as sink:
        tell = b"POST /hook HTTP/1.1\r\nwebhook-id: %d\r\nContent-Length: 2\r\n\r\n{}"
        told = [tell % number for number in range(40)]
        answers = post_at([0.0] * 40, told, root=f"http://127.0.0.1:{sink.port}", connections=1)
        heard = sink.told(40)

    assert list(range(40)) == [each.number for each in answers]
    assert 40 == heard.times == len(heard.at)
    assert 2 == heard.body_bytes
    assert all(each.is_good and each.due <= each.sent <= heard.at[str(each.number)] for each in answers)
    assert all(heard.at[str(each.number)] <= each.answered for each in answers)
    assert all(one.answered <= next_.sent for one, next_ in pairwise(answers))


def test_a_refused_callback_of_an_open_load_is_not_good(tmp_path: Path) -> None:
    with serving.competitor(competitors.SHARED, tmp_path / "none.db") as server:
        forged = [each.replace(b"/t_", b"/u_") for each in requests(TASKS[:5])]
        answers = post_at([0.0] * len(forged), forged, root=server.root, connections=2)

    assert [False] * len(forged) == [each.is_good for each in answers]


# --- the ledgers


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A hundred old tasks and ten of now."""
    kept = kept_ledger(tmp_path, 100, now=NOW, at_least_running=0, say=lambda _: None)
    ledgers.add_submitted(kept.path, ledgers.template(is_settled=False), 10, now=NOW)
    return kept.path


async def test_the_multiplied_tasks_are_what_the_product_writes(ledger: Path) -> None:
    with closing(sqlite3.connect(ledger)) as raw:
        keys = dict(raw.execute("select key, external_task_id from tasks order by key").fetchall())
    reader = SqliteReader(await connect_reader(ledger))
    settled, history = await reader.record(keys[1]), await reader.history(keys[1])
    running = await reader.record(keys[RUNNING_EVERY])
    await reader.aclose()

    assert settled is not None
    assert running is not None
    assert history is not None
    assert (TaskState.SUCCEEDED, TaskState.SUBMITTED) == (settled.task.state, running.task.state)
    assert keys[1] in settled.task.images[0].url
    assert 3 == len({event.id for event in history.events if event.id.startswith(f"{keys[1]}.")})
    assert all(json.loads(event.task or "")["external_task_id"] == keys[1] for event in history.events)
    assert 3 == len(history.reports)
    assert sorted(list(keys.values())[:100]) == list(keys.values())[:100]


def test_a_kept_ledger_is_used_again_and_its_running_tasks_only_once(tmp_path: Path) -> None:
    first = kept_ledger(tmp_path, 100, now=NOW, at_least_running=5, say=lambda _: None)
    made = first.path.stat().st_mtime_ns
    taken = first.take_running(5) + first.take_running(5)
    again = kept_ledger(tmp_path, 100, now=NOW, at_least_running=0, say=lambda _: None)

    assert 10 == len(set(taken))
    assert made == again.path.stat().st_mtime_ns
    assert 0 == again.running_left
    assert 10 == kept_ledger(tmp_path, 100, now=NOW, at_least_running=5, say=lambda _: None).running_left


def test_a_ledger_that_the_disk_has_no_room_for_is_not_begun(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="GiB free"):
        kept_ledger(tmp_path, 10**11, now=NOW, at_least_running=0, say=lambda _: None)

    assert [] == list(tmp_path.iterdir())


# --- the profile


def test_a_profile_counts_a_function_once_a_stack_and_leaves_out_what_waits() -> None:
    stacks = (
        "thread (1): MainThread;run (/a/receiver/app.py);run (/a/receiver/app.py);write (/v/site-packages/b/c.py) 3\n"
        "thread (2): db;run (/a/receiver/app.py) 1\n"
        "thread (2): db;Thread.run (/p/threading.py);_worker (/p/lib/python3.11/concurrent/futures/thread.py) 9\n"
    )
    profile = profiling.read(stacks)

    assert (4, {"MainThread": 3, "db": 1}) == (profile.samples, dict(profile.by_thread))
    assert {"write  b/c.py": 3, "run  receiver/app.py": 1} == dict(profile.own)
    assert 4 == profile.inclusive["run  receiver/app.py"]
    assert "100.0  run  receiver/app.py" in profile.text()
