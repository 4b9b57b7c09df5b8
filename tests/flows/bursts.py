"""Bursts of submits on behalf of several tenants, in this process or in one to be killed.

`python -m tests.flows.bursts FILE PORT COUNTS` opens the receiver of a JSON configuration, listens at the port with
its worker, submits as many tasks for each tenant as COUNTS (JSON) says, all at once, and prints a line for each
submission that was answered.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

from pydantic import TypeAdapter

from receiver.app import create_app
from receiver.config import Config
from receiver.ledger.openings import Client, Opened
from receiver.runtime import Runtime
from submitter.journal import Submission
from submitter.request import read_request
from tests.flows.builders import Json, listening, served

PROVIDER = "unsigned"  # where a create that was cut off is looked up
ANSWERED = "answered "


def names(counts: Mapping[str, int]) -> list[str]:
    """The names of all these tasks, one tenant's after the other's."""
    return [f"{tenant}-{number}" for tenant, count in counts.items() for number in range(count)]


async def burst(
    runtime: Runtime, counts: Mapping[str, int], *, on_answer: Callable[[str], None] = lambda _: None
) -> list[Opened]:
    """Submit them all at once."""

    async def submit(name: str) -> Opened:
        request = read_request("omni-image", {"prompt": "a red fox"})
        submission = Submission(provider=PROVIDER, request=request, external_task_id=name)
        opened = await runtime.submit(submission, client=Client(tenant=name.partition("-")[0]))
        on_answer(name)
        return opened

    return list(await asyncio.gather(*map(submit, names(counts))))


def widest_gap(tasks: list[Json], counts: Mapping[str, int]) -> int:
    """By how many tasks one tenant was ever ahead of another, from when all were submitted until one had none left.

    Looked at between moments, for those that left within one millisecond have no order.
    """
    everybody_came = max(task["created_at"] for task in tasks)
    fair = sorted((task for task in tasks if task["sent_at"] > everybody_came), key=lambda task: task["sent_at"])
    left = dict.fromkeys(counts, 0)
    before = {name: sum(_is_of(task, name) and task not in fair for task in tasks) for name in counts}
    widest = 0
    for task, following in pairwise(fair):
        tenant = task["external_task_id"].partition("-")[0]
        left[tenant] += 1
        if task["sent_at"] != following["sent_at"]:
            widest = max(widest, max(left.values()) - min(left.values()))
        if any(before[name] + left[name] == count for name, count in counts.items()):
            break
    return widest


def _is_of(task: Json, tenant: str) -> bool:
    return bool(task["external_task_id"].startswith(f"{tenant}-"))


def _say(name: str) -> None:
    sys.stdout.write(f"{ANSWERED}{name}\n")
    sys.stdout.flush()


async def main(config: Config, port: int, counts: Mapping[str, int]) -> None:
    """Serve and submit, until somebody ends this process."""
    runtime = await Runtime.open(config)
    with listening(port) as listener:
        async with served(create_app(runtime), listener):
            await burst(runtime, counts, on_answer=_say)
            await asyncio.Event().wait()


if __name__ == "__main__":
    counts = TypeAdapter(dict[str, int]).validate_json(sys.argv[3])
    config = Config.model_validate_json(Path(sys.argv[1]).read_bytes())
    asyncio.run(main(config, int(sys.argv[2]), counts))
