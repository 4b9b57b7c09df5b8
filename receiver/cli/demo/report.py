"""What a person wants to see at the end: how each trouble was absorbed, what asking cost, and whether it adds up."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from rich.table import Table

from receiver.cli.demo.app import App
from receiver.cli.demo.plan import Planned
from receiver.cli.output import out
from receiver.ledger.sqlite import SqliteReader
from submitter.moments import EARLIEST

POLLING_EVERY_SECONDS = 25.0
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The ledger's word and the provider's, side by side."""

    tasks: Sequence[Mapping[str, Any]]
    heard: Counter[tuple[str, str]]  # reports by source and verdict
    events: Counter[str]
    counts: Mapping[str, Any]  # the sandbox's own
    queries: int  # requests, however many tasks each was about
    images_saved: int
    images_expected: int
    planned: Sequence[Planned]
    app: App

    @property
    def checks(self) -> list[tuple[str, int, int]]:
        """Each claim with the two numbers that must be equal."""
        states = Counter(task["state"] for task in self.tasks)
        settled = states["succeeded"] + states["failed"]
        callbacks = sum(count for (source, _), count in self.heard.items() if source == "callback")
        overturned = self.events["task.conflict"]
        return [
            ("every task was written down", len(self.planned), len(self.tasks)),
            ("every task settled or was refused", len(self.tasks), settled + states["refused"]),
            ("paid for once each, refused ones never", settled, sum(self.counts["creates_accepted"].values())),
            ("paid for twice", 0, sum(map(len, self.counts["paid_twice"].values()))),
            ("acknowledged callbacks are in the ledger", self.counts["callbacks"]["acknowledged"], callbacks),
            ("one final event a task", settled + overturned, self.finals),
            ("the provider's count of queries is ours", self.counts["queries"], self.queries),
            ("the app was told of every final event", self.finals, len(self.app.told)),
            ("told with a wrong signature, or otherwise than before", 0, self.app.forged + self.app.changed),
            ("images saved", self.images_expected, self.images_saved),
        ]

    @property
    def adds_up(self) -> bool:
        """Whether all of them are."""
        return all(one == other for _, one, other in self.checks)

    @property
    def finals(self) -> int:
        """How often an end was told."""
        return self.events["task.succeeded"] + self.events["task.failed"]

    def polling_would_have_asked(self, *, pace: float) -> int:
        """What a loop that asks every 25 s would have spent on the same tasks, from their real times."""
        settled = [task for task in self.tasks if task["sent_at"] and task["state"] in {"succeeded", "failed"}]
        return sum(max(1, math.ceil(_seconds(task) / (POLLING_EVERY_SECONDS * pace))) for task in settled)


async def tally(
    client: httpx.AsyncClient, sandbox_url: str, planned: Sequence[Planned], app: App, folder: Path
) -> Tally:
    """Ask the receiver and the sandbox, and fetch the images while they live."""
    tasks = (await client.get("/v1/tasks", params={"limit": 500, "include": "request"})).json()["tasks"]
    heard: Counter[tuple[str, str]] = Counter()
    events: Counter[str] = Counter()
    for task in tasks:
        history = (await client.get(f"/v1/tasks/{task['external_task_id']}/history")).json()
        for report in history["reports"]:
            heard[report["source"], report["verdict"]] += 1
            heard[report["source"], "duplicate"] += report["count"] - 1
        events.update(event["type"] for event in history["events"])
    counts = (await client.get(f"{sandbox_url}/sandbox/counts")).json()
    return Tally(
        tasks=tasks,
        heard=heard,
        events=events,
        counts=counts,
        queries=await _requests_made(folder / "ledger.db"),
        images_saved=await _save_images(client, tasks, folder / "images"),
        images_expected=sum(_images_asked(task["request"]) for task in tasks if task["state"] == "succeeded"),
        planned=planned,
        app=app,
    )


async def _requests_made(ledger: Path) -> int:
    reader = await SqliteReader.open(ledger)
    try:
        return sum(each.requests for each in await reader.requests_since(EARLIEST))
    finally:
        await reader.aclose()


