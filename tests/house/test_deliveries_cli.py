"""`deliveries list | redeliver` and `destinations`: what was told to whom, as a person or a script asks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from receiver.eventtype import types_matching
from receiver.ledger.deliveries import AttemptResult, Settlement, Subscription
from receiver.ledger.sqlite import SqliteLedger
from tests.house.commands import Ran, configured, run, run_all
from tests.ledger.builders import JUDGE, LEASE, NOW, PROCESSING, SUCCEED, callback, image

SETTINGS = """
[[destinations]]
name = "app"
url = "http://127.0.0.1:9/hook"
private = true
events = ["task.*"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A ledger with three dead letters, one that was delivered and one that waits, behind an app that is away."""
    configured(tmp_path, SETTINGS)
    run(tmp_path, "migrate")
    asyncio.run(tell(tmp_path / "hookledger.db"))
    return tmp_path


async def tell(path: Path) -> None:
    ledger = await SqliteLedger.open(path, now=NOW)
    try:
        await ledger.subscribe([Subscription(destination="app", types=types_matching(["task.*"]))], now=NOW)
        await ledger.apply([callback(PROCESSING, task=f"t_{number}") for number in range(4)], JUDGE)
        claimed = await ledger.claim_deliveries("app", now=NOW, lease=LEASE, limit=16)
        results = [AttemptResult.DELIVERED, *[AttemptResult.REFUSED] * 3]
        await ledger.settle_deliveries(
            [
                Settlement(key=each.key, fence=each.fence, result=result, now=NOW, reason=f"[{result}]")
                for each, result in zip(claimed, results, strict=True)
            ]
        )
        await ledger.apply([callback(SUCCEED, image(), task="t_3")], JUDGE)
    finally:
        await ledger.aclose()


def keys(ran: Ran) -> list[int]:
    return [each["id"] for each in ran.json["deliveries"]]


def test_deliveries_are_listed_newest_first_and_filtered(folder: Path) -> None:
    everything, dead, of_task, of_type, page, for_people = run_all(
        folder,
        [
            ["deliveries", "list", "--json"],
            ["deliveries", "list", "--state", "dead", "--json"],
            ["deliveries", "list", "--task", "t_3", "--json"],
            ["deliveries", "list", "--type", "task.succeeded", "--destination", "app", "--json"],
            ["deliveries", "list", "--limit", "2", "--json"],
            ["deliveries", "list", "--state", "dead"],
        ],
    )

    assert [5, 4, 3, 2, 1] == keys(everything)
    assert ([4, 3, 2], [5, 4], [5]) == (keys(dead), keys(of_task), keys(of_type))
    assert ([5, 4], "4") == (keys(page), page.json["next"])
    assert "t_3.1" in for_people.out
    assert "[refused]" in for_people.out


def test_how_a_destination_fares_is_shown(folder: Path) -> None:
    as_json, for_people = run_all(folder, [["destinations", "--json"], ["destinations"]])

    [shown] = as_json.json["destinations"]
    assert ("app", "closed", 1, 3) == (shown["name"], shown["state"], shown["open"], shown["dead"])
    assert "app" in for_people.out


def test_a_dry_run_counts_and_changes_nothing(folder: Path) -> None:
    dry = run(folder, "deliveries", "redeliver", "--state", "dead", "--dry-run", "--json")
    dead = run(folder, "deliveries", "list", "--state", "dead", "--json")

    assert {"matching": 3, "redelivered": 0} == dry.json
    assert [4, 3, 2] == keys(dead)


def test_dead_letters_are_told_anew_by_their_ids_or_all_of_them(folder: Path) -> None:
    one = run(folder, "deliveries", "redeliver", "2", "--json")
    rest = run(folder, "deliveries", "redeliver", "--state", "dead")
    listed = run(folder, "deliveries", "list", "--state", "open", "--json")

    assert {"matching": 1, "redelivered": 1} == one.json
    assert "2 to be told anew" in rest.out
    assert "no receiver runs on this ledger" in rest.err
    assert [5, 4, 3, 2] == keys(listed)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["redeliver"], 2, "--state"),
        (["redeliver", "2", "--state", "dead"], 2, "by their ids"),
        (["redeliver", "2", "--dry-run"], 2, "named the deliveries yourself"),
        (["redeliver", "99"], 1, "no delivery 99"),
        (["list", "--state", "lost"], 2, "superseded"),
    ],
)
def test_what_makes_no_sense_is_said_with_the_fix(folder: Path, arguments: list[str], code: int, words: str) -> None:
    ran = run(folder, "deliveries", *arguments)

    assert code == ran.code
    assert words in " ".join(ran.err.replace("│", " ").split())
