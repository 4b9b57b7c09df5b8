"""`report`: what was asked and what loops would have cost, read from the ledger of a life at the sandbox."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from receiver.ledger.asking import Pause
from receiver.ledger.sqlite import SqliteLedger
from submitter.moments import iso
from submitter.submit import system_clock
from tests.house.commands import configured, run, run_all
from tests.house.happenings import ACCOUNT
from tests.ledger.builders import (
    HOUR,
    JUDGE,
    LEASE,
    NOW,
    PROVIDER,
    SECOND,
    SUBMITTED,
    SUCCEED,
    answer,
    hear,
    image,
    opening,
    queried,
)
from tests.ledger.builders import callback as called_back

FINISHED = NOW + 30 * SECOND
NIGHTFALL = f"{iso(FINISHED + 60 * SECOND)[:19]}Z"
NO_MATPLOTLIB = "raise ImportError('not here')\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with three tasks that were called back about and one that was not, and a pause."""
    made = configured(tmp_path_factory.mktemp("report"), ACCOUNT)
    asyncio.run(live(made / "hookledger.db"))
    return made


async def live(path: Path) -> None:
    ledger = await SqliteLedger.open(path, now=NOW)
    finished = {"updated_at": FINISHED, "unit_deduction": "8"}
    for number in range(4):
        await ledger.open_task(opening(f"t_{number}"))
        await hear(ledger, answer(SUBMITTED, task=f"t_{number}"))
    for number in range(3):
        said = called_back(SUCCEED, image(), task=f"t_{number}", now=FINISHED + SECOND, **finished)
        await hear(ledger, said)
    await hear(ledger, queried(SUCCEED, image(), task="t_3", now=FINISHED + 10 * SECOND, **finished))
    await ledger.claim_task("t_3", now=FINISHED, lease=LEASE)
    await ledger.claim_task("t_2", now=NOW - 5 * HOUR, lease=LEASE)
    pause = Pause(provider=PROVIDER, until=system_clock() + HOUR, reason="1101: arrears", is_stop=True)
    await ledger.settle([], JUDGE, [pause])
    await ledger.aclose()


def test_the_report_is_what_the_ledger_says(folder: Path) -> None:
    shown = run(folder, "report", "--json").json

    assert {"settled": 4, "compared": 4} == shown["tasks"]
    assert {"made": 2, "per_task": 0.5, "single": 2, "batch": 0, "page": 0} == shown["requests"]
    assert [("30s", 4), ("25s", 8), ("20s", 8), ("500ms", 240), ("100ms", 1200)] == [
        (loop["every"], loop["requests"]) for loop in shown["loops"]
    ]
    assert {"callback": 3, "query": 1} == {road: each["count"] for road, each in shown["delay_ms"].items()}
    assert 1_000 == pytest.approx(shown["delay_ms"]["callback"]["p95"], rel=0.01)
    assert 10_000 == pytest.approx(shown["delay_ms"]["query"]["p50"], rel=0.01)


def test_the_report_names_what_each_account_has_spent_and_why_it_rests(folder: Path) -> None:
    provider = run(folder, "report", "--json").json["providers"][PROVIDER]

    assert (4, 2, 32) == (provider["settled"], provider["requests"], provider["units"])
    assert "1101: arrears" == provider["paused_because"]
    assert provider["paused_until"] is not None


@pytest.mark.parametrize(
    ("calls", "state", "says"),
    [(0, "dark", f"dark since {NIGHTFALL}; once dark"), (3, "alive", f"alive since {NIGHTFALL}; once dark")],
    ids=["dark", "alive again"],
)
def test_the_report_says_how_each_account_s_callbacks_fare(tmp_path: Path, calls: int, state: str, says: str) -> None:
    folder = configured(tmp_path, ACCOUNT)
    asyncio.run(darkened(folder / "hookledger.db", calls=calls))
    machine, person = [ran.out for ran in run_all(folder, [["report", "--json"], ["report"]])]

    path = json.loads(machine)["providers"][PROVIDER]["path"]
    assert (state, 1) == (path["state"], path["times_dark"])
    assert (None if state == "dark" else 0.01) == path["loss"]
    assert says in " ".join(person.split())


async def darkened(path: Path, *, calls: int) -> None:
    """Questions found the finals of eight tasks; then so many callbacks came."""
    ledger = await SqliteLedger.open(path, now=NOW)
    asked_at = FINISHED + 60 * SECOND
    for number in range(8 + calls):
        await ledger.open_task(opening(f"t_{number}"))
        await hear(ledger, answer(SUBMITTED, task=f"t_{number}"))
    for number in range(8):
        found = queried(SUCCEED, image(), task=f"t_{number}", now=asked_at, created_at=NOW, updated_at=FINISHED)
        await hear(ledger, found)
    for number in range(8, 8 + calls):
        await hear(ledger, called_back(SUCCEED, image(), task=f"t_{number}", now=asked_at))
    await ledger.aclose()