def report_json(counted: Tally, *, pace: float) -> dict[str, Any]:
    """The same for programs."""
    heard: dict[str, dict[str, int]] = {}
    for (source, verdict), count in sorted(counted.heard.items()):
        heard.setdefault(source, {})[verdict] = count
    return {
        "adds_up": counted.adds_up,
        "checks": [{"claim": claim, "one": one, "other": other} for claim, one, other in counted.checks],
        "heard": heard,
        "events": dict(counted.events),
        "queries": counted.queries,
        "queries_of_polling_every_25_s": counted.polling_would_have_asked(pace=pace),
    }


def print_report(counted: Tally, folder: Path, *, pace: float, command: str) -> None:
    """The tables, the saving, and where to look further."""
    out.print()
    out.print(_troubles(counted))
    out.print()
    out.print(_checks(counted))
    polling = counted.polling_would_have_asked(pace=pace)
    saved = f"{1 - counted.queries / polling:.0%} fewer" if polling else "nothing to compare"
    out.print(
        f"\n[bold]{counted.queries}[/] queries; polling every 25 s would have made [bold]{polling}[/] ({saved})"
        f"   [dim]the sandbox runs {1 / pace:.0f} times as fast as the real ones, and so does this schedule[/]"
    )
    out.print(f"images   {folder / 'images'}/   ({counted.images_saved} files)", markup=False)
    out.print(f"log      {folder / 'receiver.log'}", markup=False)
    out.print(f"further  {command}", markup=False)


def _troubles(counted: Tally) -> Table:
    tasks = counted.tasks
    by_callback = Counter(
        verdict for (source, verdict), count in counted.heard.items() for _ in range(count) if source == "callback"
    )
    callbacks = counted.counts["callbacks"]
    found = [task for task in tasks if task["settled_by"] == "query"]
    rows = [
        ("callbacks heard", sum(by_callback.values()), f"{by_callback['applied']} moved a task on"),
        ("duplicates", by_callback["duplicate"], "acknowledged, counted, without effect"),
        ("stale", by_callback["stale"], "older than what was known"),
        (
            "conflicts",
            by_callback["conflict"],
            f"settled by asking; {counted.events['task.conflict']} overturned a final",
        ),
        ("lost on the way", callbacks["dropped"], "never arrived"),
        ("lost and found by query", len(found), "no callback came, or none to be believed"),
        (
            "creates left unanswered",
            counted.counts["faults"].get("unanswered", 0),
            "looked up or heard of, never sent twice",
        ),
        ("told to wait (429)", counted.counts["faults"].get("busy", 0), "sent again later by the receiver"),
        ("the app stumbled (500)", counted.app.stumbles, "told again: the same id, the same bytes"),
        ("refused", sum(task["state"] == "refused" for task in tasks), "with the provider's own words"),
        ("failed", sum(task["state"] == "failed" for task in tasks), "with the provider's reason"),
    ]
    table = Table("trouble", "count", "what became of it", box=None, pad_edge=False, header_style="bold")
    table.columns[1].justify = "right"
    for name, count, meaning in rows:
        table.add_row(name, str(count), f"[dim]{meaning}[/]")
    return table


def _checks(counted: Tally) -> Table:
    table = Table("it adds up", "", "", "", box=None, pad_edge=False, header_style="bold")
    for claim, one, other in counted.checks:
        mark = "[green]✓[/]" if one == other else "[bold red]✗[/]"
        table.add_row(claim, str(one), str(other), mark)
    return table


async def _save_images(client: httpx.AsyncClient, tasks: Sequence[Mapping[str, Any]], folder: Path) -> int:
    """Each result image as a file; how many were real pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    saved = 0
    for task in tasks:
        for image in task["images"]:
            content = (await client.get(image["url"])).content
            if content.startswith(PNG):
                (folder / f"{task['external_task_id']}-{image['index']}.png").write_bytes(content)
                saved += 1
    return saved


def _images_asked(request: Mapping[str, Any]) -> int:
    return int(request["series_amount"] if request.get("result_type") == "series" else request.get("n", 1))


def _seconds(task: Mapping[str, Any]) -> float:
    sent, settled = (datetime.fromisoformat(task[key]) for key in ("sent_at", "settled_at"))
    return (settled - sent).total_seconds()
