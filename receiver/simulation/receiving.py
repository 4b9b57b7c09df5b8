"""The receiver that is simulated: the real one, opened on a file, killed at its commits, opened again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import structlog
from starlette.types import Message, Scope

from receiver.callbacks import CallbackEndpoint
from receiver.config import Config
from receiver.ledger.errors import LedgerError
from receiver.problems import Problem
from receiver.runtime import Runtime
from receiver.simulation.world import PROVIDER
from submitter.client import Connect
from submitter.moments import Moment

log = structlog.get_logger("simulation")

PUBLIC_URL = "https://hooks.simulated.example"
SECRET = "a secret of the simulation's own"  # noqa: S105 - it opens nothing
BUDGET_PER_MINUTE = 6_000  # so that it is the schedule that is measured, and not the budget


class OpenReceiver(Protocol):
    """What opens the receiver: tests open wrong ones."""

    def __call__(self, config: Config, *, clock: Callable[[], Moment], connect: Connect) -> Awaitable[Runtime]:
        """A receiver on the file that the configuration names."""


async def open_real(config: Config, *, clock: Callable[[], Moment], connect: Connect) -> Runtime:
    """The receiver as `serve` composes it."""
    return await Runtime.open(config, clock=clock, address=PUBLIC_URL, connect=connect)


def configuration(path: Path, *, polling: dict[str, Any], account: dict[str, Any]) -> Config:
    """One Kling account, whose callbacks are trusted by token, as most are."""
    return Config.model_validate(
        {
            "public_url": PUBLIC_URL,
            "ledger": {"url": f"sqlite:///{path}"},
            "callbacks": {"secrets": [SECRET]},
            "polling": {"budget_per_minute": BUDGET_PER_MINUTE, **polling},
            "providers": {PROVIDER: {"kind": PROVIDER, "api_key": "simulated", **account}},
        }
    )


class Receiver:
    """One life of the receiver, from its opening to its end, orderly or not."""

    def __init__(self, runtime: Runtime, others: set[asyncio.Task[Any]]) -> None:
        self.runtime = runtime
        self._others = others  # tasks of this process that are none of the receiver's
        self._door = CallbackEndpoint(runtime)

    async def take(self, callback_url: str, body: bytes) -> bool:
        """A callback at the real door: whether it was acknowledged."""
        _, _, provider, external_task_id, token = urlsplit(callback_url).path.split("/")
        scope: Scope = {
            "type": "http",
            "path_params": {"provider": provider, "external_task_id": external_task_id, "token": token},
            "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))],
            "client": ("192.0.2.1", 443),
        }
        statuses: list[int] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        try:
            await self._door(scope, receive, send)
        except (Problem, LedgerError):
            return False
        return statuses == [200]

    async def run_until_killed(self, act: Coroutine[Any, Any, None], *, commits: int) -> bool:
        """Run it, and kill the receiver when so many commits have been made since: whether it ended before.

        Nobody hears of the commit that the kill follows; what comes after it was never done.
        """
        before = self._commits
        running = asyncio.create_task(act)
        await asyncio.sleep(0)
        while not running.done() and self._commits - before < commits:  # noqa: ASYNC110 - each step counts
            await asyncio.sleep(0)
        has_ended = running.done()
        if has_ended:
            await running
        await self._kill()
        return has_ended

    async def aclose(self) -> None:
        """End it in order."""
        await self.runtime.aclose()

    @property
    def _commits(self) -> int:
        return self.runtime.ledger.writer_state.batches

    async def _kill(self) -> None:
        """Everything that it had begun ends where it stands."""
        for client in self.runtime.submitter.clients.values():
            await client.aclose()
        mine = asyncio.all_tasks() - self._others - {asyncio.current_task()}
        for task in mine:
            task.cancel()
        await asyncio.gather(*mine, return_exceptions=True)
        await self.runtime.ledger.drop()
