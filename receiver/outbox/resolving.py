"""The addresses of a destination's name: looked up once a minute at most, by one thread at most."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from ipaddress import ip_address
from typing import TypeAlias

from receiver.outbox.addresses import Address
from submitter.moments import Moment, millis

KEPT_FOR = timedelta(seconds=60)  # what many names are given as time to live
PATIENCE = timedelta(seconds=5)  # of one attempt; the look-up goes on, and the next attempt waits for the same one

Resolve: TypeAlias = Callable[[str], Sequence[str]]
"""Blocks until it has the addresses of a name, as text. Raises OSError or ValueError where there are none."""


class Unresolved(Exception):
    """The name has no address, or none was found in time."""


def resolve_by_system(host: str) -> Sequence[str]:
    """What this machine's resolver says, in the order in which it would connect."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(address) for *_, (address, *_) in found]


class Resolving:
    """One name's addresses. A resolver that hangs costs a thread and `PATIENCE`, however many attempts wait for it."""

    def __init__(self, host: str, *, resolve: Resolve, clock: Callable[[], Moment]) -> None:
        self._host = host
        self._resolve = resolve
        self._clock = clock
        self._literal = _literal(host)
        self._found: tuple[Address, ...] = ()
        self._found_at: Moment | None = None
        self._asking: asyncio.Future[str] | None = None
        self._failures: dict[Address, int] = {}

    async def addresses(self) -> tuple[Address, ...]:
        """All of them, those that could not be connected to behind the others. Raises Unresolved."""
        if self._literal is not None:
            return (self._literal,)
        if not self._is_fresh():
            await self._look_up()
        return tuple(sorted(self._found, key=lambda each: self._failures.get(each, 0)))

    def put_last(self, address: Address) -> None:
        """It could not be connected to: the next attempt takes another, where there is one."""
        self._failures[address] = max(self._failures.values(), default=0) + 1

    def _is_fresh(self) -> bool:
        return self._found_at is not None and 0 <= self._clock() - self._found_at < millis(KEPT_FOR)

    async def _look_up(self) -> None:
        asking = self._asking = self._asking or self._ask()
        await asyncio.wait({asking}, timeout=PATIENCE.total_seconds())
        if not asking.done():
            raise Unresolved(f"{self._host} was not looked up within {PATIENCE.total_seconds():g} s")
        if why_not := asking.result():
            raise Unresolved(f"{self._host} could not be looked up: {why_not}")

    def _ask(self) -> asyncio.Future[str]:
        """Begin a look-up: the future is done after it, with what went wrong, or an empty text."""
        loop = asyncio.get_running_loop()
        asking: asyncio.Future[str] = loop.create_future()

        def ask() -> None:
            found, why_not = self._answer()
            with contextlib.suppress(RuntimeError):  # the loop ended while the resolver hung
                loop.call_soon_threadsafe(self._hear, asking, found, why_not)

        # Not in the loop's pool: its threads are waited for at exit, however long a resolver hangs.
        threading.Thread(target=ask, name=f"look-up of {self._host}", daemon=True).start()
        return asking

    def _answer(self) -> tuple[tuple[Address, ...], str]:
        try:
            found = tuple(dict.fromkeys(ip_address(address) for address in self._resolve(self._host)))
        except OSError as error:
            return (), error.strerror or type(error).__name__
        except ValueError as error:  # a name no DNS could hold
            return (), str(error)
        return found, "" if found else "it has no address"

    def _hear(self, asking: asyncio.Future[str], found: tuple[Address, ...], why_not: str) -> None:
        self._asking = None
        if found:
            self._found, self._found_at = found, self._clock()
            self._failures = {each: count for each, count in self._failures.items() if each in found}
        asking.set_result(why_not)


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
