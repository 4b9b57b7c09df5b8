"""The real receiver in a process of its own, to be killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from receiver.ledger.sqlite.lock import holder_of
from tests.crash.script import PROVIDER, SECRET
from tests.flows.lives import as_toml

ROOT = Path(__file__).resolve().parents[2]
APP = "app"
RIGHT = ("receiver",)  # what follows `python -m`; tests.crash.wrong_servers has others
_GLANCE = 0.005
_START_WITHIN = 60.0
_STOP_WITHIN = 60.0


class DidNotStart(Exception):
    """The server ended, or did not listen in time; its log says why."""


@dataclass(frozen=True, slots=True)
class Server:
    """A process that serves `folder/ledger.db`, or is about to."""

    process: asyncio.subprocess.Process
    folder: Path

    @property
    def ledger(self) -> Path:
        """The database file."""
        return self.folder / "ledger.db"

    async def listens(self) -> int:
        """The port, once it accepts connections. Raises DidNotStart."""
        try:
            async with asyncio.timeout(_START_WITHIN):
                port = await self._port()
                while not await _accepts(port):
                    await self._look_again()
                return port
        except TimeoutError:
            raise DidNotStart(f"nothing listens after {_START_WITHIN} s: {self._last_words()}") from None

    async def kill(self) -> None:
        """SIGKILL, as the out-of-memory killer does it."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()

    async def stop(self) -> None:
        """SIGTERM, and the orderly end that follows."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(_STOP_WITHIN):
            await self.process.wait()

    async def _port(self) -> int:
        """The lock beside the file names the address, before it listens there."""
        while True:
            pid, address = await asyncio.to_thread(holder_of, self.ledger)
            if pid == self.process.pid and address:
                return int(address.rpartition(":")[2])
            await self._look_again()

    async def _look_again(self) -> None:
        if self.process.returncode is not None:
            raise DidNotStart(f"ended with {self.process.returncode}: {self._last_words()}")
        await asyncio.sleep(_GLANCE)

    def _last_words(self) -> str:
        return _log_of(self.folder).read_text(errors="replace")[-2_000:]


@contextlib.asynccontextmanager
async def started(
    folder: Path, module: Sequence[str] = RIGHT, *, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Server]:
    """A server on the ledger of this folder, killed at the latest when the block is left."""
    with _log_of(folder).open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *module, "serve", "--config", _configured(folder), "--port", "0",
            cwd=ROOT, stdout=log, stderr=log,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), **(environment or {})},
        )  # fmt: skip
    server = Server(process, folder)
    try:
        yield server
    finally:
        if process.returncode is None:
            await server.kill()


def _configured(folder: Path) -> str:
    """No question is asked and no deadline is near: whatever changes of a task, a callback brought it."""
    file = folder.with_name(f"{folder.name}.toml")
    settings = {
        "ledger": {"url": f"sqlite:///{folder}/ledger.db"},
        "callbacks": {"secrets": [SECRET]},
        "providers": {PROVIDER: {"base_url": "http://127.0.0.1:9"}},
        "polling": {"enabled": False},
        # Nobody is at home there: deliveries are written, attempted now and then, and stay open.
        "destinations": [{"name": APP, "url": "http://127.0.0.1:9/", "private": True, "events": ["task.*"]}],
        "logging": {"level": "warning"},
    }
    file.write_text(as_toml(settings))
    return str(file)


def _log_of(folder: Path) -> Path:
    """Beside the folder, which holds the ledger's files and nothing else."""
    return folder.with_name(f"{folder.name}.log")


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
