"""Hears one callback again and again, and dies by SIGKILL at its first SQL statement, at its second, at its third …

`python -m tests.conformance.dying FOLDER PATH` takes FOLDER/ledger.db as it is, copies it for each death into
FOLDER/1, FOLDER/2, …, and stops with the first copy in which the callback was answered.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

import httpx

from receiver.app import create_app
from receiver.runtime import Runtime
from tests.conformance.scenes import SECRET, SUCCEED
from tests.flows.builders import configuration

NOWHERE = 9  # the discard port: nobody is asked anything here
MOST = 60


def main(folder: Path, path: str) -> None:
    """One copy and one process for each death."""
    for statement in itertools.count(1):
        assert statement <= MOST, "a callback of so many statements?"
        copy = folder / str(statement)
        copy.mkdir()
        shutil.copy(folder / "ledger.db", copy)
        child = os.fork()
        if child == 0:
            asyncio.run(die_at(statement, copy, path))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            sys.exit(os.waitstatus_to_exitcode(status))


async def die_at(statement: int, folder: Path, path: str) -> None:
    """Hear the callback, as far as it goes."""
    counting = Countdown(statement)
    sqlite3.connect = counting.connect  # type: ignore[assignment]
    account = {"kind": "cometapi", "base_url": f"http://127.0.0.1:{NOWHERE}/cometapi"}
    config = configuration(folder, NOWHERE, {"cometapi": account}, callbacks={"secrets": [SECRET]})
    runtime = await Runtime.open(config)
    transport = httpx.ASGITransport(create_app(runtime, with_worker=False))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
        counting.is_running = True
        answer = await http.post(path, content=SUCCEED)
        counting.is_running = False
    await runtime.aclose()
    assert 200 == answer.status_code, answer.text


class Countdown:
    """Kills this process as the n-th statement begins on a connection that writes."""

    def __init__(self, statement: int) -> None:
        self.is_running = False
        self._left = statement
        self._connect = sqlite3.connect

    def connect(self, target: Any, **options: Any) -> sqlite3.Connection:
        """As sqlite3.connect, and listen to what is run there."""
        connection: sqlite3.Connection = self._connect(target, **options)
        if not options.get("uri"):  # readers are opened by URI
            connection.set_trace_callback(self._count)
        return connection

    def _count(self, _statement: str) -> None:
        self._left -= self.is_running
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
