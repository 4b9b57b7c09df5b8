"""The lock that one writing process holds for life, beside the database, with the address it answers at."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
from datetime import timedelta
from pathlib import Path

from receiver.ledger.errors import LedgerLocked, LedgerUnusable

POLL_SECONDS = 0.1  # between tries while another process still holds it


class LedgerLock:
    """An `flock` on `<database>.lock`: the kernel lets go of it when the process ends, however it ends."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = lock_path(database)
        self._descriptor: int | None = None

    def acquire(self, *, address: str | None) -> None:
        """Take it, and leave our address in it. Raises LedgerLocked, which names the holder."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            pid, holder = holder_of(self._database)
            raise LedgerLocked(str(self._database), pid=pid, holder=holder) from error
        self._descriptor = descriptor
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "address": address}).encode(), 0)

    async def acquire_within(self, wait: timedelta, *, address: str | None) -> None:
        """Take it as soon as its holder lets go. Raises LedgerLocked when the wait is over, or LedgerUnusable."""
        folder = self._path.parent
        if not folder.is_dir():
            raise LedgerUnusable(f"{folder} is no directory: make it, or give another ledger.url")
        loop = asyncio.get_running_loop()
        until = loop.time() + wait.total_seconds()
        while True:
            try:
                self.acquire(address=address)
            except LedgerLocked:
                if loop.time() >= until:
                    raise
                await asyncio.sleep(POLL_SECONDS)
            except OSError as error:
                raise LedgerUnusable(f"{self._database}: cannot be locked ({error})") from error
            else:
                return

    def release(self) -> None:
        """Let go of it. The file stays: removing it would let two processes lock two files of one name."""
        if self._descriptor is None:
            return
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)
        self._descriptor = None


def lock_path(database: Path) -> Path:
    """Where the lock of this database lies."""
    real = database.resolve()
    return real.with_name(real.name + ".lock")


def is_held(database: Path) -> bool:
    """Whether a process writes this database now."""
    try:
        descriptor = os.open(lock_path(database), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def holder_of(database: Path) -> tuple[int | None, str | None]:
    """The process id and the address that the holder left in the lock, as far as they can be read."""
    try:
        said = json.loads(lock_path(database).read_text())
        return said.get("pid"), said.get("address")
    except (OSError, ValueError, AttributeError):
        return None, None
