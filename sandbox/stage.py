"""Everything one sandbox holds while it runs."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from sandbox.answers import Gateway
from sandbox.dice import digest
from sandbox.faults import FaultPlan
from sandbox.postman import Postman
from sandbox.records import Records
from sandbox.settings import SandboxSettings
from sandbox.world import World


@dataclass(slots=True, kw_only=True)
class Stage:
    """The world and its books, the postman, the clock, and the plan, which people may change while it runs."""

    settings: SandboxSettings
    plan: FaultPlan
    world: World
    records: Records
    postman: Postman
    clock: Callable[[], float]
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    _serial: "count[int]" = field(default_factory=count)

    def request_id(self, gateway: Gateway) -> str:
        """A fresh one, in the form of Kling's."""
        text = digest(self.settings.seed, f"{gateway}.{next(self._serial)}", "request_id")[:16].hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    async def pause(self, seconds: float) -> None:
        """Wait so long, but not into the closing of the house."""
        try:
            async with asyncio.timeout(seconds):
                await self.closing.wait()
        except TimeoutError:
            return

    async def close(self) -> None:
        """Let nobody wait any longer, and break off the callbacks."""
        self.closing.set()
        await self.postman.aclose()
