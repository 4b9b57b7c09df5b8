"""`hookledger simulate` as a person or a script meets it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from receiver.cli.output import CommandError
from receiver.cli.simulating import require_whole
from receiver.simulation import Broken, Delays, PathStory, SimulationReport
from tests.house.commands import run

NONE = Delays(count=0, p50=None, p95=None, p99=None)
WHOLE = SimulationReport(
    knobs={"seed": 7},
    tasks=1,
    states={"succeeded": 1},
    settled_by={"callback": 1},
    requests=0,
    queries_per_task=0.0,
    delay_by_callback=NONE,
    delay_by_query=NONE,
    rivals=(),
    path=PathStory(state="alive", loss=0.01, times_dark=0, spell=None),
    times_killed=0,
    virtual_seconds=40.0,
    broken=(),
)


def test_it_tells_in_json_what_was_asked_and_by_whom_tasks_were_settled(tmp_path: Path) -> None:
    ran = run(
        tmp_path,
        "simulate",
        "--tasks",
        "50",
        "--lost",
        "1",
        "--dark",
        "1m",
        "--no-list-query",
        "--loop",
        "10s",
        "--json",
    )

    assert 0 == ran.code
    told = json.loads(ran.out)
    assert {"query": 50} == told["settled_by"]
    assert 50 <= told["requests"] < 100
    assert ["a loop of 10 s", "an oracle"] == [rival["name"] for rival in told["rivals"]]
    assert [] == told["broken"]
    assert [] == list(tmp_path.iterdir())


def test_it_shows_a_person_the_rivals_in_a_table(tmp_path: Path) -> None:
    ran = run(tmp_path, "simulate", "--tasks", "30", "--crash", "2", "--clock-step", "1")

    assert 0 == ran.code
    assert "a loop of 20 s" in ran.out
    assert "killed 2 times" in ran.out
    assert "Every task is settled once" in ran.out


def test_those_that_taught_are_not_counted_with_the_measured(tmp_path: Path) -> None:
    arguments = ("simulate", "--tasks", "30", "--warm-up", "10", "--lost", "1", "--failed", "0")

    told = run(tmp_path, *arguments, "--json").json
    shown = run(tmp_path, *arguments)

    assert (20, {"succeeded": 20}, {"query": 20}) == (told["tasks"], told["states"], told["settled_by"])
    assert shown.out.startswith("20 tasks after 10 that taught: 20 succeeded (20 by query)")


def test_a_path_that_was_dark_before_the_spell_is_not_called_noticed_by_it(tmp_path: Path) -> None:
    every_one_lost = ("simulate", "--tasks", "200", "--in-flight", "10", "--lost", "1", "--dark", "1m", "--json")

    ran = run(tmp_path, *every_one_lost, patience=60)

    assert 0 == ran.code
    assert ran.json["dark_noticed_after"] is None


def test_it_tells_the_story_of_the_path(tmp_path: Path) -> None:
    arguments = ("simulate", "--tasks", "100", "--in-flight", "5", "--dark", "2m")

    told = run(tmp_path, *arguments, "--json").json["path"]
    shown = " ".join(run(tmp_path, *arguments).out.split())

    spell = told["spell"]
    assert ("alive", 1, 120) == (told["state"], told["times_dark"], spell["ends"] - spell["begins"])
    assert (
        f"called dark after {spell['noticed_after']:.0f} s, when {spell['finished_by_then']} tasks had ended" in shown
    )
    assert f"alive {spell['alive_after']:.0f} s after callbacks came again" in shown
    assert "In all the path was called dark once; at the end it is alive, and" in shown


def test_the_provider_s_moods_and_mixed_durations_are_options(tmp_path: Path) -> None:
    means = ("--mean", "16s", "--mean", "48s", "--told-apart")
    spells = ("--maintenance", "1m", "--arrears", "1m", "--lag", "30s")
    shares = ("--throttle", "0.1", "--unordered", "0.5", "--create-errors", "0.1", "--lost", "0.5")

    ran = run(tmp_path, "simulate", "--tasks", "40", *means, *spells, *shares, "--json", patience=60)

    assert 0 == ran.code
    knobs = ran.json["knobs"]
    assert ([16.0, 48.0], True) == (knobs["means"], knobs["told_apart"])
    assert (60.0, 60.0, 30.0) == (knobs["maintenance"], knobs["arrears"], knobs["lag"])
    assert (0.1, 0.5, 0.1) == (knobs["throttle"], knobs["unordered"], knobs["create_errors"])
    assert [] == ran.json["broken"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--lag", "3m"), "not found for more than 120 s"),
        (("--throttle", "1"), "a provider that takes no request"),
        (("--dark", "soon"), "--dark: 'soon' is no duration"),
        (("--loop", "0s"), "--loop: '0s' is too short"),
        (("--mean", "1ms"), "tasks take a second or more in the mean"),
        (("--lost", "2"), "--lost"),
    ],
)
def test_what_makes_no_world_is_misuse(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    ran = run(tmp_path, "simulate", *arguments)

    assert 2 == ran.code
    assert told in ran.err


def test_a_broken_invariant_fails_and_names_what_repeats_it() -> None:
    require_whole(WHOLE)
    broken = replace(WHOLE, broken=(Broken(invariant="true", task="sim-00000001", detail="expired"),))

    with pytest.raises(CommandError, match="1 invariants broke: the same options and --seed 7 repeat it") as failed:
        require_whole(broken)

    assert 1 == failed.value.code