def test_a_report_for_people_has_the_same_numbers(folder: Path) -> None:
    shown = run(folder, "report")

    assert 0 == shown.code
    assert "2 requests about 4 settled tasks: 2 about one, 0 batches, 0 pages" in shown.out
    assert all(word in shown.out for word in ("a loop of 20s", "callback", "1101: arrears", "32"))


def test_since_leaves_out_what_was_before(folder: Path) -> None:
    hour, date, all_of_it, none = [
        json.loads(ran.out)
        for ran in run_all(
            folder,
            [
                ["report", "--json", "--since", "2026-11-20T09:30:00+00:00"],
                ["report", "--json", "--since", "2026-11-20"],
                ["report", "--json", "--since", "36500d"],
                ["report", "--json", "--since", "1s"],
            ],
        )
    ]

    assert (4, 1) == (hour["tasks"]["settled"], hour["requests"]["made"])
    assert [(4, 2)] * 2 == [(each["tasks"]["settled"], each["requests"]["made"]) for each in (date, all_of_it)]
    assert (0, None) == (none["tasks"]["settled"], none["requests"]["per_task"])


@pytest.mark.parametrize("since", ["yesterday", "-5", "2026-13-01"])
def test_a_beginning_that_is_none_is_misuse(folder: Path, since: str) -> None:
    ran = run(folder, "report", f"--since={since}")

    assert (2, "") == (ran.code, ran.out)
    assert "7d, 24h, 2026-11-20" in ran.err


def test_without_matplotlib_a_plot_is_refused_with_the_command_that_installs_it(folder: Path, tmp_path: Path) -> None:
    configured(tmp_path, ACCOUNT)
    (tmp_path / "matplotlib.py").write_text(NO_MATPLOTLIB)

    ran = run(
        tmp_path, "report", "--plot", "out.png", env={"HOOKLEDGER_LEDGER__URL": f"sqlite:///{folder}/hookledger.db"}
    )

    assert (2, "") == (ran.code, ran.out)
    assert "pip install 'hookledger[plot]'" in ran.err


def test_a_plot_is_drawn(folder: Path) -> None:
    ran = run(folder, "report", "--plot", "out.png", patience=60)

    assert 0 == ran.code, ran.err
    assert b"\x89PNG" == (folder / "out.png").read_bytes()[:4]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("report", "--plot report: the name is to end in .png, .svg, .pdf"),
        ("out.gif", "--plot out.gif: the name is to end in .png, .svg, .pdf"),
        ("nowhere/out.png", "--plot nowhere/out.png: there is no folder nowhere"),
    ],
)
def test_a_plot_that_could_not_be_written_is_refused_before_the_ledger_is_read(
    tmp_path: Path, name: str, told: str
) -> None:
    configured(tmp_path, ACCOUNT)  # without a ledger, which is not even looked for

    ran = run(tmp_path, "report", "--plot", name)

    assert (2, "") == (ran.code, ran.out)
    assert told in ran.err
    assert not list(tmp_path.glob("report*"))


def test_a_plot_of_nothing_says_so(tmp_path: Path) -> None:
    configured(tmp_path, ACCOUNT)
    run(tmp_path, "migrate")

    ran = run(tmp_path, "report", "--plot", "out.svg", patience=60)

    assert 0 == ran.code, ran.err
    assert 6 == (tmp_path / "out.svg").read_text().count("<!-- 0 -->")
    assert 7 == (tmp_path / "out.svg").read_text().count("<!-- none -->")


def test_an_older_ledgers_questions_are_counted_from_its_tasks(tmp_path: Path) -> None:
    """Before questions about many, each was one request about one task."""
    folder = configured(tmp_path, ACCOUNT)
    asyncio.run(live(folder / "hookledger.db"))
    with sqlite3.connect(folder / "hookledger.db") as raw:
        raw.execute("update tasks set queries = 3")
        raw.execute("delete from migrations where name like '0008%'")
        tables = ("questions", "listings", "reservations", "unit_days", "unit_prices")
        raw.executescript("".join(f"drop table {table};" for table in tables))
        raw.execute("alter table tasks drop column alone")
        for column in ("is_stopped", "recent", "unknown_until", "unknown_reason"):
            raw.execute(f"alter table query_budgets drop column {column}")
    raw.close()

    run(folder, "migrate")
    shown = run(folder, "report", "--json").json

    assert (12, 12) == (shown["requests"]["made"], shown["requests"]["single"])


def test_reports_begin_with_nothing(tmp_path: Path) -> None:
    configured(tmp_path, ACCOUNT)
    run(tmp_path, "migrate")
    ran = run(tmp_path, "report", "--json", "--since", str(timedelta(days=1).days) + "d")

    assert {"settled": 0, "compared": 0} == ran.json["tasks"]
    assert {} == ran.json["providers"]
