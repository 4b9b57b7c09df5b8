"""`async with` for whatever has an `aclose`."""

from __future__ import annotations

from types import TracebackType
from typing import Self


class Closing:
    """Closed at the end of an `async with`, whatever happened in it."""

    async def aclose(self) -> None:
        """Let go of what is held."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
