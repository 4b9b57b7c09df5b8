"""A receiver that is away: what its silence looks like, how long it is borne with, and when to try again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx

from submitter.errors import WatchError

FIRST_PAUSE = 0.1  # seconds, then twice as long each time
LONGEST_PAUSE = 4.0


class Absence:
    """How long a receiver has been away. `on_begin` is told why, `on_end` that it is over."""

    def __init__(
        self,
        who: str,
        patience: float,
        *,
        on_begin: Callable[[str], None] = lambda _: None,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._who = who
        self._patience = patience
        self._on_begin = on_begin
        self._on_end = on_end
        self._began: float | None = None
        self._pause = FIRST_PAUSE

    async def pause(self, trouble: str) -> None:
        """Wait, each time longer. Raises WatchError once it has been too long."""
        now = asyncio.get_running_loop().time()
        if self._began is None:
            self._began = now
            self._on_begin(trouble)
        if now - self._began > self._patience:
            raise WatchError(f"{self._who} cannot be reached ({trouble})", code="unreachable")
        await asyncio.sleep(self._pause)
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def is_over(self) -> None:
        """It has answered."""
        if self._began is None:
            return
        self._began = None
        self._pause = FIRST_PAUSE
        self._on_end()


def trouble_in(response: httpx.Response) -> str:
    """What an answer that is none says, where trying again may help. Raises WatchError where it cannot."""
    try:
        document = response.json()
    except ValueError:
        document = {}
    fields = document if isinstance(document, dict) else {}
    if response.status_code < 500:
        code = str(fields.get("code", response.status_code))
        raise WatchError(str(fields.get("detail", f"HTTP {response.status_code}")), code=code)
    return f"HTTP {response.status_code}"


def trouble_of(error: httpx.HTTPError) -> str:
    """The kind of a failure to talk HTTP, and its words."""
    return f"{type(error).__name__}: {error}".rstrip(": ")
