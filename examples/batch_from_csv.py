"""A CSV of prompts in, a CSV of images out, with progress; after Ctrl-C run it again, and it goes on.

    RECEIVER=http://127.0.0.1:8080 PROVIDER=kling python examples/batch_from_csv.py prompts.csv images.csv

prompts.csv has a column `prompt`, and any other field of the request beside it (`n`, `resolution`, `aspect_ratio`, …).

There is no file of its own to remember what was submitted: each row's id is made of what the row says, so that
submitting it again is answered with the same task, and paid for once.
"""

import asyncio
import csv
import hashlib
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

RECEIVER = os.environ.get("RECEIVER", "http://127.0.0.1:8080")
PROVIDER = os.environ.get("PROVIDER", "kling")
KEY = os.environ.get("KEY", "none")
AT_ONCE = 64
NUMBERS = ("n", "series_amount")
AT_REST = ("succeeded", "failed", "refused", "expired")
TRY_LATER = (429, 503)


async def main(source: Path, target: Path) -> int:
    """Draw every row; the exit code says whether all have succeeded."""
    with source.open(newline="", encoding="utf-8") as file:
        rows = [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]
    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()) as progress:
        results = await draw_all(rows, progress, progress.add_task("drawing", total=len(rows)))
    write(target, rows, results)
    states = Counter(result["state"] for result in results)
    print(", ".join(f"{count} {state}" for state, count in states.items()), f"→ {target}")
    return 0 if set(states) <= {"succeeded"} else 1


async def draw_all(rows: list[dict[str, str]], progress: Progress, bar: TaskID) -> list[dict[str, Any]]:
    """What became of each row. The receiver's queue keeps to the provider's limits, and not we."""
    at_once = asyncio.Semaphore(AT_ONCE)
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(base_url=RECEIVER, headers=headers, timeout=60) as client:

        async def drawn(row: dict[str, str], name: str) -> dict[str, Any]:
            async with at_once:
                result = await draw(client, row, name)
            progress.advance(bar)
            return result

        async with asyncio.TaskGroup() as team:
            drawing = [team.create_task(drawn(row, name)) for row, name in zip(rows, names_of(rows), strict=True)]
    return [task.result() for task in drawing]


async def draw(client: httpx.AsyncClient, row: dict[str, str], name: str) -> dict[str, Any]:
    """The task of a row, at rest; what was refused is told with its reason."""
    request = {field: int(value) if field in NUMBERS else value for field, value in row.items()}
    order = {"provider": PROVIDER, "endpoint": "omni-image", "request": request, "external_task_id": name}
    answer = await patiently(client, "POST", "/v1/tasks", json=order)
    if answer.is_error:
        return {"state": "refused", "message": answer.json()["detail"], "images": []}
    task = answer.json()
    while task["state"] not in AT_REST:
        answer = await patiently(client, "GET", f"/v1/tasks/{task['external_task_id']}", params={"wait": 25})
        task = answer.raise_for_status().json()
    return task


async def patiently(client: httpx.AsyncClient, method: str, path: str, **options: Any) -> httpx.Response:
    """The answer, once the receiver has time for it: what it did not take is always right to send again."""
    while True:
        answer = await client.request(method, path, **options)
        if answer.status_code not in TRY_LATER:
            return answer
        await asyncio.sleep(float(answer.headers.get("Retry-After", 2)))


def names_of(rows: list[dict[str, str]]) -> list[str]:
    """An id for each row, the same on every run and every machine; a row that is there twice is drawn twice."""
    seen: Counter[str] = Counter()
    names = []
    for row in rows:
        said = json.dumps([PROVIDER, row], sort_keys=True)
        seen[said] += 1
        names.append(f"batch-{hashlib.sha256(f'{said} {seen[said]}'.encode()).hexdigest()[:40]}")
    return names


def write(target: Path, rows: list[dict[str, str]], results: list[dict[str, Any]]) -> None:
    """The rows with what became of them, put in place in one go."""
    unfinished = target.with_suffix(".part")
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["prompt", "state", "images", "message"])
        for row, result in zip(rows, results, strict=True):
            images = " ".join(image["url"] for image in result["images"])
            table.writerow([row["prompt"], result["state"], images, result["message"]])
    unfinished.replace(target)


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]))))
    except KeyboardInterrupt:
        print("\nstopped; what was submitted goes on. Run this again: nothing is paid for twice.", file=sys.stderr)
        sys.exit(130)
    except httpx.TransportError as error:
        print(f"{RECEIVER} does not answer: {error}. Start it, and run this again.", file=sys.stderr)
        sys.exit(1)
