"""Receiver: all of it inside another Starlette or FastAPI app, mounted, with a lifespan for the host to enter."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from receiver.app import create_app
from receiver.boot import require_bootable
from receiver.config import Config
from receiver.runtime import Runtime
from submitter.moments import Moment
from submitter.submit import Submitter, system_clock

T = TypeVar("T")


class Receiver:
    """An ASGI app to mount. Starlette runs no lifespan of a mounted app: enter `lifespan` in that of the host.

    Without it every request is an error that says so. One object may be entered again after it was left.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Callable[[], Moment] = system_clock,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """`config` as `receiver.config.load_config` gives it; its `public_url` carries the path of the mount."""
        self.config = config
        self._clock = clock
        self._environment = environment
        self._runtime: Runtime | None = None
        self._app: Starlette | None = None

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[Runtime]:
        """Open the ledger and work; at the end finish what is in flight and close.

        Raises ConfigError where `hookledger serve` would not start either, LedgerLocked and LedgerUnusable.
        """
        require_bootable(self.config, self._environment)
        self._runtime = await Runtime.open(self.config, clock=self._clock)
        try:
            self._app = create_app(self._runtime)
            async with self._app.router.lifespan_context(self._app):
                yield self._runtime
        finally:
            await self._runtime.aclose()
            self._app = self._runtime = None

    @property
    def submitter(self) -> Submitter:
        """Submits from within this process, straight into the ledger. Raises RuntimeError outside of the lifespan."""
        return self._require(self._runtime).submitter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. Raises RuntimeError outside of the lifespan."""
        await self._require(self._app)(scope, receive, send)

    def _require(self, part: T | None) -> T:
        if part is None:
            raise RuntimeError(
                "the receiver is not running: Starlette runs no lifespan of a mounted app, so enter it in yours, "
                "'async with receiver.lifespan(): yield'"
            )
        return part
