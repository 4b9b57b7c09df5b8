"""What a destination is, and what one attempt to tell it may come to."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol, TypeAlias

from receiver.outbox.message import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """It has it: the destination said so itself, by this HTTP status where it speaks HTTP."""

    status: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TryAgain:
    """It may have it or not; the same message is sent again. `after` is how long it asked to be left in peace."""

    reason: str
    after: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """It will never take this message. `is_gone` says that it wants no other either."""

    reason: str
    is_gone: bool = False


Attempt: TypeAlias = Delivered | TryAgain | GiveUp


class Destination(Protocol):
    """An app, or a broker in front of apps. One object a destination, made once, closed at the end."""

    async def deliver(self, message: Message) -> Attempt:
        """One attempt. `Delivered` only where the other side has acknowledged that it keeps the message.

        May raise whatever its client raises, which counts as TryAgain; a connection that broke is made anew by
        the next attempt. The relay bounds the time an attempt takes by cancelling it.
        """

    async def aclose(self) -> None:
        """Let go of connections; the messages that were acknowledged are not affected."""
