"""The load: tasks and their callbacks, repeated, out of order and contradictory, from a seed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from receiver.callback_url import mint_callback_url

T = TypeVar("T")

SECRET = "a secret of the crash rounds' own"
PROVIDER = "cometapi"
OPENED = "opened"  # the word of a post that writes a submission down; a callback's is the status it reports
_SUBMITTED_HERE = 0.6  # of the tasks; the others are adopted by their first callback
_SHUFFLED = 0.5

# What the provider says of a task, and how many tasks in a hundred it says it of. No list says one status twice:
# a task and a word are one fact, which is what the book and the checks count by.
_LIVES: Sequence[tuple[tuple[str, ...], int]] = (
    (("submitted", "processing", "succeed"), 60),
    (("processing", "failed"), 10),
    (("submitted", "processing", "succeed", "failed"), 20),  # one of the two is not true
    (("succeed",), 10),
)
_COPIES = ((1, 60), (2, 30), (3, 10))


@dataclass(frozen=True, slots=True)
class Post:
    """A request to send, and the fact it is about: a task and a word."""

    task: str
    word: str
    path: str
    body: bytes

    @property
    def fact(self) -> tuple[str, str]:
        """What it is counted by."""
        return self.task, self.word


class Script:
    """Tasks without end. Two scripts of one seed and name are one."""

    def __init__(self, seed: int, *, name: str) -> None:
        self._dice = Random(f"{seed} {name}")
        self._name = name
        self._count = 0

    def next_task(self) -> list[Post]:
        """What is sent of a new task first: its opening alone, or, of one that is adopted, all its callbacks."""
        self._count += 1
        task = f"t_{self._name}_{self._count:06d}"
        if self._dice.random() >= _SUBMITTED_HERE:
            return self.callbacks_of(task)
        wanted = {"provider": PROVIDER, "endpoint": "omni-image", "external_task_id": task}
        body = json.dumps({**wanted, "request": {"prompt": "a red fox"}})
        return [Post(task, OPENED, "/v1/submissions", body.encode())]

    def callbacks_of(self, task: str) -> list[Post]:
        """What the provider will say of it, as it will arrive."""
        path = mint_callback_url("", provider=PROVIDER, external_task_id=task, secret=SECRET)
        callbacks = [
            Post(task, status, path, _report(task, status))
            for status in self._one_of(_LIVES)
            for _ in range(self._one_of(_COPIES))
        ]
        if self._dice.random() < _SHUFFLED:
            self._dice.shuffle(callbacks)
        return callbacks

    def _one_of(self, weighed: Sequence[tuple[T, int]]) -> T:
        [chosen] = self._dice.choices([each for each, _ in weighed], [weight for _, weight in weighed])
        return chosen


def _report(task: str, status: str) -> bytes:
    """The bytes of a callback as wire.md §3 has it."""
    said: dict[str, Any] = {
        "task_id": f"id-{task}",
        "task_status": status,
        "task_status_msg": "",
        "created_at": 1_782_450_245_512,
    }
    if status == "succeed":
        said["task_result"] = {"images": [{"index": 0, "url": f"https://images.example/{task}.png"}]}
    return json.dumps(said).encode()
