"""A connection's writing end: what is written together leaves together, and what was said arrives before the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

# An ASGI extension, for answers that go on and on: with `has_no_end` said, who ends its own side has left; `abort`
# ends the connection at once, whatever is still unsent.
CONNECTION = "hookledger.connection"


class Lingering(asyncio.Transport):
    """A transport whose first close, where somebody may still be sending, only says that we have finished.

    Head and body of an answer are written one after the other: they leave together, in one packet.
    `lingers` is asked at the first close whether to go on reading for a while.
    """

    def __init__(self, real: asyncio.Transport, lingers: Callable[[], bool]) -> None:
        super().__init__()
        self._real = real
        self._lingers = lingers
        self._is_ending = False
        self._unsent: list[bytes | bytearray | memoryview] = []
        self._loop = asyncio.get_running_loop()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Put it with what is written in this turn of the loop."""
        if not self._unsent:
            self._loop.call_soon(self.send)
        self._unsent.append(data)

    def send(self) -> None:
        """Hand on what was written."""
        if self._unsent:
            unsent, self._unsent = self._unsent, []
            if not self._real.is_closing():  # reset meanwhile: uvloop's raises, and nobody is there to read it
                self._real.write(b"".join(unsent))

    def is_closing(self) -> bool:
        """Whether nothing more can be written."""
        return self._is_ending or self._real.is_closing()

    def close(self) -> None:
        """End what we say; and the connection, now or when the other side has ended too."""
        self.send()
        if self._is_ending or self._real.is_closing() or not self._lingers():
            self._real.close()
        else:
            self._is_ending = True
            try:
                self._real.write_eof()
            except OSError:  # the other side has just reset the connection
                self._real.abort()

    def abort(self) -> None:
        """End the connection at once."""
        self._real.abort()
